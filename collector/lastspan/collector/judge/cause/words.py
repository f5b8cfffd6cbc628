"""Phrases about the job whose cause is explained, beside the general ones."""

from __future__ import annotations

from ...model.records import Basis
from ..names import file_line
from ..verdict import Leaf, Verdict
from ..words import certain, holder, job_label, join, process, see_job, session, short, state_of, took, whereabouts
from .case import Case

__all__ = [
    "allowed",
    "at_place",
    "certain",
    "file_line",
    "holder",
    "job_label",
    "join",
    "live",
    "place",
    "process",
    "see_job",
    "session",
    "short",
    "state_of",
    "stopped",
    "took",
    "whereabouts",
]


def live(case: Case, text: str) -> str:
    """Return the text, or nothing in a label: it changes by itself or is more than a name."""
    return "" if case.stable else text


def place(case: Case) -> str:
    """Write where the code is; empty: not known."""
    evidence = case.evidence
    if not evidence.file:
        return ""
    line = None if case.stable and case.is_moving else evidence.line
    return file_line(evidence.file, line) + (f" ({evidence.function})" if evidence.function else "")


def at_place(case: Case) -> str:
    """Write "at …", if it is known where the code is."""
    where = place(case)
    return f"at {where}" if where else ""


def stopped(case: Case, ns: int, *, more: str = "") -> str:
    """Write the sentence that says where the job stopped, and *ns* ago; *more* comes behind the number."""
    if not (where := at_place(case)) and case.stable:
        return ""
    return join("The job stopped", where, live(case, f"{took(ns)} ago{more}")) + "."


def allowed(of: Leaf | Verdict) -> str:
    """Write what a span, or what decided, may take, behind "4 min ago"."""
    allowance = of.allowance
    why = allowance.rule if allowance.basis is not Basis.DECLARED else "declared"
    return f"; allowed: {took(allowance.allowed_ns)} ({why})"
