"""What the collector knows of itself, as it tells it: kept by those who do the work, read by those who publish."""

from __future__ import annotations

from collections import Counter

import msgspec


class MemoryFacts(msgspec.Struct):
    """What the memory on disk says of itself."""

    written_bytes: int = 0
    failed: str = ""
    """Why nothing is kept now; empty: all is well."""


class PostFacts(msgspec.Struct):
    """What became of alerts for one Alertmanager."""

    posted: int = 0
    waiting: int = 0
    failures: Counter[str] = msgspec.field(default_factory=Counter)
    """By reason."""


class CollectorFacts(msgspec.Struct):
    """What the collector knows of itself."""

    received: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    """(transport, record)."""
    dropped: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    """(transport, reason)."""
    judged_ns: int = 0
    """When verdicts were last brought up to date."""
    longest_stop_ns: int = 0
    """For how long the last tick kept the receiver waiting at most."""
    backlog: int = 0
    memory: MemoryFacts | None = None
    """None: the state is forgotten at the end."""
    probe_failures: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    """(server, reason), of probes beside databases."""
    posts: dict[str, PostFacts] = msgspec.field(default_factory=dict)
    """By Alertmanager, where the collector posts alerts itself."""
