"""The contract: every event, attribute and metric, declared once.

Workers, collector, dashboards, alerts and docs take the names from here; `docs/semconv.md` is written from here.
"""

from __future__ import annotations

from . import attributes, events, metrics, vocabulary
from .declare import ATTRIBUTES, EVENTS, METRICS, Attribute, Event, Metric

SCOPE_NAME = "lastspan"
"""Instrumentation scope of our records."""

SKETCH_EXPONENTIAL_HISTOGRAM = "otlp.exponential_histogram"
"""`lastspan.sketch.format`: the body is an OTLP `ExponentialHistogramDataPoint`."""

__all__ = [
    "ATTRIBUTES",
    "EVENTS",
    "METRICS",
    "SCOPE_NAME",
    "SKETCH_EXPONENTIAL_HISTOGRAM",
    "Attribute",
    "Event",
    "Metric",
    "attributes",
    "events",
    "metrics",
    "vocabulary",
]
