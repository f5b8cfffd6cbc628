"""The alerts about jobs: recordings that hold them, then the alerts, in one group, so that each reads what is new.

What one incident makes is one page: the alert that tells most mutes the others of its `incident` (`alertmanager`).
An alert about an incident pages if a verdict of one of its jobs does, or did while it lasts; else it warns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from lastspan.semconv import metrics as m

from . import facts
from .hold import held, recordings
from .model import AlertRule, RuleGroup
from .settings import AlertSettings

_IN_A_CIRCLE: Final = ("job is in a deadlock", "jobs are in a deadlock")
_WAIT: Final = ("job waits for", "jobs wait for")
_TYPE: Final = ("environment", "service", "job_name", "queue")


def group(settings: AlertSettings) -> RuleGroup:
    """Return the group of the alerts about jobs."""
    return RuleGroup("lastspan.jobs", (*recordings(settings), *_stopped(settings), *_by_type(settings)))


def _by(settings: AlertSettings, *labels: str) -> str:
    return f"by ({', '.join((*settings.extra_labels, *labels))})"


def _stopped(settings: AlertSettings) -> Iterator[AlertRule]:
    """What has stopped; that which tells most comes first, and mutes the others."""
    keep, links = settings.keep_firing_for, facts.of_incident(settings)
    jobs = f'sum {_by(settings, "environment", "incident")} ({held(m.INCIDENT_JOBS)}{{incident!="other"}})'
    yield from _by_verdict(
        AlertRule(
            name="LastspanManyJobsStopAtOneThing",
            expr=f"{jobs} >= {settings.many}",
            summary=facts.INCIDENT_SUMMARY,
            plain=_plainly("job stopped at one thing", "jobs stopped at one thing"),
            keep_firing_for=keep,
            annotations=links,
        )
    )
    yield AlertRule(
        name="LastspanDeadlock",
        expr=f"count {_by(settings, 'environment', 'incident')} ({_told('cause', '=', 'deadlock')}) > 0",
        summary=facts.counted(*_IN_A_CIRCLE),
        plain=_plainly(*_IN_A_CIRCLE),
        severity="page",
        keep_firing_for=keep,
        annotations=links,
    )
    lost = ("environment", "service", "host", "pod", "instance_id", "incident")
    yield AlertRule(
        name="LastspanWorkerLost",
        expr=f"count {_by(settings, *lost)} ({_told('state', '=', 'lost')}) > 0",
        summary=f"a worker of {facts.cut('$labels.service', 25)} on {facts.cut('$labels.host', 40)} is lost, with "
        f"{facts.counted('job', 'jobs')} open",
        plain="a worker of {{ $labels.service }} on {{ $labels.host }} is lost, with jobs open",
        severity="page",
        keep_firing_for=keep,
        annotations=links,
    )
    holders = f"count {_by(settings, 'environment', 'incident', 'lock_holder')} ({_told('lock_holder', '!=', '')})"
    yield from _by_verdict(
        AlertRule(
            name="LastspanLockHolderBlocksJobs",
            expr=f"{holders} >= {settings.blocked_at_least}",
            summary=facts.cut("$labels.lock_holder", 60) + " holds the lock that " + facts.counted(*_WAIT),
            plain="{{ $labels.lock_holder }} holds the lock that " + _plainly(*_WAIT),
            keep_firing_for=keep,
            annotations=links,
        )
    )
    yield AlertRule(
        name="LastspanJobStuck",
        expr=f"max {_by(settings, *_TYPE, 'job_key', 'job_id', 'incident', 'severity')} ({held(m.JOB_STUCK)}) == 1",
        summary=facts.JOB_SUMMARY,
        plain="{{ $labels.job_name }} is stuck",
        keep_firing_for=keep,
        annotations=facts.of_job(settings),
    )


def _by_verdict(alert: AlertRule) -> Iterator[AlertRule]:
    """Give an alert the severity of its incident, the highest while it lasts: of two rules one fires at a time."""
    pages = '{severity="page"}'
    paging = f"on (incident) ({held(m.JOB_STUCK)}{pages} or {held(m.INCIDENT_JOBS)}{pages})"
    yield replace(alert, severity="page", expr=f"{alert.expr} and {paging}")
    yield replace(alert, severity="warning", expr=f"{alert.expr} unless {paging}")


def _plainly(one: str, several: str) -> str:
    """Say how many in Grafana."""
    return facts.counted(one, several, "$values.A.Value")


def _told(label: str, operator: str, value: str) -> str:
    """Return what is known of suspects, with their incident."""
    told = f'{held(m.STUCK_JOB_INFO)}{{{label}{operator}"{value}"}}'
    return f"{told} * on (job_key, instance) group_left (incident) {held(m.JOB_STUCK)}"


def _by_type(settings: AlertSettings) -> Iterator[AlertRule]:
    by, what = _by(settings, *_TYPE), facts.cut("$labels.job_name")
    stuck = f'sum {by} ({held(m.JOBS)}{{state=~"stuck|lost|frozen"}})'
    open_jobs = f'sum {by} ({held(m.JOBS)}{{state!="ended"}})'
    yield AlertRule(
        name="LastspanJobTypeMostlyStuck",
        expr=f"{stuck} / {open_jobs} > {settings.mostly_ratio:g} and {stuck} >= {settings.mostly_at_least}",
        summary=f"{{{{ $value | humanizePercentage }}}} of the open jobs of {what} are stuck",
        plain=f"most of the open jobs of {what} are stuck",
        severity="warning",
        wait="1m",
        keep_firing_for=settings.keep_firing_for,
        annotations={"description": facts.OF_TYPE},
    )
    yield AlertRule(
        name="LastspanJobOverdue",
        expr=f'sum {by} ({m.JOBS}{{state="overdue"}}) > 0',
        summary=facts.counted(
            f"job of {what} runs longer than allowed but is still active",
            f"jobs of {what} run longer than allowed but are still active",
        ),
        plain=f"jobs of {what} run longer than allowed but are still active",
        severity="warning",
        wait="10m",
        annotations={"description": facts.OF_TYPE},
    )
    yield _again(settings, what)
    yield _burn(settings, what)
    yield AlertRule(
        name="LastspanTimeoutMissing",
        expr=f"sum {_by(settings, 'environment', 'service', 'job_name', 'rule')} "
        f'({m.LINT_FINDINGS}{{rule="call_without_timeout"}}) > 0',
        summary=facts.cut("$labels.job_name")
        + " can hang: "
        + facts.counted("call in it has no timeout", "calls in it have no timeout"),
        plain="{{ $labels.job_name }} can hang: calls in it have no timeout",
        severity="info",
        wait="1h",
        annotations={"description": facts.OF_TYPE},
    )


def _again(settings: AlertSettings, what: str) -> AlertRule:
    """A counter that is younger than the window began at 1, not at 0: it counts as it is."""
    total, within = m.JOBS_STUCK_TOTAL, settings.again_within
    by = _by(settings, *_TYPE, "cause")
    return AlertRule(
        name="LastspanStuckAgain",
        expr=f"sum {by} ((increase({total}[{within}]) and {total} offset {within}) or {total})"
        f" >= {settings.again_times} unless on ({', '.join(_TYPE)}) {held(m.JOB_STUCK)}",
        summary=f"{what} got stuck {facts.counted('time', 'times')} in {within}: {facts.heading('$labels.cause')}",
        annotations={"description": f"{facts.OF_TYPE}\nIt recovered each time: a retry or a timeout hides the cause."},
        plain=f"{what} got stuck again and again and recovered each time: a retry or a timeout hides the cause",
        severity="warning",
    )


def _burn(settings: AlertSettings, what: str) -> AlertRule:
    by, limit = _by(settings, *_TYPE), f"{settings.burn:g} * {settings.budget:g}"

    def ratio(window: str) -> str:
        return f"sum {by} (increase({m.JOBS_STUCK_TOTAL}[{window}])) / sum {by} (increase({m.JOBS_STARTED}[{window}]))"

    enough = f"sum {by} (increase({m.JOBS_STUCK_TOTAL}[1h])) >= {settings.burn_at_least}"
    return AlertRule(
        name="LastspanStuckBudgetBurn",
        expr=f"{ratio('1h')} > {limit} and {ratio('5m')} > {limit} and {enough}",
        summary=f"{{{{ $value | humanizePercentage }}}} of the jobs of {what} got stuck within an hour",
        plain=f"too many jobs of {what} got stuck within an hour",
        severity="warning",
        wait="2m",
        annotations={"description": facts.OF_TYPE},
    )
