"""Our settings, named for `opentelemetry-instrument`, which turns each into a flag of its own.

`OTEL_LASTSPAN_INTERVAL` is also `opentelemetry-instrument --lastspan_interval 5 …`.
"""

from __future__ import annotations

from typing import Final

OTEL_LASTSPAN_ENABLED: Final = "OTEL_LASTSPAN_ENABLED"
"""`false` switches lastspan off in this process."""

OTEL_LASTSPAN_ENDPOINT: Final = "OTEL_LASTSPAN_ENDPOINT"
"""Base URL of the collector, `http://host:4318`."""

OTEL_LASTSPAN_ANNOUNCE_AFTER: Final = "OTEL_LASTSPAN_ANNOUNCE_AFTER"
"""Seconds after which an open span is announced."""

OTEL_LASTSPAN_JOB_ANNOUNCE_AFTER: Final = "OTEL_LASTSPAN_JOB_ANNOUNCE_AFTER"
"""Seconds after which an open job is announced."""

OTEL_LASTSPAN_INTERVAL: Final = "OTEL_LASTSPAN_INTERVAL"
"""Seconds between two reports of a process."""

OTEL_LASTSPAN_REFRESH: Final = "OTEL_LASTSPAN_REFRESH"
"""Seconds after which an announced span is announced again though nothing changed."""

OTEL_LASTSPAN_RECORD: Final = "OTEL_LASTSPAN_RECORD"
"""What is recorded though the sampler drops it: `all` spans of jobs, or the `jobs` alone."""

OTEL_LASTSPAN_SPANS: Final = "OTEL_LASTSPAN_SPANS"
"""What is announced: `jobs` and their spans, or `all` spans of the process (those outside of jobs get no verdict)."""
