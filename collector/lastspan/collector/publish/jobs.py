"""The whole truth about a job, as the API tells it, and lists of jobs. Every field is always there; null: not known.

All is derived from the tracker's rows at the moment of asking.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from itertools import chain, islice
from typing import Any

from ..judge.context import JudgeContext, evidence_of
from ..judge.names import waited_for
from ..judge.verdict import Leaf, Verdict
from ..model.evidence import Evidence
from ..model.records import Call, Resource, State
from ..track import JobRow, SpanRow
from .blocked_by import blocked_by, key_text
from .shapes import (
    AwaitedProcess,
    CodeLocation,
    JobList,
    JobView,
    LastSpan,
    OpenSpan,
    OtherAttempt,
    ProgressView,
    WaitView,
)
from .view import View

SCANNED = 50_000
"""Jobs that one list looks at; suspects come first, so none of them is missed."""
_KEY = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}")
_NOWHERE = Resource()

Wall = Callable[[], float]
"""Seconds since the epoch; for display only."""


def list_jobs(
    view: View, *, state: str | None, job_name: str | None, service: str | None, limit: int, wall: Wall
) -> JobList:
    """Return jobs: suspects first, then those that are open, then those that ended lately."""
    known = view.known()
    found: list[JobView] = []
    truncated = False
    for index, job in enumerate(all_jobs(view, state)):
        if index >= SCANNED + len(view.suspects()):
            truncated = True
            break
        if job_name not in (None, job.type.name) or service not in (None, job.type.service):
            continue
        if state is not None and view.verdict(job).state.value != state:
            continue
        if len(found) >= limit:
            truncated = True
            break
        found.append(job_view(view, job, wall=wall, context=known))
    return JobList(found, truncated, view.states(), iso(wall()))


def find_job(view: View, ref: str) -> JobRow | None:
    """Return the job of a key, or the newest attempt of a job id."""
    if _KEY.fullmatch(ref):
        job = view.job(bytes.fromhex(ref.replace("-", "")))
        if job is not None:
            return job
    return max(view.attempts(ref), key=lambda job: (job.attempt or 0, job.end is None, job.span.start_ns), default=None)


def job_view(view: View, job: JobRow, *, wall: Wall, context: JudgeContext | None = None) -> JobView:
    """Return one job as the API returns it; *known*: what others may be asked, if several jobs are told at once."""
    now_ns = view.clock() if job.end is None else min(view.clock(), job.end.at_ns)
    context = context or view.known()
    verdict, cause = view.look(job, context)
    process = job.span.process
    resource = _NOWHERE if process is None else process.resource
    evidence = evidence_of(job, verdict.last)
    age_s = max(0, now_ns - job.span.start_ns) / 1e9
    still_s = age_s if job.moved_ns is None else max(0, now_ns - job.moved_ns) / 1e9
    ended_ago_s = (view.clock() - now_ns) / 1e9
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
        state=verdict.state,
        outcome=None if end is None else end.outcome,
        reason=None if end is None else end.reason or None,
        exit_signal=None if end is None else end.signal,
        exit_code=None if end is None else end.exit_code,
        severity=verdict.severity,
        basis=verdict.allowance.basis,
        basis_rule=verdict.allowance.rule,
        cause=None if cause is None else cause.name,
        cause_text=None if cause is None else cause.text,
        advice=None if cause is None else cause.first_step,
        brief=None if cause is None else cause.brief,
        confidence=None if cause is None else cause.confidence,
        incident=None if job.suspect_state is None else job.suspect_state.incident or None,
        started_at=iso(wall() - age_s - ended_ago_s),
        moved_at=iso(wall() - still_s - ended_ago_s),
        age_s=age_s,
        allowed_s=verdict.allowance.allowed_ns / 1e9,
        measured_s=verdict.decides.age_ns / 1e9,
        job_allowed_s=verdict.itself.allowance.allowed_ns / 1e9,
        job_basis=verdict.itself.allowance.basis.value,
        job_basis_rule=verdict.itself.allowance.rule,
        timeout_s=_seconds(type.timeout_ns),
        silent_s=None if process is None else view.silent_ns(process, now_ns) / 1e9,
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
        blocked_by=blocked_by(job, context) if job.end is None else None,
        lint=view.findings_of(job, context),
        others=[_other(other) for other in view.other_attempts(job)],
    )


def all_jobs(view: View, state: str | None) -> Iterator[JobRow]:
    """Yield jobs that may be in *state*: suspects first, then open jobs, then recently ended ones."""
    if state == State.ENDED.value:
        return view.ended()
    suspects = list(islice(view.suspects(), SCANNED))
    known = {job.span.key for job in suspects}  # a job that is looked at may cease to be one of them
    open_jobs: Iterable[JobRow] = (job for job in view.jobs() if job.span.key not in known)
    if state is not None:
        return chain(suspects, open_jobs)
    return chain(suspects, open_jobs, view.ended())


def _open_spans(job: JobRow) -> list[SpanRow]:
    return [job.span, *islice(job.members(), 100)]


def _last_span(leaf: Leaf, verdict: Verdict) -> LastSpan:
    span = leaf.span
    return LastSpan(
        span.name,
        span.policy_kind,
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


def _progress(job: JobRow) -> ProgressView | None:
    progress = job.progress
    if progress is None:
        return None
    ratio = progress.done / progress.total if progress.total else None
    return ProgressView(progress.done, progress.total, ratio, progress.message)


def _code(evidence: Evidence) -> CodeLocation | None:
    if evidence.function is None:
        return None
    first, last = evidence.first_line, evidence.last_line
    lines = None if first is None or last is None else f"{first}-{last}"
    return CodeLocation(evidence.function, evidence.file, evidence.line, lines, first, last)


def _wait(evidence: Evidence) -> WaitView | None:
    wait = evidence.wait
    if wait is None:
        return None
    return WaitView(
        wait.kind,
        wait.call,
        wait.peer,
        wait.local,
        _seconds(wait.idle_ns),
        _seconds(wait.timeout_ns),
        wait.unbounded,
        wait.job_id,
        waited_for(wait) or None,
        wait.session,
        evidence.syscall,
        wait.purpose,
        list(wait.job_ids),
        [AwaitedProcess(one.pid, one.program or None, one.state or None) for one in wait.processes],
    )


def _other(job: JobRow) -> OtherAttempt:
    resource = _NOWHERE if job.span.process is None else job.span.process.resource
    return OtherAttempt(
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
