"""A summary of what the collector receives and knows, for `lastspan check`."""

from __future__ import annotations

from collections import Counter

import msgspec

from .text.version import own_version
from .view import View

_SERVICES = 100


class ServiceStatus(msgspec.Struct):
    """What one service's processes do."""

    service: str
    """`service.name` of its workers."""
    environment: str
    """`deployment.environment.name` of its workers."""
    processes: dict[str, int]
    """By state."""
    unseen_frameworks: list[str] = []
    """Job frameworks that are loaded in one of them, and whose jobs are not seen."""


class ServiceWithoutJobs(msgspec.Struct):
    """A service whose OTLP arrives, but no record of a job."""

    service: str
    """`service.name`."""
    environment: str
    """`deployment.environment.name`."""
    frameworks: list[str]
    """Job frameworks that its spans come from."""
    consumes: bool
    """It takes messages."""


class CollectorStatus(msgspec.Struct):
    """An answer of `/api/v1/status`."""

    version: str
    """The collector's."""
    services: list[ServiceStatus]
    """Those whose workers report, 100 at most."""
    without_jobs: list[ServiceWithoutJobs]
    """Those that only send other OTLP, 100 at most."""
    received: dict[str, int]
    """Records by what they are; `ignored`: not for us."""
    dropped: dict[str, int]
    """Records and requests that were not taken, by reason."""
    jobs: dict[str, int]
    """By state."""
    open_spans: int
    """Announced spans that are open."""
    open_spans_limit: int
    """`max_open_spans`."""
    verdict_age_s: float
    """Since all verdicts were brought up to date."""
    blind: bool
    """So many workers are silent that the collector doubts itself: none is called lost."""
    probe_failures: dict[str, int]
    """By server and reason."""


def status(view: View) -> CollectorStatus:
    """Return what the collector hears and knows, now."""
    facts = view.facts
    received: Counter[str] = Counter()
    for (_, record), count in facts.received.items():
        received[record] += count
    dropped: Counter[str] = Counter()
    for (_, reason), count in facts.dropped.items():
        dropped[reason] += count
    return CollectorStatus(
        own_version(),
        _services(view),
        _without_jobs(view),
        dict(received),
        dict(dropped),
        view.states(),
        view.open_spans,
        view.span_limit,
        view.verdict_age_s,
        view.is_blind,
        {f"{server}: {reason}": count for (server, reason), count in facts.probe_failures.items()},
    )


def _services(view: View) -> list[ServiceStatus]:
    found: dict[tuple[str, str], ServiceStatus] = {}
    for row, state in view.processes():
        key = (row.resource.service, row.resource.environment)
        if key not in found and len(found) >= _SERVICES:
            continue
        heard = found.setdefault(key, ServiceStatus(*key, {}))
        heard.processes[state] = heard.processes.get(state, 0) + 1
        heard.unseen_frameworks = sorted({*heard.unseen_frameworks, *row.frameworks})
    return sorted(found.values(), key=lambda heard: (heard.environment, heard.service))


def _without_jobs(view: View) -> list[ServiceWithoutJobs]:
    known = view.services()
    found = [one for one in view.speakers if (one.service, one.environment) not in known]
    found.sort(key=lambda one: not (one.frameworks or one.consumes))  # if not all are told, these are
    return [
        ServiceWithoutJobs(one.service, one.environment, sorted(one.frameworks), one.consumes)
        for one in found[:_SERVICES]
    ]
