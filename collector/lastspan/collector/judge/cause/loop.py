"""A blocked event loop: the job that blocks it, and the jobs that wait for it."""

from __future__ import annotations

from lastspan.semconv.vocabulary import CauseName, WaitKind

from ...model.evidence import Loop
from ..names import code_line, loop_keeper
from .case import Case, Cause
from .words import at_place, join, live, place, short, took

_LAG_NS = 500_000_000
_NO_LOOP = Loop()


def find(case: Case) -> Cause | None:
    """A loop that is late."""
    loop = case.evidence.loop or _NO_LOOP
    if (loop.lag_ns or 0) < _LAG_NS and case.wait.kind is not WaitKind.LOOP:
        return None
    row = case.job.span.process
    target = case.job.type.name if row is None else row.id  # one loop that is blocked is one incident
    if loop.culprit:
        return Cause(CauseName.EVENT_LOOP_BLOCKED, 0.9, "loop", target, _culprit_words, _culprit_advice)
    sure = 0.9 if loop_keeper(loop) or loop.place else 0.7
    return Cause(CauseName.EVENT_LOOP_BLOCKED, sure, "loop", target, _victim_words, _victim_advice)


def _culprit_words(case: Case) -> str:
    loop = case.evidence.loop or _NO_LOOP
    waits = f"waits ({live(case, case.wait.call or '') or case.wait.kind})" if case.wait.kind else "runs"
    doing = "uses the CPU" if case.is_busy else waits
    return join(
        f"It blocks its own event loop: it {doing}",
        at_place(case),
        "without an await, so no other task of this loop can run.",
        _lag(case, loop),
    )


def _culprit_advice(case: Case) -> str:
    where = place(case) or "that call"
    return f"Move {where} off the loop (asyncio.to_thread, a process pool), or use an async client."


def _victim_words(case: Case) -> str:
    loop = case.evidence.loop or _NO_LOOP
    named = f"task {loop.task}" if loop.task else loop_keeper(loop) or "something else"
    where = f" at {code_line(loop.place)}" if loop.place else ""
    return join(f"It is ready to run, but {short(named)} blocks its event loop{where}.", _lag(case, loop))


def _victim_advice(case: Case) -> str:
    loop = case.evidence.loop or _NO_LOOP
    keeper = code_line(loop.place) or loop_keeper(loop) or "the job of the same process that blocks the loop"
    return f"This job is not the cause. Look at {keeper}."


def _lag(case: Case, loop: Loop) -> str:
    return live(case, f"The loop has not run for {took(loop.lag_ns)}.") if loop.lag_ns else ""
