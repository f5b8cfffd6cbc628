"""The annotations of alerts, as the rules' templates (`lastspan.alerts.facts`) write them. A test compares the two."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote_plus

from lastspan.alerts.facts import NAME, SENTENCE, SUBJECT
from lastspan.alerts.settings import AlertSettings
from lastspan.semconv.vocabulary import CAUSE_HEADINGS

from ...judge.words import short
from ..labels import as_labels, brief, code_line
from ..shapes import JobView
from .model import IncidentSummary, Suspect

_NAMED: Final = 10
_WHOLE: Final = frozenset({"what to do first", "stopped at", "lock holder", "waits for"})
"""What is short already."""


def cut(value: object) -> str:
    """Return a value as it is a label: no longer than those of `/metrics`, and valid UTF-8."""
    return as_labels(value)[0].encode("utf-8", "replace").decode()


def named(value: object) -> str:
    """Return a name for a summary."""
    return short(cut(value), NAME)


def jobs(count: int) -> str:
    """Return `1 job` or `7 jobs`."""
    return "1 job" if count == 1 else f"{count} jobs"


def of_job(job: JobView, incident: IncidentSummary | None, settings: AlertSettings) -> dict[str, str]:
    """Return the annotations of an alert about one job."""
    told = {
        "summary": short(f"{named(job.job_name)} is {job.state}{_because(job)}", SUBJECT),
        "description": "\n".join(_description(job, incident)),
        **_said(job),
        "last_span": cut(job.last_span.name),
        "cause": job.cause or "unknown",
        "code": cut(code_line(job)),
        "lock_holder": brief(job).lock_holder,
        **_links(job.job_key, settings),
    }
    if settings.trace_url:
        told["trace_url"] = settings.trace_url.replace("{trace_id}", quote_plus(job.trace_id or ""))
    return told


def of_incident(summary: str, count: int, suspects: Sequence[Suspect], settings: AlertSettings) -> dict[str, str]:
    """Return the annotations of an alert about jobs that stopped at one thing: the oldest of them stands for all."""
    oldest = _oldest(suspects)
    told = {"summary": short(summary, SUBJECT), "description": "\n".join(_of_several(count, suspects, oldest))}
    return {**told, **({} if oldest is None else _said(oldest)), **_links(oldest.job_key if oldest else "", settings)}


def many(incident: IncidentSummary, suspects: Sequence[Suspect]) -> str:
    """Return the line about an incident of many jobs."""
    oldest = _oldest(suspects)
    at, cause = ("", None) if oldest is None else (brief(oldest).stopped_at, oldest.cause)
    if not at:
        at, cause = cut(incident.last_span), incident.cause
    heading = CAUSE_HEADINGS.get(cause or "unknown", cause or "")
    return f"{jobs(incident.jobs)} stopped at {short(at, 50)}: {heading}"


def _oldest(suspects: Sequence[Suspect]) -> JobView | None:
    return max((one.job for one in suspects), key=lambda job: job.age_s, default=None)


def _because(job: JobView) -> str:
    fact = re.sub(SENTENCE, r"\1", brief(job).why)
    return f". {fact}" if fact else ""


def _said(job: JobView) -> dict[str, str]:
    told = brief(job)
    return {"why": told.why, "first_step": told.first_step, "stopped_at": told.stopped_at}


def _of_several(count: int, suspects: Sequence[Suspect], oldest: JobView | None) -> Iterator[str]:
    environment = next((one.job.environment for one in suspects), None)
    yield f"{jobs(count)} in {cut(environment)}" if environment else jobs(count)
    if oldest is not None:
        yield f"the oldest: {cut(oldest.job_name)} {cut(oldest.job_id)}"
        first = max((one.job for one in suspects), key=_still)
        yield from _story(oldest, first)
    yield "jobs by name:"
    yield from (f"{name}: {n}" for name, n in Counter(cut(one.job.job_name) for one in suspects).most_common(_NAMED))


def _description(job: JobView, incident: IncidentSummary | None) -> Iterator[str]:
    told = f"{cut(job.job_name)} {cut(job.job_id)}"
    told += "" if job.queue is None else f", queue {cut(job.queue)}"
    told += "" if job.service is None else f", service {cut(job.service)}"
    yield told + ("" if job.environment is None else f", {cut(job.environment)}")
    yield from _story(job, job)
    if incident is not None and incident.jobs > 1:
        yield f"other jobs that stopped at the same thing: {incident.jobs - 1}"


def _story(job: JobView, first: JobView) -> Iterator[str]:
    """Why, since when, what to do, then where and who; *first*: the one that has done nothing new for longest."""
    told = brief(job)
    if told.why:
        yield f"why: {told.why}"
    yield f"no activity for: {_took(_still(first))}, since {first.moved_at[:19].replace('T', ' ')} UTC"
    facts = {
        "what to do first": told.first_step,
        "stopped at": told.stopped_at,
        "code": code_line(job),
        "lock holder": told.lock_holder,
        "waits for": told.waits_for,
        "host": job.host,
        "pod": job.pod,
        "pid": job.pid,
    }
    yield from (f"{name}: {value if name in _WHOLE else cut(value)}" for name, value in facts.items() if value)


def _still(job: JobView) -> float:
    return job.age_s if job.movement_age_s is None else job.movement_age_s


def _took(seconds: float) -> str:
    """Write a duration as `humanizeDuration` of Prometheus does."""
    if seconds < 60:
        return f"{seconds:.4g}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = (f"{days}d " if days else "", f"{hours}h " if days or hours else "", f"{minutes}m {rest}s")
    return "".join(parts)


def _links(job_key: str, settings: AlertSettings) -> dict[str, str]:
    links = {"incident_url": f"{settings.collector_url}/jobs/{quote_plus(job_key)}"}
    if settings.grafana_url:
        links["dashboard_url"] = f"{settings.grafana_url}/d/lastspan-job?var-job={quote_plus(job_key)}"
    return links
