"""What is said when nothing is known: where, for how long, and that it is not known why."""

from __future__ import annotations

from .case import Case, Cause
from .words import join, open_for, place


def find(case: Case) -> Cause:
    """Always something."""
    job = case.job
    where = f"{job.type.service}/{job.type.name}/{case.last.span.name}"
    return Cause("unknown", 0.0, "span", where, _words, _advice)


def _words(case: Case) -> str:
    where = place(case)
    stands = f"It stands at {where}." if where else ""
    unseen = case.evidence.stack_unseen or case.evidence.unseen
    blind = f"What it does could not be seen: {unseen}." if unseen else ""
    if case.last.span is not case.job.span:
        return join(f"The span {case.last.span.name} has been {open_for(case)}.", stands, blind)
    return join(f"The job itself has been {open_for(case)}, and it does not move.", stands, blind) or ""


def _advice(case: Case) -> str:
    if place(case):
        return "Look at the code line and the stack. If it works on something long, progress() would tell so."
    return "Look at the process with py-spy. If it works on something long, progress() would tell so."
