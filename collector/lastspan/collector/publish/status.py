"""A summary of what the collector receives and knows, for `lastspan check`."""

from __future__ import annotations

from collections import Counter

import msgspec

from ..serve.pipeline import Pipeline
from .metrics import own_version
from .views import count_states

_SERVICES = 100


class Heard(msgspec.Struct):
    """What one service's processes do."""

    service: str
    environment: str
    processes: dict[str, int]
    """By state."""
    unseen_frameworks: list[str] = []
    """Job frameworks that are loaded in one of them, and whose jobs are not seen."""


class Speaks(msgspec.Struct):
    """A service whose OTLP arrives, but no record of a job."""

    service: str
    environment: str
    frameworks: list[str]
    """Job frameworks that its spans come from."""
    consumes: bool
    """It takes messages."""


class Status(msgspec.Struct):
    """An answer of `/api/v1/status`."""

    version: str
    services: list[Heard]
    without_jobs: list[Speaks]
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
        _without_jobs(pipeline),
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
    for row, state in pipeline.tracker.processes.states():
        key = (row.resource.service, row.resource.environment)
        if key not in found and len(found) >= _SERVICES:
            continue
        heard = found.setdefault(key, Heard(*key, {}))
        heard.processes[state] = heard.processes.get(state, 0) + 1
        heard.unseen_frameworks = sorted({*heard.unseen_frameworks, *row.frameworks})
    return sorted(found.values(), key=lambda heard: (heard.environment, heard.service))


def _without_jobs(pipeline: Pipeline) -> list[Speaks]:
    tracker = pipeline.tracker
    known = {(row.resource.service, row.resource.environment) for row in tracker.processes.rows.values()}
    types = (series.type for series in tracker.counts.series.values())
    known |= {(type.service, type.environment) for type in types if type is not None}
    found = [one for one in pipeline.speakers if (one.service, one.environment) not in known]
    found.sort(key=lambda one: not (one.frameworks or one.consumes))  # if not all are told, these are
    return [Speaks(one.service, one.environment, sorted(one.frameworks), one.consumes) for one in found[:_SERVICES]]
