"""A job that waits for the result of another one."""

from __future__ import annotations

from lastspan.semconv.vocabulary import CauseName, Outcome, WaitKind

from ...model.records import State
from ...track import JobRow
from .case import Case, Cause
from .words import join, live, short, state_of, stopped, took, whereabouts


def find(case: Case) -> Cause | None:
    """Another job, by its id if that is known."""
    wait = case.wait
    if wait.kind is not WaitKind.JOB and not wait.job_id:
        return None
    other = awaited(case)
    sure = 0.95 if other is not None else 0.9
    target = wait.job_id or wait.name or case.job.type.name
    if other is None and wait.name:
        target = wait.name  # nobody takes jobs from this queue
    return Cause(CauseName.WAITING_FOR_JOB, sure, "job", target, _words, _advice)


def inside_words(inner: Case, said: str) -> str:
    """Say that a job is in another one that runs inside of it, and what is said of that one."""
    state = inner.verdict.state
    stance = "" if state is State.RUNNING else f", which is {state.value}"
    return f"It runs the job {inner.job.type.name} ({short(inner.job.job_id)}){stance}. {said}"


def awaited(case: Case) -> JobRow | None:
    """Return the job that is waited for, if it is known."""
    return case.context.attempt(case.wait.job_id) if case.wait.job_id else None


def _words(case: Case) -> str:
    wait, where = case.wait, stopped(case, case.last.age_ns)
    if not wait.job_id:
        return join("It waits for the result of another job, which is not known.", where)
    return join(f"It waits for job {short(wait.job_id)}, which {_fate(case)}", where)


def _fate(case: Case) -> str:
    """Write what became of the job that is waited for, as the end of a sentence."""
    other = awaited(case)
    if other is None:
        queue = case.wait.name or case.job.type.queue
        where = f" in {queue}" if queue else ""
        return f"has not started: it may be queued behind this job{where}."
    if other is case.job:
        return "is this job itself: it can never end."
    if other.end is not None:
        if other.end.outcome is Outcome.OK:
            return f"{state_of(other, case.context, stable=case.stable)}: its result has not arrived."
        how = "failed" if other.end.outcome is Outcome.ERROR else f"was {other.end.outcome}"
        return join(how, live(case, f"{took(max(0, case.context.now_ns - other.end.at_ns))} ago")) + "."
    state = case.context.verdict(other).state
    there = whereabouts(other, case.context, stable=case.stable)
    told = f"({other.type.name}{', ' if there else ''}{there})"
    return f"runs {told}." if state in (State.RUNNING, State.OVERDUE) else f"is {state.value} {told}."


def _advice(case: Case) -> str:
    other = awaited(case)
    if case.wait.job_id is None:
        return "Find out which job it waits for; do not wait for jobs inside of jobs (use a chain or a callback)."
    if other is None:
        return (
            "Check whether a worker is free for its queue. A job that waits for another job occupies a worker: use a "
            "chain or a callback."
        )
    if other.end is not None:
        return "Check whether the result backend keeps results; give the wait a timeout."
    return f"Look at job {short(other.job_id)}: lastspan explain {short(other.job_id)}"
