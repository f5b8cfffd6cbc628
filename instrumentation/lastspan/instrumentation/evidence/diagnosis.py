"""What one late span waits for: its frames, the system call of its thread and the driver's session, put together.

The call that the application made comes first (`Queue.get`, not the lock inside of it); the kernel fills in what the
frames do not show: the peer, how long it is silent, the timeout in force.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from lastspan.semconv import attributes as a

from ..guest import redact
from ..registry.held_locks import host_name
from ..registry.session import Session
from ..registry.spans import ExecutionContext
from .kernel.descriptors import Descriptor, descriptor, is_unbounded
from .kernel.files import file_name, holders, in_the_way, number_of, sqlite_databases, unseen_holder
from .kernel.processes import at_other_end, process
from .kernel.syscalls import SystemCall, system_call, watched
from .kernel.threads import thread_state
from .stack.frames import live
from .stack.tasks import greenlet_frame
from .waits.calls import CallFacts, call
from .waits.known_calls import WaitingCall, named, wait
from .waits.sessions import session

Attributes: TypeAlias = "dict[str, Any]"

_READS: Final = frozenset(
    {"read", "readv", "pread64", "recvfrom", "recvmsg", "recvmmsg", "splice"}
    | {"write", "writev", "pwrite64", "sendto", "sendmsg", "sendmmsg", "sendfile"}
)
_POLLS: Final = frozenset({"poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2"})
_BY_CALL: Final[Mapping[str, str]] = {
    "connect": "connect",
    "accept": "accept",
    "accept4": "accept",
    "wait4": "process",
    "waitid": "process",
    "flock": "file_lock",
    "fcntl": "file_lock",
    "fsync": "disk",
    "nanosleep": "sleep",
    "clock_nanosleep": "sleep",
    "futex": "lock",
    "futex_waitv": "lock",
    "semop": "semaphore",
    "semtimedop": "semaphore",
    "rt_sigtimedwait": "signal",
    "rt_sigsuspend": "signal",
    "pause": "signal",
    "openat": "pipe",
    "open": "pipe",
    "msgrcv": "queue",
    "mq_timedreceive": "queue",
}
_BY_DESCRIPTOR: Final[Mapping[str, str]] = {
    "tcp": "socket",
    "udp": "socket",
    "unix": "socket",
    "pipe": "pipe",
    "tty": "input",
    "file": "disk",
}
_MASTER: Final = "/dev/ptmx"
_CALLS: Final = frozenset({"http", "db"})
SENT: Final = "sent"
"""Not for the wire: s since our own end of the connection last sent a byte. No request is older than that."""
_NAMED_MAX: Final = 3
_SLICE: Final = 1.0
"""A shorter timeout is no limit, but how often a library looks up from its wait, s."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the kernel tells of the thread: the call that blocks it, and what that call is about."""

    kind: str = ""
    call: SystemCall | None = None
    about: Descriptor | None = None


class Subject(NamedTuple):
    """Whose wait is looked at."""

    where: ExecutionContext
    package: str
    thread_id: int | None
    """None: its task or greenlet is not the one that its thread runs, so the thread says nothing of it."""
    is_call: bool
    """The span is a client's."""
    stood: float
    """For how long the stack is the same, s."""
    sessions: tuple[Session, ...] = ()
    """Of databases, that its code has at hand."""


def diagnose(subject: Subject) -> Attributes:
    """Return what is known of the wait, by attribute; {} where the thread does not wait, or cannot be seen."""
    frames = live(subject.where)
    if not frames:
        return {}
    try:
        waits = wait(frames, subject.package)
        if waits is None and greenlet_frame(subject.where.greenlet) is not None:  # it waits, whatever its line calls
            waits = named(frames[-1])
        facts = call(frames, subject.package, subject.stood)
        used = session(frames, subject.package)
    finally:
        del frames
    kernel = _kernel(subject.thread_id)
    if kernel.about is None and facts is not None and facts.descriptor >= 0:
        kernel = _behind(kernel, facts.descriptor)
    used = used or (_session_on(kernel, subject.sessions) if waits is None or waits.kind == "db" else None)
    if waits is not None and waits.kind == "db" and _is_elsewhere(kernel, used):
        waits, facts, used = None, None, None
    file = _of_sqlite() if used is not None and used.system == "sqlite" else {}
    kind = _kind(waits, kernel, used, is_locked=a.LOCK_HOLDER_PID in file)
    if kind != "db_lock" and a.LOCK_HOLDER_PID not in file:
        file = {}
    found: Attributes = {
        a.WAIT_KIND: kind or None,
        a.THREAD_SYSCALL: kernel.call.name or None if kernel.call is not None else None,
        a.THREAD_STATE: thread_state(subject.thread_id) if subject.thread_id is not None else None,
        a.EVIDENCE_UNSEEN: kernel.call.unseen or None if kernel.call is not None else None,
    }
    if kind:
        found |= _of_wait(waits) | _of_peer(waits, facts, kernel, used) | file
        found |= _bound(subject, kind, waits, facts, kernel)
        found[SENT] = kernel.about.sent if kernel.about is not None else None
    if kind == "file_lock":
        found |= _of_file(kernel, waits)
    if used is not None:
        found[a.DB_SESSION] = redact.text(used.id) or None
    return {name: value for name, value in found.items() if value is not None}


def _kernel(thread_id: int | None) -> Kernel:
    if thread_id is None:
        return Kernel()
    blocked = system_call(thread_id)
    about = _about(blocked)
    if blocked.name in _POLLS:
        kind = _of_descriptor(about)
        is_sleep = about is None and not blocked.descriptors and blocked.descriptor is None
        return Kernel("sleep" if is_sleep else kind, blocked, about)
    if blocked.name in _READS:
        return Kernel(_of_descriptor(about), blocked, about)
    return Kernel(_BY_CALL.get(blocked.name, ""), blocked, about)


def _behind(kernel: Kernel, number: int) -> Kernel:
    """What a task or greenlet waits for: its thread waits for all of them, or runs another."""
    about = descriptor(number)
    return Kernel(_of_descriptor(about), kernel.call, about)


def _of_descriptor(about: Descriptor | None) -> str:
    if about is None:
        return ""
    if about.kind == "tty" and about.peer == _MASTER:
        return "pipe"  # a program writes at its other end, for whom it is the terminal
    return _BY_DESCRIPTOR.get(about.kind, "")


def _is_elsewhere(kernel: Kernel, used: Session | None) -> bool:
    """Say whether a database's client reads from somebody else: the file or the pipe whose rows it is to copy."""
    if kernel.kind in ("pipe", "input"):
        return True
    local = kernel.about.local if kernel.about is not None and kernel.kind == "socket" else ""
    return used is not None and bool(used.local and local) and local != used.local


def _session_on(kernel: Kernel, sessions: tuple[Session, ...]) -> Session | None:
    """Return the session whose connection the thread is blocked on; SQLite's waits are sleeps."""
    if kernel.kind == "sleep":
        return next((one for one in sessions if one.system == "sqlite"), None)
    local = kernel.about.local if kernel.about is not None and kernel.kind == "socket" else ""
    return next((one for one in sessions if local and one.local == local), None)


def _about(blocked: SystemCall) -> Descriptor | None:
    """Return the descriptor that the call waits for: of several the first that is connected to somebody."""
    numbers = blocked.descriptors or (() if blocked.descriptor is None else (blocked.descriptor,))
    if blocked.name.startswith("epoll") and blocked.descriptor is not None:
        numbers = tuple(watched(blocked.descriptor))
    found = [one for number in numbers[:8] if (one := descriptor(number)) is not None]
    return next((one for one in found if one.kind in {"tcp", "udp", "unix"} and one.peer), found[0] if found else None)


def _kind(waits: WaitingCall | None, kernel: Kernel, used: Session | None, *, is_locked: bool) -> str:
    # SQLite's busy handler sleeps for a moment, again and again: between two, somebody has to be seen to have the file.
    if used is not None and used.system == "sqlite" and (kernel.kind == "sleep" or (is_locked and not kernel.kind)):
        return "db_lock"
    if waits is not None and {waits.kind, kernel.kind} == {"socket", "pipe"}:
        # A stream, or a connection of multiprocessing, may be either; of two ways it is a pair of nameless sockets.
        return waits.kind if _is_nameless(kernel.about) else kernel.kind
    if waits is not None and (waits.kind, kernel.kind) == ("socket", "input"):
        return "input"  # `select` takes any descriptor
    if waits is not None:
        return waits.kind
    if used is not None and kernel.kind == "socket":
        return "db"
    return kernel.kind


def _is_nameless(about: Descriptor | None) -> bool:
    return about is not None and about.kind == "unix" and not about.peer


def _of_wait(waits: WaitingCall | None) -> Attributes:
    if waits is None:
        return {}
    return {
        a.WAIT_CALL: redact.text(waits.call) or None,
        a.WAIT_PURPOSE: waits.purpose or None,
        a.WAIT_TARGET: redact.text(waits.target) or None,
        a.WAIT_PIDS: None if waits.pid is None else [waits.pid],
        a.WAIT_JOB_ID: redact.text(waits.job_id) or None,
        a.WAIT_JOB_IDS: [redact.text(one) for one in waits.job_ids] or None,
    }


def _of_peer(waits: WaitingCall | None, facts: CallFacts | None, kernel: Kernel, used: Session | None) -> Attributes:
    about, blocked = kernel.about, kernel.call
    found: Attributes = {}
    if about is not None:
        found = {a.WAIT_PEER: about.peer, a.WAIT_LOCAL: about.local, a.WAIT_IDLE: about.idle}
    if used is not None:
        found |= _some({a.WAIT_PEER: used.server, a.WAIT_LOCAL: used.local})
    if facts is not None:
        found |= _some({a.WAIT_PEER: facts.peer, a.WAIT_LOCAL: facts.local})
    if waits is not None:
        found |= _some({a.WAIT_PEER: waits.peer})
    if blocked is not None:
        found |= _some({a.WAIT_PEER: found.get(a.WAIT_PEER) or blocked.peer})
    cleaned = _some({name: redact.text(value) if isinstance(value, str) else value for name, value in found.items()})
    is_named = waits is not None and (waits.target or waits.pid is not None)
    return cleaned if is_named else cleaned | _children(kernel)


def _children(kernel: Kernel) -> Attributes:
    """Tell the child processes that the thread waits for: to end, or to write into a pipe."""
    blocked, about = kernel.call, kernel.about
    if blocked is not None and blocked.pid is not None and blocked.pid > 0:
        pids = [blocked.pid]
    elif about is not None and about.kind == "pipe" and about.inode is not None:
        pids = at_other_end(about.inode)
    else:
        return {}
    found = [process(pid) for pid in pids[:_NAMED_MAX]]
    if not found:
        return {}
    return {
        a.WAIT_PIDS: [one.pid for one in found],
        a.WAIT_PROGRAMS: [redact.text(one.name) for one in found],
        a.WAIT_PROCESS_STATES: [one.state for one in found],
    }


def _of_sqlite() -> Attributes:
    """Name the file that somebody has locked, if it is clear which, and that process."""
    own = os.getpid()
    held = [(path, locks) for path, all_locks in sqlite_databases() if (locks := in_the_way(all_locks, own))]
    others = [(path, locks) for path, locks in held if any(lock.pid != own for lock in locks)]
    if len(others or held) != 1:
        return {}
    path, locks = (others or held)[0]
    holder = next((lock.pid for lock in locks if lock.pid != own), None)
    if holder is None:
        return {a.WAIT_PEER: path, a.LOCK_KIND: "sqlite", a.EVIDENCE_UNSEEN: _OWN_CONNECTION}
    return {a.WAIT_PEER: path, a.LOCK_KIND: "sqlite", a.LOCK_HOLDER_PID: holder}


_OWN_CONNECTION: Final = "which connection: another one of this very process has the file"


def _of_file(kernel: Kernel, waits: WaitingCall | None) -> Attributes:
    """Name the file whose lock the thread waits for, and the process that holds it."""
    if kernel.about is not None and kernel.about.kind == "file":
        number, path = kernel.about.number, kernel.about.peer
    else:  # it tries again and again, and sleeps meanwhile
        path = waits.peer if waits is not None else ""
        at = number_of(path) if path else None
        if at is None:
            return {}
        number = at
    locks = holders(number)
    holder = next((lock.pid for lock in locks if not lock.is_waiting), None)
    name = file_name(number)
    return {
        a.LOCK_NAME: redact.text(path),
        a.LOCK_KIND: "flock",
        a.LOCK_KEY: f"flock:{host_name()}:{name}" if name else None,
        a.LOCK_HOLDER_PID: holder,
        a.LOCK_HOLDER_CERTAINTY: "unknown" if holder is None else "certain",
        a.EVIDENCE_UNSEEN: unseen_holder(locks) or None,
    }


def _bound(
    subject: Subject, kind: str, waits: WaitingCall | None, facts: CallFacts | None, kernel: Kernel
) -> Attributes:
    """Say which timeout is in force: as the call was given it, as its library keeps it, as the kernel has it."""
    timeout, has_none = _timeout(waits, facts, kernel)
    if timeout is not None and (timeout < _SLICE or timeout < subject.stood):
        return {}  # it has run out before, and the wait goes on
    found: Attributes = {}
    if timeout is not None:
        found = {a.WAIT_TIMEOUT: timeout, a.CALL_TIMEOUT: timeout}
    elif has_none:
        found = {a.WAIT_UNBOUNDED: True, a.CALL_UNBOUNDED: True}
    if not (kind in _CALLS or (subject.is_call and kind in {"socket", "connect"})):
        found.pop(a.CALL_TIMEOUT, None)
        found.pop(a.CALL_UNBOUNDED, None)
    return found


def _timeout(waits: WaitingCall | None, facts: CallFacts | None, kernel: Kernel) -> tuple[float | None, bool]:
    """Return the timeout, or that there is none; (None, False): not known."""
    for source in (waits, facts):
        if source is not None and (source.timeout is not None or source.is_unbounded):
            return source.timeout, bool(source.is_unbounded)
    if kernel.call is None:
        return None, False
    if kernel.call.timeout is not None:
        return kernel.call.timeout, False
    about = kernel.about
    set_on_socket = None if about is None else about.receive_timeout
    if kernel.call.name == "connect":  # the kernel gives up after two minutes; the client was given no limit
        return set_on_socket, set_on_socket is None
    return set_on_socket, bool(is_unbounded(kernel.call, about))


def _some(values: Attributes) -> Attributes:
    return {name: value for name, value in values.items() if value not in (None, "")}
