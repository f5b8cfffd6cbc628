"""The alerts about lastspan itself."""

from __future__ import annotations

from collections.abc import Iterator

from lastspan.semconv import metrics as m

from . import facts
from .model import AlertRule, RuleGroup
from .settings import AlertSettings


def group(settings: AlertSettings) -> RuleGroup:
    """Return the group of the alerts about lastspan."""
    return RuleGroup("lastspan.itself", tuple(_alerts(settings)))


def _alerts(settings: AlertSettings) -> Iterator[AlertRule]:
    up = f'up{{job="{settings.scrape_job}"}}'
    where = f"{{{{ with $labels.instance }}}} at {facts.cut('.')}{{{{ end }}}}"
    blind = f"lastspan{where} receives no data: it cannot find stuck jobs"
    yield AlertRule(
        name="LastspanBlind",
        expr=f"{up} == 0 or absent({up}) or {m.COLLECTOR_BLIND} == 1",
        summary=blind,
        severity="page",
        wait="1m",
    )
    stale = f"the verdicts of lastspan at {facts.cut('$labels.instance')} are "
    yield AlertRule(
        name="LastspanVerdictsStale",
        expr=f"{m.COLLECTOR_VERDICT_AGE} > {settings.verdict_age}",
        summary=stale + "{{ $value | humanizeDuration }} old",
        plain=stale + "old",
        severity="page",
        wait="1m",
    )
    yield AlertRule(
        name="LastspanRecordsDropped",
        expr=f"sum by (instance, reason) (increase({m.COLLECTOR_DROPPED}[5m])) > 0",
        summary=f"lastspan at {facts.cut('$labels.instance')} drops records: {facts.cut('$labels.reason', 30)}",
        severity="warning",
        wait="5m",
    )
    yield AlertRule(
        name="LastspanJobSeriesTruncated",
        expr=f"{m.JOB_SERIES_TRUNCATED} > 0",
        summary=facts.counted("stuck job has no series of its own", "stuck jobs have no series of their own")
        + "; the counts include all jobs",
        plain="some stuck jobs have no series of their own; the counts include all jobs",
        severity="info",
        wait="1m",
    )
    yield AlertRule(
        name="LastspanWatchdog",
        expr="vector(1)",
        summary="always fires: an external dead man's switch alerts when it stops",
        severity="none",
    )
