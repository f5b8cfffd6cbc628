"""The queue gave a job out again while it runs."""

from __future__ import annotations

from ..track import JobRow
from . import delivery
from .case import Case, Cause
from .words import join, place, process, stands, stands_at, took


def find_twins(case: Case) -> Cause | None:
    """The same attempt of the same job, open twice: in two processes that are both alive, or two threads of one."""
    if not case.known.twins(case.job):
        return None
    return Cause("redelivered", 0.9, "redelivered", case.job.type.name, _twin_words, _advice)


def find_overdue(case: Case) -> Cause | None:
    """A job that is older than its queue waits for an ack, and of which nothing else is known."""
    if not delivery.is_overdue(case.job, case.known.now_ns):
        return None
    return Cause("redelivered", 0.6, "redelivered", case.job.type.name, _overdue_words, _advice)


def _twin_words(case: Case) -> str:
    twins = case.known.twins(case.job)
    other = twins[0]
    more = f" (and {len(twins) - 1} more)" if len(twins) > 1 else ""
    where = place(case)
    return join(
        f"The queue gave it out again while it runs: it is open in {process(case.job)} for "
        f"{took(case.known.now_ns - case.job.span.start_ns)} and in {_beside(case, other)} for "
        f"{took(case.known.now_ns - other.span.start_ns)}{more}.",
        f"This one stands at {where}," if where else "",
        f"the other one is {stands(other, case.known)}." if where else "",
    )


def _beside(case: Case, other: JobRow) -> str:
    is_same = other.span.process is case.job.span.process
    return "another thread or task of it" if is_same else process(other)


def _overdue_words(case: Case) -> str:
    job = case.job
    return join(
        f"It has run for {took(case.known.now_ns - job.span.start_ns)}.",
        stands_at(case),
        delivery.outlook(job, delivery.Death.NONE, case.known.now_ns),
    )


def _advice(case: Case) -> str:
    return (
        "Kill one of them if it must not run twice; then set the visibility (or consumer) timeout above the longest "
        "time that the job may take."
    )
