"""What the collector hears and knows, in short: for `lastspan check`."""

from __future__ import annotations

from collections import Counter

import msgspec

from ..pipeline import Pipeline
from .metrics import own_version
from .views import count_states

_SERVICES = 100


class Heard(msgspec.Struct):
    """What one service's processes do."""

    service: str
    environment: str
    processes: dict[str, int]
    """By state."""


class Status(msgspec.Struct):
    """An answer of `/api/v1/status`."""

    version: str
    services: list[Heard]
    received: dict[str, int]
    """Records by what they are; `ignored`: not for us."""
    dropped: dict[str, int]
    """Records and requests that were not taken, by reason."""
    jobs: dict[str, int]
    """By state."""
    open_spans: int
    open_spans_limit: int
    verdict_age_s: float
    blind: bool
    probe_failures: dict[str, int]
    """By server and reason."""


def status(pipeline: Pipeline) -> Status:
    """Return what the collector hears and knows, now."""
    facts, tracker = pipeline.facts, pipeline.tracker
    received: Counter[str] = Counter()
    for (_, record), count in facts.received.items():
        received[record] += count
    dropped: Counter[str] = Counter()
    for (_, reason), count in facts.dropped.items():
        dropped[reason] += count
    return Status(
        own_version(),
        _services(pipeline),
        dict(received),
        dict(dropped),
        count_states(pipeline),
        len(tracker.spans),
        tracker.limits.max_open_spans,
        max(0, pipeline.clock() - facts.judged_ns) / 1e9,
        tracker.processes.blind,
        {f"{server}: {reason}": count for (server, reason), count in facts.probe_failures.items()},
    )


def _services(pipeline: Pipeline) -> list[Heard]:
    found: dict[tuple[str, str], Heard] = {}
    for resource, state in pipeline.tracker.processes.states():
        key = (resource.service, resource.environment)
        if key not in found and len(found) >= _SERVICES:
            continue
        processes = found.setdefault(key, Heard(*key, {})).processes
        processes[state] = processes.get(state, 0) + 1
    return sorted(found.values(), key=lambda heard: (heard.environment, heard.service))
