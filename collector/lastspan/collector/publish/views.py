"""A job in full, as the API returns it. Every field is always present; null: not known.

All is derived from the tracker's rows at the moment of asking.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from itertools import chain, islice
from typing import Any

from ..judge.context import Known, evidence_of
from ..judge.verdict import Leaf, Verdict
from ..model.evidence import Evidence
from ..model.records import Call, Resource, State
from ..serve.pipeline import Pipeline
from ..track import JobRow, SpanRow
from .blocked import blocked_by, key_text
from .shapes import Code, JobList, JobView, LastSpan, OpenSpan, Other, Progress, Wait

SCANNED = 50_000
"""Jobs that one list looks at; suspects come first, so none of them is missed."""
_KEY = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}")
_NOWHERE = Resource()

Wall = Callable[[], float]
"""Seconds since the epoch; for display only."""


def list_jobs(
    pipeline: Pipeline, *, state: str | None, job_name: str | None, service: str | None, limit: int, wall: Wall
) -> JobList:
    """Return jobs: suspects first, then those that are open, then those that ended lately."""
    tracker, known = pipeline.tracker, pipeline.known()
    found: list[JobView] = []
    truncated = False
    for index, job in enumerate(all_jobs(pipeline, state)):
        if index >= SCANNED + len(tracker.suspects):
            truncated = True
            break
        if job_name not in (None, job.type.name) or service not in (None, job.type.service):
            continue
        if state is not None and pipeline.verdict(job).state.value != state:
            continue
        if len(found) >= limit:
            truncated = True
            break
        found.append(view(pipeline, job, wall=wall, known=known))
    return JobList(found, truncated, count_states(pipeline), iso(wall()))


def find_job(pipeline: Pipeline, ref: str) -> JobRow | None:
    """Return the job of a key, or the newest attempt of a job id."""
    if _KEY.fullmatch(ref):
        key = bytes.fromhex(ref.replace("-", ""))
        job = pipeline.tracker.jobs.get(key) or pipeline.tracker.ended.get(key)
        if job is not None:
            return job
    attempts = pipeline.tracker.with_id(ref)
    return max(attempts, key=lambda job: (job.attempt or 0, job.end is None, job.span.start_ns), default=None)


def count_states(pipeline: Pipeline) -> dict[str, int]:
    """Return how many jobs are in each state."""
    counts = {state.value: 0 for state in State}
    for series in pipeline.tracker.counts.series.values():
        for state, count in series.open.items():
            counts[state.value] += count
    counts[State.ENDED.value] = len(pipeline.tracker.ended)
    return counts


def view(pipeline: Pipeline, job: JobRow, *, wall: Wall, known: Known | None = None) -> JobView:
    """Return one job as the API tells it; *known*: what others may be asked, if several jobs are told at once."""
    now_ns = pipeline.clock() if job.end is None else min(pipeline.clock(), job.end.at_ns)
    known = known or pipeline.known()
    verdict, cause = pipeline.look(job, known)
    process = job.span.process
    resource = _NOWHERE if process is None else process.resource
    evidence = evidence_of(job, verdict.last)
    age_s = max(0, now_ns - job.span.start_ns) / 1e9
    still_s = age_s if job.moved_ns is None else max(0, now_ns - job.moved_ns) / 1e9
    ended_ago_s = (pipeline.clock() - now_ns) / 1e9
    key, type, end = job.span.key, job.type, job.end
    return JobView(
        job_key=key_text(key),
        job_id=job.job_id,
        job_name=type.name,
        service=type.service or None,
        environment=type.environment or None,
        host=resource.host or None,
        pod=resource.pod or None,
        namespace=resource.namespace or None,
        pid=resource.pid,
        instance_id=resource.instance_id or None,
        service_version=resource.service_version or None,
        queue=type.queue or None,
        system=type.system or None,
        attempt=job.attempt,
        max_attempts=type.max_attempts,
        state=verdict.state.value,
        outcome=None if end is None else end.outcome,
        reason=None if end is None else end.reason or None,
        exit_signal=None if end is None else end.signal,
        exit_code=None if end is None else end.exit_code,
        severity=None if verdict.severity is None else verdict.severity.value,
        basis=verdict.allowance.basis.value,
        basis_rule=verdict.allowance.rule,
        cause=None if cause is None else cause.name,
        cause_text=None if cause is None else cause.text,
        advice=None if cause is None else cause.first_step,
        brief=None if cause is None else cause.brief,
        confidence=None if cause is None else cause.confidence,
        incident=None if job.trouble is None else job.trouble.incident or None,
        started_at=iso(wall() - age_s - ended_ago_s),
        moved_at=iso(wall() - still_s - ended_ago_s),
        age_s=age_s,
        allowed_s=verdict.allowance.allowed_ns / 1e9,
        measured_s=verdict.decides.age_ns / 1e9,
        job_allowed_s=verdict.itself.allowance.allowed_ns / 1e9,
        job_basis=verdict.itself.allowance.basis.value,
        job_basis_rule=verdict.itself.allowance.rule,
        timeout_s=_seconds(type.timeout_ns),
        silent_s=None if process is None else pipeline.tracker.processes.silent_ns(process, now_ns) / 1e9,
        heartbeat_age_s=None if process is None else max(0, now_ns - process.heard_ns) / 1e9,
        movement_age_s=None if job.moved_ns is None else max(0, now_ns - job.moved_ns) / 1e9,
        progress=_progress(job),
        cpu_ratio=evidence.cpu_ratio,
        runqueue_ratio=evidence.runqueue_ratio,
        thread_state=evidence.thread_state,
        trace_id=key[:16].hex() if len(key) == 24 else None,
        span_id=key[16:].hex() if len(key) == 24 else None,
        last_span=_last_span(verdict.last, verdict),
        code=_code(evidence),
        stack=(evidence.stacktrace or "").splitlines(),
        stack_unseen=evidence.stack_unseen,
        unseen=evidence.unseen,
        thread=evidence.thread_name,
        wait=_wait(evidence),
        holds=[] if job.owned is None else list(job.owned.locks),
        open_spans=[_open_span(span, verdict, now_ns) for span in _open_spans(job)],
        blocked_by=blocked_by(job, known) if job.end is None else None,
        lint=pipeline.lint.of(job, known),
        others=[_other(other) for other in pipeline.tracker.others(job)],
    )


def all_jobs(pipeline: Pipeline, state: str | None) -> Iterator[JobRow]:
    """Yield jobs that may be in *state*: suspects first, then those that are open, then those that ended lately."""
    tracker = pipeline.tracker
    suspects = list(islice(tracker.suspects.values(), SCANNED))
    if state == State.ENDED.value:
        return reversed(tracker.ended.values())
    known = {job.span.key for job in suspects}  # a job that is looked at may cease to be one of them
    open_jobs: Iterable[JobRow] = (job for job in tracker.jobs.values() if job.span.key not in known)
    if state is not None:
        return chain(suspects, open_jobs)
    return chain(suspects, open_jobs, reversed(tracker.ended.values()))


def _open_spans(job: JobRow) -> list[SpanRow]:
    return [job.span, *islice(job.members(), 100)]


def _last_span(leaf: Leaf, verdict: Verdict) -> LastSpan:
    span = leaf.span
    return LastSpan(
        span.name,
        span.policy_kind.value,
        leaf.age_ns / 1e9,
        leaf.allowance.allowed_ns / 1e9,
        leaf.allowance.basis.value,
        leaf.allowance.rule,
        _attributes(span.call),
        span.span_id.hex(),
    )


def _open_span(span: SpanRow, verdict: Verdict, now_ns: int) -> OpenSpan:
    return OpenSpan(
        span.span_id.hex(),
        None if span.parent_id is None else span.parent_id.hex(),
        span.name,
        span.kind or "INTERNAL",
        max(0, now_ns - span.start_ns) / 1e9,
        _attributes(span.call),
        span.job is not None and span.job.span is span,
        span is verdict.last.span,
    )


def _attributes(call: Call) -> dict[str, Any]:
    attributes: dict[str, Any] = dict(call.attributes)
    if call.timeout_ns is not None:
        attributes["lastspan.call.timeout"] = call.timeout_ns / 1e9
    if call.unbounded:
        attributes["lastspan.call.unbounded"] = True
    return attributes


def _progress(job: JobRow) -> Progress | None:
    progress = job.progress
    if progress is None:
        return None
    ratio = progress.done / progress.total if progress.total else None
    return Progress(progress.done, progress.total, ratio, progress.message)


def _code(evidence: Evidence) -> Code | None:
    if evidence.function is None:
        return None
    return Code(evidence.function, evidence.file, evidence.line, evidence.lines)


def _wait(evidence: Evidence) -> Wait | None:
    wait = evidence.wait
    if wait is None:
        return None
    return Wait(
        wait.kind,
        wait.call,
        wait.peer,
        wait.local,
        _seconds(wait.idle_ns),
        _seconds(wait.timeout_ns),
        wait.unbounded,
        wait.job_id,
        wait.target,
        wait.session,
        evidence.syscall,
    )


def _other(job: JobRow) -> Other:
    resource = _NOWHERE if job.span.process is None else job.span.process.resource
    return Other(
        key_text(job.span.key),
        job.attempt,
        job.state.value,
        None if job.end is None else job.end.outcome,
        resource.host or None,
        resource.pid,
    )


def _seconds(ns: int | None) -> float | None:
    return None if ns is None else ns / 1e9


def iso(seconds: float) -> str:
    """Write a time as people and machines read it, UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
