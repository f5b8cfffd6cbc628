"""The active alerts: made from suspects and incidents. Pure; the same alerts as those of `lastspan.alerts.jobs`.

What needs a memory of hours (stuck again, budget burn, mostly stuck, overdue, missing timeouts) is Prometheus' alone.
The alert that tells most of an incident comes first: Alertmanager has to have it when it is asked what mutes what.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from lastspan.alerts.settings import AlertSettings

from ...judge.words import short
from ...model.records import Severity, State
from ..labels import brief
from . import texts
from .model import ActiveAlert, AlertInput, IncidentSummary, Labels, Suspect
from .target import SECOND_NS
from .texts import cut, jobs

ALERTS: Final = (
    "LastspanManyJobsStopAtOneThing",
    "LastspanDeadlock",
    "LastspanWorkerLost",
    "LastspanLockHolderBlocksJobs",
    "LastspanJobStuck",
    "LastspanBlind",
    "LastspanWatchdog",
)
"""All that direct mode knows of."""
_BLIND_FOR_NS: Final = 60 * SECOND_NS


def active_alerts(alert_input: AlertInput, settings: AlertSettings, *, instance: str) -> Iterator[ActiveAlert]:
    """Yield what is wrong; *instance* names this collector."""
    by_incident: dict[str, list[Suspect]] = defaultdict(list)
    for suspect in alert_input.suspects:
        by_incident[suspect.job.incident or ""].append(suspect)
    known = {incident.name: incident for incident in alert_input.incidents}
    for incident in alert_input.incidents:
        yield from _many(incident, by_incident[incident.name], settings)
    for name, suspects in by_incident.items():
        yield from _deadlock(name, suspects, settings)
        yield from _lost(name, suspects, settings)
        yield from _holders(name, suspects, known.get(name), settings)
    for suspect in alert_input.suspects:
        yield _stuck(suspect, known.get(suspect.job.incident or ""), settings)
    yield from _ours(alert_input, settings, instance)


def _many(incident: IncidentSummary, suspects: Sequence[Suspect], settings: AlertSettings) -> Iterator[ActiveAlert]:
    if incident.jobs >= settings.many:
        where = {"environment": incident.environment, "incident": incident.name}
        told = texts.of_incident(texts.many(incident, suspects), incident.jobs, suspects, settings)
        yield _alert(ALERTS[0], _severity(suspects, incident), where, told, settings, _since(suspects))


def _deadlock(name: str, suspects: Sequence[Suspect], settings: AlertSettings) -> Iterator[ActiveAlert]:
    inside = [one for one in suspects if one.job.cause == "deadlock"]
    if inside:
        where = {"environment": inside[0].job.environment, "incident": name}
        summary = f"{jobs(len(inside))} {_verb(inside, 'is', 'are')} in a deadlock"
        told = texts.of_incident(summary, len(inside), suspects, settings)
        yield _alert(ALERTS[1], "page", where, told, settings, _since(inside))


def _lost(name: str, suspects: Sequence[Suspect], settings: AlertSettings) -> Iterator[ActiveAlert]:
    by_worker: dict[tuple[object, ...], list[Suspect]] = defaultdict(list)
    for one in suspects:
        if one.job.state == State.LOST:
            job = one.job
            by_worker[job.environment, job.service, job.host, job.pod, job.instance_id].append(one)
    names = ("environment", "service", "host", "pod", "instance_id")
    for worker, left in by_worker.items():
        _, service, host, *_ = map(cut, worker)
        summary = f"a worker of {short(service, 25)} on {short(host, 40)} is lost, with {jobs(len(left))} open"
        told = texts.of_incident(summary, len(left), suspects, settings)
        where = {**dict(zip(names, worker, strict=True)), "incident": name}
        yield _alert(ALERTS[2], "page", where, told, settings, _since(left))


def _holders(
    name: str, suspects: Sequence[Suspect], incident: IncidentSummary | None, settings: AlertSettings
) -> Iterator[ActiveAlert]:
    by_holder: dict[str, list[Suspect]] = defaultdict(list)
    for one in suspects:
        if holder := brief(one.job).lock_holder:
            by_holder[holder].append(one)
    for holder, waiting in by_holder.items():
        if len(waiting) >= settings.blocked_at_least:
            where = {"environment": waiting[0].job.environment, "incident": name, "lock_holder": holder}
            summary = (
                f"{short(holder, 60)} holds the lock that {jobs(len(waiting))} {_verb(waiting, 'waits', 'wait')} for"
            )
            told = texts.of_incident(summary, len(waiting), suspects, settings)
            yield _alert(ALERTS[3], _severity(suspects, incident), where, told, settings, _since(waiting))


def _stuck(suspect: Suspect, incident: IncidentSummary | None, settings: AlertSettings) -> ActiveAlert:
    job = suspect.job
    where = {
        "environment": job.environment,
        "service": job.service,
        "job_name": job.job_name,
        "queue": job.queue,
        "job_key": job.job_key,
        "job_id": job.job_id,
        "incident": job.incident,
    }
    told = texts.of_job(job, incident, settings)
    return _alert(ALERTS[4], job.severity or "warning", where, told, settings, suspect.since_ns)


def _ours(alert_input: AlertInput, settings: AlertSettings, instance: str) -> Iterator[ActiveAlert]:
    where = {"instance": instance}
    if alert_input.blind:
        told = {"summary": f"lastspan at {instance} receives no data: it cannot find stuck jobs"}
        yield _alert(ALERTS[5], "page", where, told, settings, alert_input.now_ns, wait_ns=_BLIND_FOR_NS, ours=True)
    told = {"summary": "always fires: an external dead man's switch alerts when it stops"}
    yield _alert(ALERTS[6], "none", where, told, settings, alert_input.now_ns, ours=True)


def _alert(
    name: str,
    severity: str,
    where: dict[str, str | None] | dict[str, object] | dict[str, str],
    annotations: dict[str, str],
    settings: AlertSettings,
    since_ns: int,
    *,
    wait_ns: int = 0,
    ours: bool = False,
) -> ActiveAlert:
    labels = {"alertname": name, "severity": settings.severity.get(name, severity)}
    labels |= {label: cut(value) for label, value in where.items() if value not in (None, "")}
    told = {key: value for key, value in annotations.items() if value}
    told["runbook_url"] = f"{settings.runbooks}/{name}"
    return ActiveAlert(_sorted(labels), told, since_ns, wait_ns, ours)


def _sorted(labels: dict[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _severity(suspects: Sequence[Suspect], incident: IncidentSummary | None) -> str:
    """An alert about an incident pages if a verdict of one of its jobs does, or did while it lasts."""
    was_a_page = incident is not None and incident.severity == Severity.PAGE
    return "page" if was_a_page or any(one.job.severity == Severity.PAGE for one in suspects) else "warning"


def _since(suspects: Sequence[Suspect]) -> int:
    return min((one.since_ns for one in suspects), default=0)


def _verb(suspects: Sequence[Suspect], one: str, several: str) -> str:
    return one if len(suspects) == 1 else several
