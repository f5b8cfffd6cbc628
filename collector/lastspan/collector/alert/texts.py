"""The annotations of alerts, as the rules' templates (`lastspan.alerts.facts`) write them. A test compares the two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote_plus

from lastspan.alerts.settings import Settings
from lastspan.semconv import duration
from lastspan.semconv.vocabulary import CAUSES

from ..publish.families import as_labels
from ..publish.metrics import code_line, lock_holder
from ..publish.shapes import JobView
from .model import Incident, Suspect

_NAMED: Final = 10


def cut(value: object) -> str:
    """Return a value as it is a label: no longer than those of `/metrics`, and valid UTF-8."""
    return as_labels(value)[0].encode("utf-8", "replace").decode()


def jobs(count: int) -> str:
    """Return `1 job` or `7 jobs`."""
    return "1 job" if count == 1 else f"{count} jobs"


def of_job(job: JobView, incident: Incident | None, settings: Settings) -> dict[str, str]:
    """Return the annotations of an alert about one job."""
    told = {
        "summary": f"{cut(job.job_name)} is {job.state} at «{cut(job.last_span.name)}»: {_words(job.cause)}",
        "description": "\n".join(_description(job, incident)),
        "last_span": cut(job.last_span.name),
        "cause": job.cause or "unknown",
        "code": cut(code_line(job)),
        "lock_holder": cut(lock_holder(job)),
        **_links(job.job_key, settings),
    }
    if settings.trace_url:
        told["trace_url"] = settings.trace_url.replace("{trace_id}", quote_plus(job.trace_id or ""))
    return told


def of_incident(
    summary: str, count: int, suspects: Sequence[Suspect], incident: Incident | None, settings: Settings
) -> dict[str, str]:
    """Return the annotations of an alert about jobs that stopped at one thing."""
    oldest = max(suspects, key=lambda one: one.job.age_s, default=None)
    links = _links("" if oldest is None else oldest.job.job_key, settings)
    return {"summary": summary, "description": "\n".join(_of_several(count, suspects, incident)), **links}


def _of_several(count: int, suspects: Sequence[Suspect], incident: Incident | None) -> Iterator[str]:
    environment = next((one.job.environment for one in suspects), None)
    yield f"{jobs(count)} in {cut(environment)}" if environment else jobs(count)
    if incident is not None:
        yield f"stopped at: {cut(incident.last_span)}"
    if suspects:
        yield f"without movement for: {duration.render(max(_still(one.job) for one in suspects))}"
    yield "among them:"
    yield from (f"{name}: {n}" for name, n in Counter(cut(one.job.job_name) for one in suspects).most_common(_NAMED))


def _still(job: JobView) -> float:
    return job.age_s if job.movement_age_s is None else job.movement_age_s


def many(incident: Incident) -> str:
    """Return the line about an incident of many jobs."""
    return f"{jobs(incident.jobs)} stopped at «{cut(incident.last_span)}»: {_words(incident.cause)}"


def _words(cause: str | None) -> str:
    return CAUSES.get(cause or "unknown", cause or "")


def _description(job: JobView, incident: Incident | None) -> Iterator[str]:
    told = f"{cut(job.job_name)} {cut(job.job_id)}"
    told += "" if job.queue is None else f", queue {cut(job.queue)}"
    told += "" if job.service is None else f", service {cut(job.service)}"
    yield told + ("" if job.environment is None else f", {cut(job.environment)}")
    yield f"stopped at: {cut(job.last_span.name)}"
    yield f"why: {_words(job.cause)}"
    yield f"without movement for: {duration.render(_still(job))}"
    facts = {"code": code_line(job), "lock holder": lock_holder(job), "host": job.host, "pod": job.pod, "pid": job.pid}
    yield from (f"{name}: {cut(value)}" for name, value in facts.items() if value not in (None, ""))
    if incident is not None and incident.jobs > 1:
        yield f"jobs that stopped at the same thing: {incident.jobs}"


def _links(job_key: str, settings: Settings) -> dict[str, str]:
    links = {"incident_url": f"{settings.collector_url}/jobs/{quote_plus(job_key)}"}
    if settings.grafana_url:
        links["dashboard_url"] = f"{settings.grafana_url}/d/lastspan-job?var-job={quote_plus(job_key)}"
    return links
