"""What a job waits for: a lock's holder, a database session, another job, a peer; and what those wait for. Pure."""

from __future__ import annotations

import msgspec

from lastspan.semconv.vocabulary import LOCK_WAITS, Certainty, WaitKind

from ..model.evidence import Lock, Loop, Wait
from ..model.records import DatabaseSession
from ..track import JobRow
from .context import JudgeContext, evidence_of, server_of
from .names import code_line, lock_name, loop_keeper, waited_for
from .verdict import Leaf

FAR = 10
"""Steps of a chain that are followed."""


class Blocker(msgspec.Struct, frozen=True):
    """One step: what is waited for, and who has it. Empty, or None: not known."""

    kind: WaitKind | None
    """What the waiting one waits for."""
    resource: str
    """The lock, queue, thread, job … by name."""
    peer: str
    certainty: Certainty
    """How sure it is that it is this one."""
    since_ns: int
    """How long it is waited for."""
    job: JobRow | None = None
    """The job that has it."""
    job_id: str = ""
    session: DatabaseSession | None = None
    """The database session that has it."""
    session_id: str = ""
    """Its id at the server, also where no probe has seen it."""
    thread: str = ""
    """The thread or task that has it."""
    pid: int | None = None
    code: str = ""
    key: str = ""
    """The thing's name for everybody."""


def blocker(job: JobRow, leaf: Leaf, context: JudgeContext) -> Blocker | None:
    """Return whom *job* waits for at *leaf*; None: it waits for nobody that is known."""
    evidence = evidence_of(job, leaf)
    wait, lock = evidence.wait or Wait(), evidence.lock
    session = context.session(job, leaf)
    if session is not None and session.blocked_by:
        return _of_session(session, context, leaf.age_ns)
    if wait.kind is WaitKind.LOOP and evidence.loop is not None:
        return _of_loop(wait, evidence.loop, leaf, context)
    if lock is not None or wait.kind in LOCK_WAITS:
        return _of_lock(job, lock or Lock(), wait, leaf, context)
    if wait.job_id:
        other = context.attempt(wait.job_id)
        return _step(wait, leaf, wait.job_id, job=other, job_id=wait.job_id)
    peer = server_of(leaf.span, evidence)
    if wait.kind is None and not peer:
        return None
    return _step(wait, leaf, waited_for(wait) or wait.call or "", peer=peer, pid=_pid(wait))


def chain(job: JobRow, context: JudgeContext) -> tuple[list[Blocker], bool]:
    """Return the steps from *job* to the one that all wait for, and whether they lead back: a deadlock."""
    steps: list[Blocker] = []
    visited = {job.span.key}
    step = blocker(job, context.verdict(job).last, context)
    while step is not None and len(steps) < FAR:
        steps.append(step)
        current = step.job
        if current is None:
            step = behind(step, context, visited)
            continue
        if current.span.key in visited:
            return steps, current is job
        visited.add(current.span.key)
        step = blocker(current, context.verdict(current).last, context)
    return steps, False


def in_the_way(job: JobRow, context: JudgeContext) -> str:
    """Return the key of the one that holds what *job* waits for, of a row of holders the last; empty: not known."""
    found, waiting = "", job
    for step in chain(job, context)[0]:
        key = _holder_key(step, waiting) if step.kind in LOCK_WAITS else ""
        if not key:
            break
        found, waiting = key, step.job or waiting
    return found


def _holder_key(step: Blocker, waiting: JobRow) -> str:
    """Name a holder: a job, else a database session, else a thread or process."""
    if step.job is not None:
        return f"job {step.job.span.key.hex()}"
    if step.certainty is Certainty.NOBODY:
        return ""
    if step.job_id:
        return f"job {step.job_id}"
    if step.session_id:
        return f"session {step.session_id} {step.peer}"
    process = waiting.span.process
    if step.pid is not None:
        return f"process {'' if process is None else process.resource.host} {step.pid}"
    return f"thread {'' if process is None else process.id} {step.thread}" if step.thread else ""


def behind(step: Blocker, context: JudgeContext, visited: set[bytes]) -> Blocker | None:
    """Return whom a session waits for that is no job's: somebody's psql, a migration, the server itself."""
    session = step.session
    if session is None or not session.blocked_by or (key := f"{session.server} {session.id}".encode()) in visited:
        return None
    visited.add(key)
    return _of_session(session, context, step.since_ns)


def _of_lock(job: JobRow, lock: Lock, wait: Wait, leaf: Leaf, context: JudgeContext) -> Blocker:
    holder = _holder(job, lock, context)
    certainty = lock.certainty or Certainty.UNKNOWN
    if holder is not None and certainty is Certainty.UNKNOWN:
        certainty = Certainty.CERTAIN if lock.key else Certainty.LIKELY
    kind = wait.kind or WaitKind.LOCK
    name = lock_name(lock)
    return Blocker(
        kind=kind,
        resource=(name if lock.name or not name else f"{kind} {name}")
        or waited_for(wait)
        or lock.key
        or wait.peer
        or "",
        peer=wait.peer or "",
        certainty=certainty,
        since_ns=leaf.age_ns,
        job=holder,
        job_id=lock.holder_job_id or ("" if holder is None else holder.job_id),
        thread=lock.holder_thread or "",
        pid=lock.holder_pid,
        code=code_line(lock.holder_place),
        key=lock.key or "",
    )


def _holder(job: JobRow, lock: Lock, context: JudgeContext) -> JobRow | None:
    """The job that holds a lock: by its span, by its id, because it says so, or by its process."""
    if lock.holder_span_id is not None:
        found = context.by_span(lock.holder_trace or job.span.key[:16], lock.holder_span_id)
        if found is not None:
            return found
    if lock.holder_job_id:
        found = context.attempt(lock.holder_job_id)
        if found is not None and found.end is None:
            return found
    holders = context.holders(lock.key) if lock.key else ()
    others = [other for other in holders if other is not job]
    if others or holders:
        return others[0] if others else holders[0]
    process = job.span.process
    if lock.holder_pid is None or process is None:
        return None
    return context.in_process(process.resource.host, lock.holder_pid)


def _of_loop(wait: Wait, loop: Loop, leaf: Leaf, context: JudgeContext) -> Blocker:
    culprit = context.attempt(loop.job_id) if loop.job_id else None
    id = "" if culprit is None else culprit.job_id
    name, code = loop_keeper(loop), code_line(loop.place)
    return _step(wait, leaf, "event loop", job=culprit, job_id=id, thread=name, code=code)


def _of_session(session: DatabaseSession, context: JudgeContext, age_ns: int) -> Blocker:
    blocking = context.blocking(session)
    first = blocking[0] if blocking else None
    holder = None if first is None else context.owner_of(first)
    since_ns = age_ns if session.since_query_s is None else int(session.since_query_s * 1e9)
    return Blocker(
        kind=WaitKind.DB_LOCK,
        resource=session.locks,
        peer=session.server,
        certainty=Certainty.CERTAIN,
        since_ns=since_ns,
        job=holder,
        job_id="" if holder is None else holder.job_id,
        session=first,
        session_id=session.blocked_by[0],
        key=f"{session.server} {session.blocked_by[0]}",
    )


def _step(
    wait: Wait,
    leaf: Leaf,
    thing: str,
    *,
    peer: str = "",
    job: JobRow | None = None,
    job_id: str = "",
    thread: str = "",
    pid: int | None = None,
    code: str = "",
) -> Blocker:
    return Blocker(
        wait.kind,
        thing,
        peer or wait.peer or "",
        Certainty.CERTAIN,
        leaf.age_ns,
        job,
        job_id,
        thread=thread,
        pid=pid,
        code=code,
    )


def _pid(wait: Wait) -> int | None:
    """The process that is waited for, the first of several."""
    is_told = wait.kind in (WaitKind.PROCESS, WaitKind.PIPE) and wait.processes
    return wait.processes[0].pid if is_told else None
