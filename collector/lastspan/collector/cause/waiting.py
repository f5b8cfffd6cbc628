"""Waits that are no lock, call or job: time, queues, events, threads, processes, pools, disks."""

from __future__ import annotations

from typing import NamedTuple

from ..blockers import blocker
from .case import Case, Cause
from .words import at_place, holder, join, place, short, took


class _Kind(NamedTuple):
    """How a kind of wait is said."""

    what: str
    """Behind "It has"; {}: its name, if that is known."""
    advice: str


_KINDS = {
    "sleep": _Kind("slept, or polled and slept,", "See what it polls for, or why it sleeps so long inside a job."),
    "queue": _Kind("waited at the queue {}", "See who should put something in (or take something out)."),
    "event": _Kind("waited for the event {}", "Find the code that should set it, and whether it still can."),
    "condition": _Kind("waited for the condition {}", "Find the code that should notify it, and whether it still can."),
    "barrier": _Kind("waited at the barrier {}", "See which party does not come; give the barrier a timeout."),
    "thread": _Kind("waited for the thread {} to end", "Look at where that thread stands; give the wait a timeout."),
    "task": _Kind("waited for the task {} to end", "Look at where that task stands; give the wait a timeout."),
    "future": _Kind(
        "waited for the result of the future {}", "Find who should set it: code, or a pool with no free worker."
    ),
    "process": _Kind("waited for the process {}", "See what that process does; give the wait a timeout."),
    "pipe": _Kind("waited for the pipe {}", "See who holds the other end, and whether it still reads or writes."),
    "pool": _Kind(
        "waited for a free connection of the pool {}",
        "See who keeps connections and gives none back; only then raise it.",
    ),
    "signal": _Kind("waited for a signal {}", "See who should send it."),
    "input": _Kind("waited for input {}", "Nobody will type: give the command its answers, or stdin=DEVNULL."),
    "disk": _Kind("waited for the disk or network file system {}", "Look at the mounts and disks of its host (dmesg)."),
}


_WORKS = frozenset({"thread", "task", "future"})
"""Waits for somebody's work in the same process."""


def find(case: Case) -> Cause | None:
    """Any other wait that is known."""
    kind = _KINDS.get(case.wait.kind or "")
    if kind is None:
        return None
    named = case.wait.target if case.wait.kind in _WORKS else case.lock.name or case.wait.target
    target = named or case.wait.peer or place(case) or case.wait.call or ""
    target = join(case.job.type.service, target)
    return Cause("waiting", 0.85, f"waiting_{case.wait.kind}", target, _words, _advice)


def _words(case: Case) -> str:
    wait, lock = case.wait, case.lock
    name = (lock.holder_thread if wait.kind in _WORKS else lock.name) or wait.target or lock.name or wait.peer or ""
    noun = wait.kind or ""
    what = _KINDS[noun].what.replace("{}", short(name.removeprefix("pid ").removeprefix(f"{noun} ")))
    call = f"in {wait.call}" if wait.call else ""
    said = f"{join('It has', *what.split(), f'for {took(case.stood_ns)}', call, at_place(case))}."
    return join(said, _works_at(case), _kept_by(case), _bound(case))


def _kept_by(case: Case) -> str:
    """Say who has what a pool has lent."""
    step = blocker(case.job, case.last, case.known) if case.wait.kind == "pool" else None
    by = "" if step is None or step.job is None else holder(step, case.known)
    return f"A connection of it is {by}." if by else ""


def _works_at(case: Case) -> str:
    """Say where the one stands whose work is waited for."""
    lock = case.lock
    if case.wait.kind not in _WORKS or not lock.holder_code:
        return ""
    who = f"thread {lock.holder_thread}" if case.wait.kind == "future" and lock.holder_thread else "that one"
    return f"{who[0].upper()}{who[1:]} stands at {lock.holder_code}."


def _bound(case: Case) -> str:
    wait = case.wait
    if wait.kind == "sleep":
        return f"It sleeps for {took(wait.timeout_ns)}." if wait.timeout_ns else ""
    if wait.unbounded:
        return "It has no timeout."
    return f"Its timeout is {took(wait.timeout_ns)}." if wait.timeout_ns else ""


def _advice(case: Case) -> str:
    return _KINDS[case.wait.kind or ""].advice
