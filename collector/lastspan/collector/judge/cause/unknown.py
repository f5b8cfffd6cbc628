"""What is said when nothing is known: where, for how long, and that it is not known why."""

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
    blind = f"What it does could not be seen{live(case, f': {unseen}')}." if unseen else ""
    if case.job.parent is not None:
        blind = "Its process took it, and has not said that it began it."
    if case.verdict.state is State.OVERDUE:
        where = repeats.sentence(case) or (f"It is at {place(case)}." if place(case) else "")
        age_ns, may = case.known.now_ns - case.job.span.start_ns, allowed(case.verdict)
        since = live(case, f"It has been open for {took(age_ns)}{may}.")
        return join("It runs longer than it may, but it moves.", where, since, blind)
    inside = case.last.span is not case.job.span
    fact = f"The span {short(case.last.span.name)} does not end" if inside else "It does nothing new"
    return join(f"{fact}; why is not known.", stopped(case, case.last.age_ns, more=allowed(case.last)), blind)


def _advice(case: Case) -> str:
    if place(case):
        return "Look at the code line and the stack. If it works on something long, call progress() in it."
    return "Look at the process with py-spy. If it works on something long, call progress() in it."
