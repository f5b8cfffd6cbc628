"""Waits that are no lock, call or job: time, queues, events, threads, processes, pools, disks."""

from __future__ import annotations

from typing import NamedTuple

from lastspan.semconv.peers import template
from lastspan.semconv.vocabulary import CauseName, WaitKind

from ...model.evidence import Wait
from ..blockers import blocker
from ..names import code_line, lock_name, waited_for
from .case import Case, Cause, stable
from .words import holder, join, live, place, short, stopped, took


class _WaitWords(NamedTuple):
    """How a kind of wait is said."""

    what: str
    """Behind "It"; {}: its name, if that is known."""
    advice: str


_KINDS = {
    WaitKind.SLEEP: _WaitWords(
        "sleeps, or polls and sleeps", "Find what it polls for, or why it sleeps so long inside a job."
    ),
    WaitKind.QUEUE: _WaitWords("waits on the queue {}", "Find the code that should put an item in (or take one out)."),
    WaitKind.EVENT: _WaitWords(
        "waits for the event {}", "Find the code that should set it, and check that it still runs."
    ),
    WaitKind.CONDITION: _WaitWords(
        "waits for the condition {}", "Find the code that should notify it, and check that it still runs."
    ),
    WaitKind.BARRIER: _WaitWords(
        "waits at the barrier {}", "Find the party that has not arrived; give the barrier a timeout."
    ),
    WaitKind.THREAD: _WaitWords(
        "waits for the thread {} to end", "Look at where that thread stopped; give the wait a timeout."
    ),
    WaitKind.TASK: _WaitWords(
        "waits for the task {} to end", "Look at where that task stopped; give the wait a timeout."
    ),
    WaitKind.FUTURE: _WaitWords(
        "waits for the result of the future {}",
        "Find what should set it: code that failed, or a pool with no free worker.",
    ),
    WaitKind.PROCESS: _WaitWords(
        "waits for the process {} to end", "Check what that process does; give the wait a timeout."
    ),
    WaitKind.PIPE: _WaitWords(
        "waits for the pipe {}", "Check whether the process at its other end still reads or writes."
    ),
    WaitKind.POOL: _WaitWords(
        "waits for a free connection from the pool {}",
        "Find the code that keeps connections and does not return them, before you make the pool larger.",
    ),
    WaitKind.SIGNAL: _WaitWords("waits for a signal {}", "Find what should send it."),
    WaitKind.INPUT: _WaitWords(
        "waits for input {}", "A worker has no keyboard: pass the input to the command, or use stdin=DEVNULL."
    ),
    WaitKind.DISK: _WaitWords(
        "waits for the disk or network file system {}", "Look at the mounts and disks of its host (dmesg)."
    ),
}


_WORKS = frozenset({WaitKind.THREAD, WaitKind.TASK, WaitKind.FUTURE})
"""Waits for somebody's work in the same process."""
_OWN = _WORKS | {WaitKind.PROCESS, WaitKind.PIPE}
"""Waits for what a job may have started for itself: `Task-9`, `gzip (pid 4711, S)`."""


def find(case: Case) -> Cause | None:
    """Any other wait that is known."""
    wait = case.wait
    if wait.kind is None or wait.kind not in _KINDS:
        return None
    named = waited_for(stable(case).wait)
    target = (named if wait.kind in _WORKS else lock_name(case.lock) or named) or wait.peer or place(case) or wait.call
    target = target or ""
    if wait.kind in _OWN and (kin := template(target)) != target:  # each has its own: the code is what they share
        target = join(kin, place(case))
    target = join(case.job.type.service, target)
    return Cause(CauseName.WAITING, 0.85, f"waiting_{wait.kind}", target, _words, _advice)


def of_kind(wait: Wait, name: str) -> str:
    """Write a name behind the word for its kind: `(the process) 4711`, `(the pipe) of process 4711`."""
    if [name] == [f"pid {one.pid}" for one in wait.processes]:  # its number is all that is known of it
        name = name.replace("pid", "process") if wait.kind is WaitKind.PIPE else name.removeprefix("pid ")
    return f"of {name}" if name and wait.kind is WaitKind.PIPE else name


def _words(case: Case) -> str:
    wait, lock = case.wait, case.lock
    named = lock_name(lock)
    name = (lock.holder_thread if wait.kind in _WORKS else named) or waited_for(wait) or named or wait.peer or ""
    assert wait.kind is not None  # it was found
    what = _KINDS[wait.kind].what.replace("{}", short(of_kind(wait, name)))
    call = live(case, wait.call or "")
    bound = "and has no timeout" if wait.unbounded and wait.kind is not WaitKind.SLEEP else ""
    fact = f"{join('It', *what.split(), call and f'({call})', bound)}."
    return join(fact, _works_at(case), _kept_by(case), stopped(case, case.stopped_ns), _bound(case))


def _kept_by(case: Case) -> str:
    """Say who has what a pool has lent."""
    step = blocker(case.job, case.last, case.context) if case.wait.kind is WaitKind.POOL else None
    by = "" if step is None or step.job is None else holder(step, case.context, stable=case.stable)
    return f"One of its connections is {by}." if by else ""


def _works_at(case: Case) -> str:
    """Say where the awaited thread, task or worker is."""
    lock = case.lock
    if case.wait.kind not in _WORKS or lock.holder_place is None:
        return ""
    is_future = case.wait.kind is WaitKind.FUTURE
    who = f"Thread {lock.holder_thread}" if is_future and lock.holder_thread else f"That {case.wait.kind}"
    return f"{who} is at {code_line(lock.holder_place)}."


def _bound(case: Case) -> str:
    wait = case.wait
    if wait.kind is WaitKind.SLEEP:
        return f"It sleeps for {took(wait.timeout_ns)}." if wait.timeout_ns else ""
    return f"The timeout is {took(wait.timeout_ns)}." if wait.timeout_ns else ""


def _advice(case: Case) -> str:
    assert case.wait.kind is not None  # it was found
    return _KINDS[case.wait.kind].advice
