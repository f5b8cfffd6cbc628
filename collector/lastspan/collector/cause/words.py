"""Words about the job whose cause is asked for; the general ones come along."""

from __future__ import annotations

from ..model import Basis
from ..words import certain, file_line, holder, join, look_at, process, session, short, stands, state_of, took, who
from .case import Case

__all__ = [
    "at_place",
    "certain",
    "file_line",
    "holder",
    "join",
    "look_at",
    "open_for",
    "place",
    "process",
    "session",
    "short",
    "stands",
    "stands_at",
    "state_of",
    "took",
    "who",
]


def place(case: Case) -> str:
    """Write where the code stands; empty: not known."""
    evidence = case.evidence
    if not evidence.file:
        return ""
    return file_line(evidence.file, evidence.line) + (f" ({evidence.function})" if evidence.function else "")


def at_place(case: Case) -> str:
    """Write "at …", if it is known where the code stands."""
    where = place(case)
    return f"at {where}" if where else ""


def stands_at(case: Case) -> str:
    """Write a sentence that says where the code stands; empty: not known."""
    where = place(case)
    return f"It stands at {where}." if where else ""


def open_for(case: Case) -> str:
    """Write for how long the last span is open, against what it may."""
    leaf = case.last
    why = leaf.allowance.rule if leaf.allowance.basis is not Basis.DECLARED else "declared"
    return f"open for {took(leaf.age_ns)}; {took(leaf.allowance.allowed_ns)} are allowed ({why})"
