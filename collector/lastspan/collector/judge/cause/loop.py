"""A blocked event loop: the job that blocks it, and the jobs that wait for it."""

from __future__ import annotations

from ...model.evidence import Loop
from .case import Case, Cause
from .words import at_place, join, live, place, short, took

_LAG_NS = 500_000_000
_NO_LOOP = Loop()


def find(case: Case) -> Cause | None:
    """A loop that is late."""
    loop = case.evidence.loop or _NO_LOOP
    if (loop.lag_ns or 0) < _LAG_NS and case.wait.kind != "loop":
        return None
    row = case.job.span.process
    target = case.job.type.name if row is None else row.id  # one loop that is blocked is one incident
    if loop.culprit:
        return Cause("event_loop_blocked", 0.9, "loop", target, _culprit_words, _culprit_advice)
    sure = 0.9 if loop.task or loop.code else 0.7
    return Cause("event_loop_blocked", sure, "loop", target, _victim_words, _victim_advice)


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
    named = loop.task or "something else"
    task = short(named if not loop.task or named.startswith("job ") else f"task {named}")
    where = f" at {loop.code}" if loop.code else ""
    return join(f"It is ready to run, but {task} blocks its event loop{where}.", _lag(case, loop))


def _victim_advice(case: Case) -> str:
    loop = case.evidence.loop or _NO_LOOP
    culprit = loop.code or loop.task or "the job of the same process that blocks the loop"
    return f"This job is not the cause. Look at {culprit}."


def _lag(case: Case, loop: Loop) -> str:
    return live(case, f"The loop has not run for {took(loop.lag_ns)}.") if loop.lag_ns else ""
