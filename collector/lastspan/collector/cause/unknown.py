"""What is said when nothing is known: where, for how long, and that it is not known why."""

from __future__ import annotations

from lastspan.semconv.peers import template

from ..model import State
from . import repeats
from .case import Case, Cause
from .words import join, open_for, place, stands_at


def find(case: Case) -> Cause:
    """Always something."""
    job = case.job
    where = f"{job.type.service}/{job.type.name}/{template(case.last.span.name)}"
    return Cause("unknown", 0.0, "span", where, _words, _advice, is_guess=True)


def _words(case: Case) -> str:
    unseen = case.evidence.stack_unseen or case.evidence.unseen
    blind = f"What it does could not be seen: {unseen}." if unseen else ""
    if case.job.parent is not None:
        blind = "Its process took it, and has not said that it began it."
    if case.last.span is not case.job.span:
        return join(f"The span {case.last.span.name} has been {open_for(case)}.", stands_at(case), blind)
    moves = _MOVES.get(case.verdict.state, "")
    does = repeats.sentence(case) or stands_at(case)
    return join(f"The job itself has been {open_for(case)}{moves}.", does, blind)


_MOVES = {State.OVERDUE: ", but it moves", State.STUCK: ", and it does not move"}


def _advice(case: Case) -> str:
    if place(case):
        return "Look at the code line and the stack. If it works on something long, progress() would tell so."
    return "Look at the process with py-spy. If it works on something long, progress() would tell so."
