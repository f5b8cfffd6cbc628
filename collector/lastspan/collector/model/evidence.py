"""What a worker saw of the code that runs a span: where it is, what it waits for, who holds that.

Most records say little, so what is rare lies in structures of its own. All is text from a worker: shown, never obeyed.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Wait(msgspec.Struct, frozen=True, gc=False):
    """What a thread or task waits for. Fields in the order of `layout.WAIT`."""

    kind: str | None = None
    """One of `vocabulary.WAITS`."""
    call: str | None = None
    peer: str | None = None
    local: str | None = None
    idle_ns: int | None = None
    timeout_ns: int | None = None
    unbounded: bool = False
    job_id: str | None = None
    target: str | None = None
    session: str | None = None
    """Of the database session that waits: its id at the server."""


class Lock(msgspec.Struct, frozen=True, gc=False):
    """The lock that is waited for, and who holds it. Fields in the order of `layout.LOCK`."""

    name: str | None = None
    kind: str | None = None
    key: str | None = None
    """Its name for everybody."""
    holder_job_id: str | None = None
    holder_span_id: bytes | None = None
    holder_trace_id: str | None = None
    holder_thread: str | None = None
    holder_pid: int | None = None
    holder_code: str | None = None
    holder_certainty: str | None = None
    """certain, likely, nobody (it was leaked) or unknown."""
    cycle: tuple[str, ...] = ()
    """A deadlock within the process: each holder and what it waits for."""


class Loop(msgspec.Struct, frozen=True, gc=False):
    """An event loop that does not run. Fields in the order of `layout.LOOP`."""

    lag_ns: int | None = None
    culprit: bool = False
    """The job itself keeps it from running."""
    task: str | None = None
    code: str | None = None


class Repeat(msgspec.Struct, frozen=True, gc=False):
    """The call that a job makes again and again. Fields in the order of `layout.REPEAT`."""

    call: str = ""
    """Span name, host and path; `…` where paths differ."""
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
    lines: str | None = None
    """Of a loop that repeats."""
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


class OwnSession(NamedTuple):
    """A database session that a job has used. Empty: not known."""

    system: str
    server: str
    id: str
    local: str
    """host:port of the worker's end."""


class Owned(msgspec.Struct, frozen=True, gc=False):
    """What a job keeps others from: locks that it holds, sessions of databases that it has used."""

    locks: tuple[str, ...] = ()
    """Their keys."""
    sessions: tuple[OwnSession, ...] = ()
