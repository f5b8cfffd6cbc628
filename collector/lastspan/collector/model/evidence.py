"""What a worker saw of the code that runs a span: where it is, what it waits for, who holds that.

Most records say little, so what is rare lies in structures of its own. All texts are a worker's: shown, never obeyed.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from lastspan.semconv.vocabulary import Certainty, WaitKind, WaitPurpose


class CodeLine(msgspec.Struct, frozen=True, gc=False):
    """A place in the code."""

    function: str | None = None
    file: str | None = None
    line: int | None = None


class WaitedProcess(msgspec.Struct, frozen=True, gc=False):
    """A process that is waited for."""

    pid: int
    program: str = ""
    """Its name, 15 letters of it; empty: not known."""
    state: str = ""
    """The kernel's letter; empty: not known."""


class Wait(msgspec.Struct, frozen=True, gc=False):
    """What a thread or task waits for. The fields but the last in the order of `layout.WAIT`."""

    kind: WaitKind | None = None
    call: str | None = None
    """As its library names it."""
    purpose: WaitPurpose | None = None
    peer: str | None = None
    local: str | None = None
    idle_ns: int | None = None
    timeout_ns: int | None = None
    unbounded: bool = False
    job_id: str | None = None
    job_ids: tuple[str, ...] = ()
    """Of several jobs: the first few that have not ended."""
    name: str | None = None
    """Of the thread, task, process, queue, channel or file."""
    session: str | None = None
    """Of the database session that waits: its id at the server."""
    processes: tuple[WaitedProcess, ...] = ()


class Lock(msgspec.Struct, frozen=True, gc=False):
    """The lock that is waited for, and who holds it. The fields but the last two in the order of `layout.LOCK`."""

    name: str | None = None
    """As the code has it; the key, or the path of the file."""
    kind: str | None = None
    key: str | None = None
    """Its name for everybody."""
    holder_job_id: str | None = None
    holder_span_id: bytes | None = None
    holder_trace: bytes | None = None
    """The trace id, 16 bytes."""
    holder_thread: str | None = None
    holder_pid: int | None = None
    certainty: Certainty | None = None
    cycle: tuple[str, ...] = ()
    """A deadlock within the process: each holder and what it waits for."""
    place: CodeLine | None = None
    """Where the code takes it."""
    holder_place: CodeLine | None = None
    """Where the holder stands."""


class Loop(msgspec.Struct, frozen=True, gc=False):
    """An event loop that does not run. The fields but the last in the order of `layout.LOOP`."""

    lag_ns: int | None = None
    culprit: bool = False
    """The job itself keeps it from running."""
    job_id: str | None = None
    """Of the other job that does."""
    job_name: str | None = None
    task: str | None = None
    """Of the task that does, if it is no job's."""
    place: CodeLine | None = None
    """Where that one stands."""


class Repeat(msgspec.Struct, frozen=True, gc=False):
    """The call that a job makes again and again. Fields in the order of `layout.REPEAT`."""

    call: str = ""
    """Span name, host and path."""
    varies: bool | None = None
    """Its paths differ from call to call; `…` stands for where they do."""
    peer: str | None = None
    count: int | None = None
    """None: nobody counts, but looks meet it again and again."""
    window_ns: int | None = None
    errors: int | None = None
    error: str | None = None
    """HTTP status, or the type of the error."""


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """What the worker saw of the thread that runs a span. Fields in the order of `layout.EVIDENCE`."""

    thread_id: int | None = None
    thread_name: str | None = None
    function: str | None = None
    file: str | None = None
    line: int | None = None
    stacktrace: str | None = None
    stack_age_ns: int | None = None
    stack_unseen: str | None = None
    first_line: int | None = None
    """Of those seen of a loop that repeats."""
    last_line: int | None = None
    cpu_ratio: float | None = None
    runqueue_ratio: float | None = None
    thread_state: str | None = None
    syscall: str | None = None
    unseen: str | None = None
    """What could not be looked at, and why."""
    # Most have none of these, which costs a word each.
    wait: Wait | None = None
    lock: Lock | None = None
    loop: Loop | None = None
    repeat: Repeat | None = None

    def size(self) -> int:
        """Return the size of its stack, the one part that is big."""
        return 0 if self.stacktrace is None else len(self.stacktrace)


class JobSession(NamedTuple):
    """A database session that a job has used. Empty: not known."""

    system: str
    server: str
    id: str
    local: str
    """host:port of the worker's end."""


class OwnedByJob(msgspec.Struct, frozen=True, gc=False):
    """What a job owns: locks that it holds, database sessions that it has used."""

    locks: tuple[str, ...] = ()
    """Their keys."""
    sessions: tuple[JobSession, ...] = ()
