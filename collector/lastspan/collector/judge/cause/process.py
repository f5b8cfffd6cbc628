"""The process: gone, stopped, or blocked by native code that holds the GIL."""

from __future__ import annotations

from lastspan.semconv.vocabulary import CauseName, Outcome

from ...model.records import Child, State
from ..names import code_line
from . import delivery
from .case import Case, Cause
from .words import join, live, place, process, took

_STOPPED = frozenset("Tt")
_RUNS, _SLEEPS, _IN_THE_KERNEL = "R", "S", "D"
"""Letters of the kernel (`man 5 proc_pid_stat`)."""
_FROZEN_IN = frozenset({"cgroup_frozen", "do_freezer_trap", "__refrigerator"})
_STOPPED_IN = _FROZEN_IN | {"do_signal_stop", "ptrace_stop"}
_COMPUTES = 0.9
_NOT_SEEN = Child("")


GONE = frozenset({Outcome.KILLED, Outcome.LOST})
"""Outcomes of a job whose process is no more."""


def find(case: Case) -> Cause | None:
    """A process that is silent or gone, whatever its code did."""
    if case.job.end is not None:
        return Cause(CauseName.WORKER_LOST, 0.95, "worker_lost", case.host_or_process, _gone_words, _gone_advice)
    if case.verdict.state is State.LOST:
        sure = 0.9 if _is_watched(case) else 0.55
        return Cause(CauseName.WORKER_LOST, sure, "worker_lost", case.host_or_process, _lost_words, _lost_advice)
    if case.verdict.state is not State.FROZEN:
        return None
    child = _child(case)
    if child.state in _STOPPED or child.wait in _STOPPED_IN:
        return Cause(
            CauseName.WORKER_FROZEN, 0.95, "worker_frozen", case.host_or_process, _stopped_words, _stopped_advice
        )
    if child.state == _IN_THE_KERNEL:
        return Cause(CauseName.WORKER_FROZEN, 0.85, "worker_frozen", case.host_or_process, _disk_words, _disk_advice)
    if child.state == _RUNS:
        sure = 0.85 if (child.cpu_ratio or 0.0) >= _COMPUTES else 0.6
        return Cause(CauseName.GIL_HELD, sure, "gil_held", _code(case), _held_words, _held_advice)
    if child.state == _SLEEPS and child.wait:
        sure = 0.6 if "futex" in child.wait else 0.5
        return Cause(CauseName.GIL_HELD, sure, "gil_held", _code(case), _held_words, _held_advice)
    return Cause(CauseName.WORKER_FROZEN, 0.5, "worker_frozen", case.host_or_process, _frozen_words, _frozen_advice)


def find_stall(case: Case) -> Cause | None:
    """A process that could not run for a while, just now, and whose job is still at the same line."""
    row = case.job.span.process
    if row is None or row.stall is None or case.wait.kind is not None or case.wait.call is not None:
        return None
    if case.context.now_ns - row.stalled_at_ns > 3 * row.interval_ns + row.stall_grace_ns:
        return None
    stood = row.stall.place
    if stood is None or stood.line is None or stood.line != case.evidence.line:
        return None
    return Cause(CauseName.GIL_HELD, 0.7, "gil_held", _code(case), _stall_words, _held_advice)


def _gone_words(case: Case) -> str:
    end = case.job.end
    reason = end.reason if end is not None else ""
    said = live(case, f" ({reason})") if reason else ""
    return join(f"{_name(case)} ended while the job ran{said}.", _redelivery_forecast(case), _stood(case))


def _gone_advice(case: Case) -> str:
    return (
        "Find out what killed it (kernel log: out of memory; pod: eviction; a deploy); check that the job runs again."
    )


def _lost_words(case: Case) -> str:
    seen = (
        "is gone: its parent process reports but no longer lists it."
        if _is_watched(case)
        else "is silent, and no parent process sees it. It may be killed, stopped, cut off or too busy to report."
    )
    return join(_name(case), seen, _redelivery_forecast(case), _stood(case), _silent(case))


def _lost_advice(case: Case) -> str:
    return (
        "Check whether the worker was killed (kernel log: out of memory; pod: eviction) and whether the job runs again."
    )


def _stopped_words(case: Case) -> str:
    child = _child(case)
    how = "is frozen with its control group" if child.wait in _FROZEN_IN else "is stopped (state T)"
    return join(
        f"{_name(case)} {how}, its parent process reports.", _redelivery_forecast(case), _stood(case), _silent(case)
    )


def _stopped_advice(case: Case) -> str:
    if _child(case).wait in _FROZEN_IN:
        return "Find out what froze the container (docker pause, a checkpoint), and unfreeze it."
    return f"Find out what stopped it (SIGSTOP, a debugger, Ctrl-Z); `kill -CONT {_pid(case)}` resumes it."


def _disk_words(case: Case) -> str:
    where = f" at {_child(case).wait}" if _child(case).wait else ""
    return join(
        f"{_name(case)} is blocked in the kernel{where} (state D): a disk or network file system may not answer.",
        _redelivery_forecast(case),
        _stood(case),
        _silent(case),
    )


def _disk_advice(case: Case) -> str:
    host = _host(case) or "its host"
    return f"Look at the mounts and disks of {host} (dmesg, /proc/{_pid(case)}/stack); no signal can end it."


def _held_words(case: Case) -> str:
    child = _child(case)
    if child.state == _RUNS:
        busy = live(case, f" at {child.cpu_ratio:.0%} of a core") if child.cpu_ratio is not None else ""
        what = (
            f"Native code holds the GIL in {process(case.job)}, which uses the CPU{busy}, its parent process reports."
        )
    else:
        what = f"Native code likely holds the GIL in {process(case.job)}. It waits in {child.wait}."
    return join(what, _redelivery_forecast(case), _stood(case), _silent(case))


def _held_advice(case: Case) -> str:
    return (
        f"`py-spy dump --native --pid {_pid(case)}` shows the native code (a regular expression that backtracks, a big "
        "number, an extension); kill the process to free the worker."
    )


def _stall_words(case: Case) -> str:
    row = case.job.span.process
    assert row is not None  # it said so
    assert row.stall is not None
    return join(
        f"Native code holds the GIL at {code_line(row.stall.place)}, in {process(case.job)}.",
        live(case, f"No Python code could run there for {took(row.stall.for_ns)}; it is still at that line."),
    )


def _frozen_words(case: Case) -> str:
    return join(
        f"{_name(case)} is silent, but its parent process still sees it. It is stopped, blocked in the kernel, or its "
        "native code holds the GIL.",
        _redelivery_forecast(case),
        _stood(case),
        _silent(case),
    )


def _frozen_advice(case: Case) -> str:
    folder = f"/proc/{_pid(case)}"
    return f"Look at the process on its host: `cat {folder}/status {folder}/wchan`, then `py-spy dump`."


def _child(case: Case) -> Child:
    row = case.job.span.process
    return (None if row is None else case.context.seen_by_parent(row)) or _NOT_SEEN


def _silent(case: Case) -> str:
    row, job = case.job.span.process, case.job
    if job.parent is not None:
        ago = live(case, f", {took(case.context.now_ns - job.span.start_ns)} ago")
        return f"It has been silent since it took the job{ago}."
    return "" if row is None else live(case, f"It has been silent for {took(case.context.silent_ns(row))}.")


def _stood(case: Case) -> str:
    where = place(case)
    if case.job.parent is not None:
        return "Where it stopped is not known."
    return f"It was last seen at {where}." if where else ""


def _redelivery_forecast(case: Case) -> str:
    end, now_ns = case.job.end, case.context.now_ns
    if case.verdict.state is State.FROZEN:
        return delivery.redelivery_forecast(case.job, delivery.ProcessEnd.NONE, now_ns, stable=case.stable)
    if end is not None and end.outcome is not Outcome.LOST:
        return delivery.redelivery_forecast(case.job, delivery.ProcessEnd.CHILD_KILLED, now_ns, stable=case.stable)
    if end is not None and end.is_elsewhere:
        return ""
    if end is None and _is_watched(case):  # its parent lives, and has let go of it
        return delivery.redelivery_forecast(case.job, delivery.ProcessEnd.CHILD_KILLED, now_ns, stable=case.stable)
    return delivery.redelivery_forecast(
        case.job, delivery.ProcessEnd.WORKER_LOST, now_ns, is_sure=False, stable=case.stable
    )


def _is_watched(case: Case) -> bool:
    return case.job.span.process is not None and case.context.has_parent(case.job.span.process)


def _name(case: Case) -> str:
    name = process(case.job)
    return name[0].upper() + name[1:]


def _pid(case: Case) -> object:
    row = case.job.span.process
    return "PID" if row is None or row.resource.pid is None else row.resource.pid


def _host(case: Case) -> str:
    row = case.job.span.process
    return "" if row is None else row.resource.host


def _code(case: Case) -> str:
    return join(case.job.type.service, case.evidence.function or case.job.type.name)
