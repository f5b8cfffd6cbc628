"""Phrases of the sentences on pages. The reader was woken up: name the thing, since when, who, where."""

from __future__ import annotations

from lastspan.semconv import duration
from lastspan.semconv.vocabulary import Certainty

from ..model.records import DatabaseSession, Kind
from ..track import JobRow
from .blockers import Blocker
from .context import JudgeContext, evidence_of
from .names import file_line

_SHORT = 60


def took(ns: float) -> str:
    """Write a duration of nanoseconds."""
    return duration.render(ns / 1e9)


def join(*parts: object) -> str:
    """Put together what there is."""
    return " ".join(str(part) for part in parts if part)


def one_line(text: str, limit: int) -> str:
    """Write what came from outside as one line of at most *limit* letters, each of which can be seen."""
    visible = "".join(letter if letter.isprintable() else " " for letter in text)
    return short(" ".join(visible.split()), limit)


def short(text: str, limit: int = _SHORT) -> str:
    """Cut a name that would fill the line."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def process(job: JobRow) -> str:
    """Name a job's process."""
    row = job.span.process
    if row is None:
        return "its process"
    where = f" on {row.resource.host}" if row.resource.host else ""
    return f"process {row.resource.pid if row.resource.pid is not None else row.id}{where}"


def job_label(job: JobRow) -> str:
    """Name another job: `job sync-42 (tasks.sync, pid 31)`."""
    row = job.span.process
    pid = "" if row is None or row.resource.pid is None else f", pid {row.resource.pid}"
    return f"job {short(job.job_id)} ({job.type.name}{pid})"


def whereabouts(job: JobRow, context: JudgeContext, *, stable: bool = False) -> str:
    """Write where another job is, and since when: what its own page would say in short.

    *stable*: only what does not change by itself. A job that runs is elsewhere at each look, so nothing is said of it.
    """
    if stable and not context.is_stuck(job):
        return ""
    leaf = context.verdict(job).last
    evidence = evidence_of(job, leaf)
    where = file_line(evidence.file, evidence.line)
    doing = leaf.span.name if leaf.span is not job.span else ""
    if leaf.span.call.kind is Kind.LOCK:
        doing = f"waiting for {doing}"
        where = "" if where and where in doing else where
    elif doing:
        doing = f"in {doing}"
    return join(f"at {where}" if where else "", doing, "" if stable else f"for {took(leaf.age_ns)}")


def state_of(job: JobRow, context: JudgeContext, *, stable: bool = False) -> str:
    """Write what another job is: `stuck`, `ended (error) 4 min ago`, …"""
    if job.end is not None:
        ago = "" if stable else f"{took(max(0, context.now_ns - job.end.at_ns))} ago"
        return join(f"ended ({job.end.outcome})", ago)
    return context.verdict(job).state.value


def session(one: DatabaseSession, *, stable: bool = False) -> str:
    """Write what a database session does: `idle in transaction for 14 min`."""
    since = one.since_xact_s if "transaction" in one.state else one.since_state_s
    return join(one.state, f"for {duration.render(since)}" if since is not None and not stable else "")


def holder(step: Blocker, context: JudgeContext, *, stable: bool = False) -> str:
    """Name the holder of what is waited for; empty: not known."""
    if step.session is not None:
        return _of_session(step, step.session, context, stable=stable)
    if step.job is not None:
        return f"held by {job_label(step.job)}" + _holder_whereabouts(step, step.job, context, stable=stable)
    if step.certainty is Certainty.NOBODY:
        return "which no running code holds: it was taken and never released"
    names = join(
        f"job {short(step.job_id)}" if step.job_id else "",
        f"session {step.session_id}" if step.session_id else "",
        step.thread and f"thread {short(step.thread)}",
        f"process {step.pid}" if step.pid is not None else "",
    )
    if not names:
        return ""
    return f"held by {names}" + (f", which is at {step.code}" if step.code else "")


def _holder_whereabouts(step: Blocker, job: JobRow, context: JudgeContext, *, stable: bool) -> str:
    """Write what a holder does and where, as the end of a sentence."""
    is_stuck = context.is_stuck(job)
    if stable and not is_stuck:
        return ""
    where = f"at {step.code}" if step.code else whereabouts(job, context, stable=stable)
    running = "is" if step.code else "has been"
    return f", which {join(f'is {context.verdict(job).state.value}' if is_stuck else running, where)}"


def _of_session(step: Blocker, one: DatabaseSession, context: JudgeContext, *, stable: bool) -> str:
    doing = session(one, stable=stable)
    if step.job is None:
        whose = join(one.application_name and f"of {short(one.application_name)}", one.client)
        by = join("session", one.id, f"at {one.server}" if stable else whose)
        return f"held by {by}" + (f" ({doing})" if doing else "")
    row = step.job.span.process
    pid = "" if row is None or row.resource.pid is None else f"pid {row.resource.pid}"
    evidence = evidence_of(step.job, context.verdict(step.job).last)
    where = "" if stable and not context.is_stuck(step.job) else file_line(evidence.file, evidence.line)
    parts = [part for part in (pid, doing, where) if part]
    return f"held by job {short(step.job.job_id)}" + (f" ({', '.join(parts)})" if parts else "")


def see_job(job: JobRow, context: JudgeContext, *, stable: bool = False) -> str:
    """Point the reader to another job."""
    where = whereabouts(job, context, stable=stable)
    return f"Look at {job_label(job)}" + (
        f": it is {where}." if where and stable else f": it has been {where}." if where else "."
    )


def certain(step: Blocker | None) -> str:
    """Add the certainty, unless it is certain."""
    return (
        " (likely: lastspan did not see it take the lock)"
        if step is not None and step.certainty is Certainty.LIKELY
        else ""
    )
