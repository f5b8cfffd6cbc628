"""From jobs, as the API tells them, to Jaeger's traces. Pure.

A span that is open lasts until now. The last span of a job that is stuck, lost or frozen is an error: it is red.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain, islice

from lastspan.semconv.vocabulary import Outcome

from ...model.records import SUSPECT, State
from ..shapes import JobView, OpenSpan
from .shapes import JaegerLog, JaegerProcess, JaegerReference, JaegerSpan, JaegerTag, JaegerTrace, tag

NO_SERVICE = "unknown"
"""The service of a process that does not say one: Jaeger's clients cannot do without."""
MAX_SPANS = 1000
"""Of one trace."""
_STILL_OPEN = "not finished: open until now, and its duration grows"
_NO_PARENT = "its parent is not known here: it has ended, or runs elsewhere"


def service_of(job: JobView) -> str:
    """Return the name under which a job's spans are found."""
    return job.service or NO_SERVICE


def trace(trace_id: str, jobs: Iterable[JobView]) -> JaegerTrace:
    """Return the trace of these jobs, which are all of one trace; the oldest span comes first."""
    processes: dict[str, JaegerProcess] = {}
    names: dict[tuple[object, ...], str] = {}
    found: dict[str, JaegerSpan] = {}
    for job in jobs:
        where = (service_of(job), job.instance_id, job.host, job.pid)
        name = names.setdefault(where, f"p{len(names) + 1}")
        if name not in processes:
            processes[name] = JaegerProcess(service_of(job), list(_process_tags(job)))
        for span in job.open_spans:
            if len(found) < MAX_SPANS:
                found.setdefault(span.span_id, _span(trace_id, job, span, name))
    for one in found.values():
        if any(reference.span_id not in found for reference in one.references):
            one.warnings = [*(one.warnings or ()), _NO_PARENT]
    return JaegerTrace(trace_id, sorted(found.values(), key=lambda span: span.start_time), processes)


def _span(trace_id: str, job: JobView, span: OpenSpan, process: str) -> JaegerSpan:
    start = _started(job) + round((job.age_s - span.age_s) * 1e6)
    duration = max(1, round(span.age_s * 1e6))
    parent = [] if span.parent_id is None else [JaegerReference("CHILD_OF", trace_id, span.parent_id)]
    is_open = job.state != State.ENDED
    warnings = [_STILL_OPEN] if is_open else None
    logs = list(_logs(job, start + duration)) if span.is_last else []
    tags = list(_tags(job, span, is_open=is_open))
    return JaegerSpan(trace_id, span.span_id, span.name, parent, start, duration, tags, logs, process, warnings)


def _started(job: JobView) -> int:
    return round(datetime.fromisoformat(job.started_at.replace("Z", "+00:00")).timestamp() * 1e6)


def _tags(job: JobView, span: OpenSpan, *, is_open: bool) -> Iterator[JaegerTag]:
    yield tag("span.kind", span.kind.lower())
    yield tag("lastspan.open", is_open)
    if span.is_job:
        yield from _told(
            {
                "lastspan.job.name": job.job_name,
                "lastspan.job.id": job.job_id,
                "lastspan.job.queue": job.queue,
                "lastspan.job.system": job.system,
                "lastspan.job.attempt": job.attempt,
                "lastspan.outcome": job.outcome,
            }
        )
    if span.is_job or span.is_last:
        yield tag("lastspan.state", job.state)
    if span.is_last:
        yield from _verdict(job)
    yield from _told(span.attributes)


def _verdict(job: JobView) -> Iterator[JaegerTag]:
    yield tag("lastspan.last", True)
    yield tag("lastspan.allowed", job.last_span.allowed_s)
    yield from _told(
        {"lastspan.cause": job.cause, "lastspan.severity": job.severity, "lastspan.incident": job.incident}
    )
    if job.code is not None:
        yield from _told(
            {
                "code.function.name": job.code.function,
                "code.file.path": job.code.file,
                "code.line.number": job.code.line,
            }
        )
    if job.state in SUSPECT or job.outcome not in (None, Outcome.OK):
        yield tag("error", True)
        yield tag("otel.status_code", "ERROR")
        yield tag("otel.status_description", job.cause_text or job.outcome or job.state)


def _told(values: dict[str, object]) -> Iterator[JaegerTag]:
    return (tag(name, value) for name, value in values.items() if value not in (None, ""))


def _process_tags(job: JobView) -> Iterator[JaegerTag]:
    return _told(
        {
            "host.name": job.host,
            "process.pid": job.pid,
            "k8s.pod.name": job.pod,
            "k8s.namespace.name": job.namespace,
            "service.instance.id": job.instance_id,
            "service.version": job.service_version,
            "deployment.environment.name": job.environment,
        }
    )


def _logs(job: JobView, at: int) -> Iterator[JaegerLog]:
    """What was seen of the code at a job's last span."""
    if job.cause_text:
        yield JaegerLog(at, list(_told({"event": "why", "message": job.cause_text, "advice": job.advice})))
    if job.stack:
        yield JaegerLog(at, [tag("event", "stack"), tag("code.stacktrace", "\n".join(job.stack))])
    elif job.stack_unseen:
        yield JaegerLog(at, [tag("event", "no stack"), tag("message", job.stack_unseen)])
    evidence = list(_told(_evidence(job)))
    if evidence:
        yield JaegerLog(at, [tag("event", "evidence"), *evidence])


def _evidence(job: JobView) -> dict[str, object]:
    told: dict[str, object] = {
        "thread.name": job.thread,
        "lastspan.thread.cpu_ratio": job.cpu_ratio,
        "lastspan.thread.state": job.thread_state,
        "lastspan.heartbeat.age": job.heartbeat_age_s,
        "not seen": job.unseen,
    }
    if job.wait is not None:
        told |= {"lastspan.wait.kind": job.wait.kind, "lastspan.wait.peer": job.wait.peer, "call": job.wait.call}
    if job.blocked_by is not None:
        holder = job.blocked_by
        told |= {
            "lastspan.lock.name": holder.lock,
            "lastspan.lock.holder.job.id": holder.holder_job_id,
            "lastspan.lock.holder.thread": holder.holder_thread,
            "lastspan.lock.holder.pid": holder.holder_pid,
            "lastspan.lock.holder.code": holder.holder_code,
        }
    return told


def has(found: JaegerTrace, *, operation: str, tags: dict[str, str], at_least: float, at_most: float) -> bool:
    """Whether one span of the trace has this name, all these tags, and lasts (seconds) as long as asked."""
    return any(
        (not operation or span.operation_name == operation)
        and at_least <= span.duration / 1e6 <= at_most
        and _has_tags(span, found.processes[span.process_id], tags)
        for span in found.spans
    )


def _has_tags(span: JaegerSpan, process: JaegerProcess, wanted: dict[str, str]) -> bool:
    told = {one.key: _text(one.value) for one in chain(process.tags, span.tags)}
    return all(told.get(key) == value for key, value in wanted.items())


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def first(names: Iterable[str], limit: int) -> list[str]:
    """Return names in order, at most so many."""
    return sorted(islice(dict.fromkeys(names), limit))
