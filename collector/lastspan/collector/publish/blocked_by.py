"""What blocks a job, as the API returns it."""

from __future__ import annotations

from ..judge.blockers import Blocker, chain
from ..judge.context import JudgeContext
from ..judge.words import session, whereabouts
from ..track import JobRow
from .shapes import BlockedBy, BlockerView


def blocked_by(job: JobRow, context: JudgeContext) -> BlockedBy | None:
    """Return the way from *job* to the one that all wait for; None: it waits for nobody that is known."""
    steps, is_circle = chain(job, context)
    if not steps:
        return None
    told = [_step(step, context) for step in steps]
    first = told[0]
    return BlockedBy(
        first.kind,
        first.peer,
        first.lock,
        first.holder_job_id,
        first.holder_job_key,
        first.holder_job_name,
        first.holder_thread,
        first.holder_pid,
        first.holder_code,
        first.holder_state,
        first.since_s,
        first.certainty,
        told,
        is_circle,
    )


def _step(step: Blocker, context: JudgeContext) -> BlockerView:
    job, process = step.job, None if step.job is None else step.job.span.process
    pid = step.pid if process is None else process.resource.pid
    return BlockerView(
        kind=step.kind or None,
        peer=step.peer or None,
        lock=step.resource or None,
        holder_job_id=step.job_id or None,
        holder_job_key=None if job is None else key_text(job.span.key),
        holder_job_name=None if job is None else job.type.name,
        holder_thread=step.thread or (f"session {step.session_id}" if step.session_id else None),
        holder_pid=pid,
        holder_code=step.code or (None if job is None else whereabouts(job, context)) or None,
        holder_state=_state(step, context),
        since_s=step.since_ns / 1e9,
        certainty=step.certainty,
    )


def _state(step: Blocker, context: JudgeContext) -> str | None:
    if step.session is not None:
        return session(step.session) or None
    if step.job is None:
        return None
    return context.verdict(step.job).state.value


def key_text(key: bytes) -> str:
    """Return a job key as text: trace id, "-", span id."""
    return f"{key[:16].hex()}-{key[16:].hex()}" if len(key) == 24 else key.decode(errors="replace")
