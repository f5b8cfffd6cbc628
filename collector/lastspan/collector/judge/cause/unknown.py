"""The sentence for an unknown cause: where the job stopped and for how long."""

from __future__ import annotations

from lastspan.semconv.peers import template
from lastspan.semconv.vocabulary import CauseName

from ...model.records import State
from . import repeats
from .case import Case, Cause
from .words import allowed, join, live, place, short, stopped, took


def find(case: Case) -> Cause:
    """Always something."""
    job = case.job
    where = f"{job.type.service}/{job.type.name}/{template(case.last.span.name)}"
    return Cause(CauseName.UNKNOWN, 0.0, "span", where, _words, _advice, is_guess=True)


def _words(case: Case) -> str:
    unseen = case.evidence.stack_unseen or case.evidence.unseen
    blind = f"lastspan could not see what it does{live(case, f': {unseen}')}." if unseen else ""
    if case.job.parent is not None:
        blind = "Its process accepted the job but has not reported its start."
    if case.verdict.state is State.OVERDUE:
        where = repeats.sentence(case) or (f"It is at {place(case)}." if place(case) else "")
        age_ns, may = case.context.now_ns - case.job.span.start_ns, allowed(case.verdict)
        since = live(case, f"It has been running for {took(age_ns)}{may}.")
        return join("It runs longer than allowed but is still active.", where, since, blind)
    inside = case.last.span is not case.job.span
    fact = f"The span {short(case.last.span.name)} has not ended" if inside else "It shows no activity"
    return join(f"{fact}; the cause is not known.", stopped(case, case.last.age_ns, more=allowed(case.last)), blind)


def _advice(case: Case) -> str:
    if place(case):
        return "Look at the code line and the stack. If this is long but healthy work, call progress() in it."
    return "Look at the process with py-spy. If this is long but healthy work, call progress() in it."
