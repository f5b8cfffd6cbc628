"""Waits that are no lock, call or job: time, queues, events, threads, processes, pools, disks."""

from __future__ import annotations

from typing import NamedTuple

from lastspan.semconv.peers import template

from ..blockers import blocker
from .case import Case, Cause, lasting
from .words import holder, join, live, place, short, stopped, took


class _Kind(NamedTuple):
    """How a kind of wait is said."""

    what: str
    """Behind "It"; {}: its name, if that is known."""
    advice: str


_KINDS = {
    "sleep": _Kind("sleeps, or polls and sleeps", "Find what it polls for, or why it sleeps so long inside a job."),
    "queue": _Kind("waits on the queue {}", "Find the code that should put an item in (or take one out)."),
    "event": _Kind("waits for the event {}", "Find the code that should set it, and check that it still runs."),
    "condition": _Kind(
        "waits for the condition {}", "Find the code that should notify it, and check that it still runs."
    ),
    "barrier": _Kind("waits at the barrier {}", "Find the party that has not arrived; give the barrier a timeout."),
    "thread": _Kind("waits for the thread {} to end", "Look at where that thread stopped; give the wait a timeout."),
    "task": _Kind("waits for the task {} to end", "Look at where that task stopped; give the wait a timeout."),
    "future": _Kind(
        "waits for the result of the future {}",
        "Find what should set it: code that failed, or a pool with no free worker.",
    ),
    "process": _Kind("waits for the process {} to end", "Check what that process does; give the wait a timeout."),
    "pipe": _Kind("waits for the pipe {}", "Check whether the process at its other end still reads or writes."),
    "pool": _Kind(
        "waits for a free connection from the pool {}",
        "Find the code that keeps connections and does not return them, before you make the pool larger.",
    ),
    "signal": _Kind("waits for a signal {}", "Find what should send it."),
    "input": _Kind(
        "waits for input {}", "A worker has no keyboard: pass the input to the command, or use stdin=DEVNULL."
    ),
    "disk": _Kind("waits for the disk or network file system {}", "Look at the mounts and disks of its host (dmesg)."),
}


_WORKS = frozenset({"thread", "task", "future"})
"""Waits for somebody's work in the same process."""
_OWN = _WORKS | {"process", "pipe"}
"""Waits for what a job may have started for itself: `Task-9`, `gzip (pid 4711, S)`."""


def find(case: Case) -> Cause | None:
    """Any other wait that is known."""
    kind = _KINDS.get(case.wait.kind or "")
    if kind is None:
        return None
    named = case.wait.target if case.wait.kind in _WORKS else case.lock.name or case.wait.target
    target = named or case.wait.peer or place(case) or case.wait.call or ""
    if (
        case.wait.kind in _OWN and (kin := template(lasting(target))) != target
    ):  # each has its own: the code is what they share
        target = join(kin, place(case))
    target = join(case.job.type.service, target)
    return Cause("waiting", 0.85, f"waiting_{case.wait.kind}", target, _words, _advice)


def of_kind(kind: str, name: str) -> str:
    """Write a name behind the word for its kind: `(the process) 4711`, `(the pipe) of process 4711`."""
    if kind == "pipe":
        return f"of {name.replace('pid ', 'process ', 1)}" if name.startswith("pid ") else name and f"of {name}"
    return name.removeprefix("pid ").removeprefix(f"{kind} ")


def _words(case: Case) -> str:
    wait, lock = case.wait, case.lock
    name = (lock.holder_thread if wait.kind in _WORKS else lock.name) or wait.target or lock.name or wait.peer or ""
    noun = wait.kind or ""
    what = _KINDS[noun].what.replace("{}", short(of_kind(noun, name)))
    call = live(case, wait.call or "")
    bound = "and has no timeout" if wait.unbounded and noun != "sleep" else ""
    fact = f"{join('It', *what.split(), call and f'({call})', bound)}."
    return join(fact, _works_at(case), _kept_by(case), stopped(case, case.stood_ns), _bound(case))


def _kept_by(case: Case) -> str:
    """Say who has what a pool has lent."""
    step = blocker(case.job, case.last, case.known) if case.wait.kind == "pool" else None
    by = "" if step is None or step.job is None else holder(step, case.known, stable=case.stable)
    return f"One of its connections is {by}." if by else ""


def _works_at(case: Case) -> str:
    """Say where the one stands whose work is waited for."""
    lock = case.lock
    if case.wait.kind not in _WORKS or not lock.holder_code:
        return ""
    is_future = case.wait.kind == "future"
    who = f"Thread {lock.holder_thread}" if is_future and lock.holder_thread else f"That {case.wait.kind}"
    return f"{who} is at {lock.holder_code}."


def _bound(case: Case) -> str:
    wait = case.wait
    if wait.kind == "sleep":
        return f"It sleeps for {took(wait.timeout_ns)}." if wait.timeout_ns else ""
    return f"The timeout is {took(wait.timeout_ns)}." if wait.timeout_ns else ""


def _advice(case: Case) -> str:
    return _KINDS[case.wait.kind or ""].advice
