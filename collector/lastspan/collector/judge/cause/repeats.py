"""A loop of many short calls: none of them is late, and the next one is the same."""

from __future__ import annotations

from lastspan.semconv.peers import template
from lastspan.semconv.vocabulary import CauseName, WaitKind

from ...model.evidence import Evidence, Repeat
from .case import Case, Cause
from .words import file_line, join, live, short, took

_SHORT_NS = 3_000_000_000
_PAUSES = 3
_POLLED = frozenset({WaitKind.JOB, WaitKind.POOL, WaitKind.REDIS_LOCK, WaitKind.FILE_LOCK})
"""Waits whose libraries ask again and again: what they wait for says more."""
_NONE = Evidence()


def find(case: Case) -> Cause | None:
    """A call that the worker has counted, or that its looks meet again and again, each time a new one."""
    repeat = of(case)
    if repeat is None or case.wait.kind in _POLLED or _stands(case, repeat):
        return None
    target = join(repeat.peer, template(repeat.call)) if repeat.peer else join(case.job.type.service, repeat.call)
    return Cause(
        CauseName.CALL_LOOP, _sure(repeat), "call_loop", target, _words, _advice, is_guess=repeat.count is None
    )


def of(case: Case) -> Repeat | None:
    """Return what the job repeats, unless it is a call of its own that is late."""
    if case.last.span is not case.job.span and case.last.late:
        return None
    return _evidence(case).repeat


def sentence(case: Case) -> str:
    """Write what a job repeats, without what changes by itself; empty: nothing."""
    repeat = of(case)
    return "" if repeat is None else f"{_what(case, repeat)}{_failing(repeat)}."


def called(case: Case) -> str:
    """Name the call that a job's loop repeats; empty: it is in no such loop."""
    repeat = of(case)
    return "" if repeat is None or _stands(case, repeat) else short(join(_call(case, repeat), _to(repeat)))


def _evidence(case: Case) -> Evidence:
    return case.job.span.evidence or _NONE


def _stands(case: Case, repeat: Repeat) -> bool:
    """Whether its own thread has waited in one place for much longer than a turn takes: others make the calls."""
    stood_ns = _evidence(case).stack_age_ns or 0
    turn_ns = (repeat.window_ns or 0) // max(repeat.count or 1, 1)
    return stood_ns >= max(_SHORT_NS, _PAUSES * turn_ns)


def _sure(repeat: Repeat) -> float:
    """That it fails each time, or asks for the very same, is no work that gets on; else it may be."""
    if repeat.count is None:
        return 0.7
    if repeat.error or repeat.errors == repeat.count:
        return 0.95
    return 0.75 if repeat.varies else 0.9


def _words(case: Case) -> str:
    repeat = of(case)
    assert repeat is not None  # it was found
    return f"{_what(case, repeat)}{live(case, _often(repeat))}{_failing(repeat)}."


def _what(case: Case, repeat: Repeat) -> str:
    where = _place(case)
    return join("It repeats", short(_call(case, repeat)), _to(repeat), f"at {where}" if where else "")


def _call(case: Case, repeat: Repeat) -> str:
    """Name the call; in a label without the ids and tokens that a path may have."""
    return template(repeat.call) if case.stable else repeat.call


def _to(repeat: Repeat) -> str:
    peer = repeat.peer or ""
    return f"to {peer}" if peer and peer.rpartition(":")[0] not in repeat.call else ""


def _often(repeat: Repeat) -> str:
    if repeat.count is None or repeat.window_ns is None:
        return ""
    return f", {repeat.count:,} times in {took(repeat.window_ns)}"


def _failing(repeat: Repeat) -> str:
    if not repeat.count or not repeat.errors or 2 * repeat.errors <= repeat.count:
        return ""
    each = "each fails" if repeat.errors >= repeat.count else "most fail"
    return f"; {each} with {repeat.error}" if repeat.error else f"; {each}"


def _place(case: Case) -> str:
    evidence = _evidence(case)
    if not evidence.file:
        return ""
    line = None if case.stable else evidence.line  # of the call that it is in now
    return file_line(evidence.file, line) + (f" ({evidence.function})" if evidence.function else "")


def _advice(case: Case) -> str:
    repeat = of(case)
    assert repeat is not None  # it was found
    if _failing(repeat):
        to = f" to {repeat.peer}" if repeat.peer else ""
        how = f" with {repeat.error}" if repeat.error else ""
        return f"Check why the calls{to} fail{how}; then limit the retries and let the job fail."
    if repeat.varies:
        return "Check how many calls are left. If it does make progress, call progress() in the loop."
    return (
        "Check the loop's exit condition: it sends the same request again and again. If it does make progress, call "
        "progress() in the loop."
    )
