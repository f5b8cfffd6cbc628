"""Locks of threads, tasks, processes, files and Redis: who holds them, and whether the holders wait for each other."""

from __future__ import annotations

from lastspan.semconv.vocabulary import LOCK_WAITS, CauseName, Certainty, WaitKind

from ..blockers import Blocker, blocker, chain, in_the_way
from ..names import lock_name, waited_for
from .case import Case, Cause
from .words import certain, holder, job_label, join, place, see_job, short, stopped

_HERE = LOCK_WAITS - {WaitKind.DB_LOCK}
_NOUNS = {
    WaitKind.LOCK: "the lock",
    WaitKind.SEMAPHORE: "the semaphore",
    WaitKind.FILE_LOCK: "the lock on the file",
    WaitKind.REDIS_LOCK: "the Redis lock",
    WaitKind.DB_LOCK: "the database lock",
}


def find_deadlock(case: Case) -> Cause | None:
    """Holders that wait for each other, in one process or in several."""
    if case.lock.cycle:
        target = "\0".join(sorted(case.lock.cycle))  # each of them tells the same cycle, beginning with itself
        return Cause(CauseName.DEADLOCK, 0.95, "deadlock", target, _cycle_words, _deadlock_advice, proven=True)
    if not _may_be_a_circle(case):
        return None
    steps, is_circle = chain(case.job, case.context)
    if not is_circle or any(step.kind is WaitKind.POOL for step in steps):
        return None  # another one may give a connection back
    target = "\0".join(sorted(step.key or step.resource or step.job_id for step in steps))
    return Cause(CauseName.DEADLOCK, 0.9, "deadlock", target, _circle_words, _deadlock_advice, proven=True)


def find(case: Case) -> Cause | None:
    """A lock that somebody holds, or that was leaked."""
    kind = case.wait.kind
    if kind not in _HERE and (kind is not None or not _is_told(case)):
        return None
    step = blocker(case.job, case.last, case.context)
    is_known = step is not None and (step.job is not None or step.thread or step.certainty is Certainty.NOBODY)
    proven = step is not None and _is_hopeless(case, step)
    sure = 0.95 if is_known else 0.85
    if held_by := in_the_way(case.job, case.context):
        return Cause(CauseName.LOCK_WAIT, sure, "holder", held_by, _lock_words, _lock_advice, proven=proven)
    return Cause(
        CauseName.LOCK_WAIT,
        sure,
        "lock",
        _identity(case),
        _lock_words,
        _lock_advice,
        proven=proven,
        is_guess=not is_known,
    )


def _identity(case: Case) -> str:
    """Name the lock so that it is no other one: those of threads and tasks are called the same in every process."""
    if case.lock.key:
        return case.lock.key
    name = lock_name(case.lock) or case.wait.peer or waited_for(case.wait) or place(case) or case.job.type.name
    if case.wait.kind is WaitKind.REDIS_LOCK:
        return join(case.peer, name)
    return join(case.host_or_process if case.wait.kind is WaitKind.FILE_LOCK else case.process, name)


def _is_told(case: Case) -> bool:
    lock = case.lock
    return bool(lock_name(lock) or lock.key or lock.kind or lock.holder_thread or lock.holder_job_id)


def _may_be_a_circle(case: Case) -> bool:
    wait = case.evidence.wait
    if wait is not None and (wait.kind in LOCK_WAITS or wait.job_id is not None):
        return True
    if case.evidence.lock is not None and _is_told(case):
        return True
    session = case.context.session(case.job, case.last) if case.context.has_databases else None
    return session is not None and bool(session.blocked_by)


def _is_hopeless(case: Case, step: Blocker) -> bool:
    """A lock whose holder is dead or itself stuck."""
    if step.certainty is Certainty.NOBODY:
        return True
    return step.job is not None and step.certainty is Certainty.CERTAIN and case.context.is_stuck(step.job)


def _cycle_words(case: Case) -> str:
    if case.stable:
        step = blocker(case.job, case.last, case.context)
        by = "" if step is None else holder(step, case.context, stable=True)
        thing = "a lock" if step is None else _thing(step)
        circle = f"in a cycle of {len(case.lock.cycle)} holders"
        return (
            f"Deadlock: this job waits for {thing}, {f'{by}, ' if by else ''}{circle}. None of them can ever continue."
        )
    return f"Deadlock: {'; '.join(short(part, 180) for part in case.lock.cycle)}. None of them can ever continue."


def _circle_words(case: Case) -> str:
    steps, _ = chain(case.job, case.context)
    if len(steps) == 1:
        what = "its own result" if steps[0].kind is WaitKind.JOB else f"{_thing(steps[0])}, which it holds itself"
        return f"Deadlock: this job waits for {what}. It can never continue."
    parts = [f"this job waits for {_thing(steps[0])}"]
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if following is None:
            break
        parts.append(f"{_has(step)} {_holder(step)}, which waits for {_thing(following)}")
    parts.append(f"{_has(steps[-1])} this job")
    return f"Deadlock: {', '.join(parts)}. None of them can ever continue."


def _holder(step: Blocker) -> str:
    return job_label(step.job) if step.job else step.thread or f"session {step.session_id}"


def _has(step: Blocker) -> str:
    return "that is" if step.kind is WaitKind.JOB else "held by"


def _thing(step: Blocker) -> str:
    if step.kind is WaitKind.JOB:
        return "the result of a job"
    noun = _NOUNS.get(step.kind or WaitKind.LOCK, "the lock")
    return f"{noun} {short(step.resource)}" if step.resource else noun


def _deadlock_advice(case: Case) -> str:
    parties = len(case.lock.cycle) or len(chain(case.job, case.context)[0])
    if parties == 1:
        return "Kill it; then fix the code: a job must not wait for itself or for a lock that it already holds."
    return "Kill one of them so that the others can continue; then take these locks in the same order everywhere."


def _lock_words(case: Case) -> str:
    step = blocker(case.job, case.last, case.context)
    name = lock_name(case.lock) or waited_for(case.wait) or case.wait.peer or case.lock.key
    noun = _NOUNS.get(case.wait.kind or WaitKind.LOCK, "the lock")
    thing = f"{noun} {short(name)}" if name else noun
    by = "" if step is None else holder(step, case.context, stable=case.stable)
    rest = f", {by}{certain(step)}" if by else "; its holder is not known"
    return join(f"It waits for {thing}{rest}.", stopped(case, case.last.age_ns))


def _lock_advice(case: Case) -> str:
    step = blocker(case.job, case.last, case.context)
    if step is not None and step.pid is not None and step.job is None:
        return f"Look at process {step.pid} (py-spy dump --pid {step.pid}): it holds the lock."
    if step is None or (step.job is None and not step.thread and step.certainty is not Certainty.NOBODY):
        return "Find the code that takes this lock and does not release it on every path (`with`, `finally`)."
    if step.certainty is Certainty.NOBODY:
        if case.wait.kind is WaitKind.REDIS_LOCK:
            return "Make sure that the holder is gone, then delete the key in Redis; give such locks a timeout."
        return "Restart the process; then release the lock on every path (`with lock:`), also when the code fails."
    if step.job is not None:
        return see_job(step.job, case.context, stable=case.stable)
    return f"Look at thread {step.thread}, at {step.code}." if step.code else f"Look at thread {step.thread}."
