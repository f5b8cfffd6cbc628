"""The queue delivered a job again while it runs."""

from __future__ import annotations

from lastspan.semconv.vocabulary import CauseName

from ...model.records import State
from ...track import JobRow
from . import delivery
from .case import Case, Cause
from .words import join, live, place, process, stopped, took, whereabouts


def find_duplicates(case: Case) -> Cause | None:
    """The same attempt of the same job, open twice: in two processes that are both alive, or two threads of one."""
    if not case.context.duplicates(case.job):
        return None
    return Cause(CauseName.REDELIVERED, 0.9, "redelivered", case.job.type.name, _duplicate_words, _advice)


def find_overdue(case: Case) -> Cause | None:
    """A job that is older than its queue waits for an ack, and of which nothing else is known."""
    if not delivery.is_overdue(case.job, case.context.now_ns):
        return None
    return Cause(CauseName.REDELIVERED, 0.6, "redelivered", case.job.type.name, _overdue_words, _advice)


def _duplicate_words(case: Case) -> str:
    duplicates = case.context.duplicates(case.job)
    other = duplicates[0]
    more = live(case, f" (and {len(duplicates) - 1} more)") if len(duplicates) > 1 else ""
    where, there = place(case), whereabouts(other, case.context, stable=case.stable)
    run, be = ("runs", "is") if case.stable else ("has been running", "has been")
    return join(
        "It runs twice: the queue delivered it again.",
        f"It {run} in {join(process(case.job), _open_for(case, case.job))}"
        f" and in {join(_beside(case, other), _open_for(case, other))}{more}.",
        f"This one is at {where}" + (f", the other one {be} {there}." if there else ".") if where else "",
    )


def _open_for(case: Case, job: JobRow) -> str:
    return live(case, f"for {took(case.context.now_ns - job.span.start_ns)}")


def _beside(case: Case, other: JobRow) -> str:
    is_same = other.span.process is case.job.span.process
    return "another thread or task of that process" if is_same else process(other)


def _overdue_words(case: Case) -> str:
    job = case.job
    return join(
        "It has run longer than its queue waits for an ack.",
        stopped(case, case.context.now_ns - job.span.start_ns) if case.verdict.state is not State.OVERDUE else "",
        delivery.redelivery_forecast(job, delivery.ProcessEnd.NONE, case.context.now_ns, stable=case.stable),
    )


def _advice(case: Case) -> str:
    return (
        "Kill one of the two if the job must not run twice; then set the visibility (or consumer) timeout above the "
        "longest time that the job may take."
    )
