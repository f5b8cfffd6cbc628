"""The system call in which a thread of this process waits: on what, for how long, and whether it was given a limit.

The kernel keeps the arguments of a blocked call in sight (`man 5 proc_pid_syscall`), so a `recv` with a timeout and one
without are told apart with no client library patched. Reading only: the thread does not notice.
"""

from __future__ import annotations

import os
import platform
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from ...guest import procfs

Read: TypeAlias = Callable[[int, int], bytes]
"""(address, size) → the bytes there; fewer, or none, where they cannot be read."""

RUNNING: Final = "running"
OUTSIDE: Final = "none"
"""Blocked, and in no system call: a page that is read from disk, a stop."""

_LINE_MAX: Final = 256
_DESCRIPTORS_MAX: Final = 16
_SELECT_MAX: Final = 1024
_ADDRESS_BITS: Final = (1 << 56) - 1
"""arm64 may keep a tag in the topmost byte of an address."""


@dataclass(frozen=True, slots=True)
class SystemCall:
    """What a thread asked of the kernel and has not got yet."""

    name: str
    """As `recvfrom`; `running`: on a core, or waiting for one; `none`: waiting outside of any call; empty: unknown."""
    descriptor: int | None = None
    """Of `poll` and `select`: the first."""
    descriptors: tuple[int, ...] = ()
    """Of `poll` and `select`."""
    timeout: float | None = None
    """s; as it was given, or, where it was given as a point in time, what remains of it."""
    is_unbounded: bool | None = None
    """True: no timeout was given. None: the call has no such argument; the descriptor may have one."""
    pid: int | None = None
    """Of `wait4` and `waitid`: the child; -1: any."""
    peer: str = ""
    """Of `connect` and `sendto`: the address in the call, host:port or a path."""
    raw: bytes = b""
    """The kernel's line: equal lines, the same call."""
    unseen: str = ""
    """Why nothing can be seen."""

    @property
    def is_blocked(self) -> bool:
        """It waits in this call."""
        return self.name not in {"", RUNNING, OUTSIDE}


def system_call(native_id: int | None, proc: str = "/proc/self") -> SystemCall:
    """Return the system call in which a thread of this process waits; never raises."""
    if native_id is None:
        return SystemCall("", unseen="its thread is not known")
    if CALLS is None:
        return SystemCall("", unseen=f"system calls are not known on {sys.platform} {platform.machine()}")
    try:
        file = os.open(f"{proc}/task/{native_id}/syscall", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return SystemCall("", unseen=_why(error, native_id, proc))
    memory = _Memory(proc)
    try:
        seen = decode(line := os.pread(file, _LINE_MAX, 0), CALLS, memory)
        if memory.was_read and os.pread(file, _LINE_MAX, 0) != line:  # it went on: what we read was of another call
            return SystemCall(RUNNING)
        return seen
    except OSError as error:
        return SystemCall("", unseen=_why(error, native_id, proc))
    finally:
        memory.close()
        os.close(file)


def watched(epoll: int, proc: str = "/proc/self", limit: int = 64) -> list[int]:
    """Return the descriptors that an epoll descriptor watches, as the kernel lists them."""
    lines = procfs.read_table(f"{proc}/fdinfo/{epoll}").splitlines()
    return [int(line.split()[1]) for line in lines if line.startswith(b"tfd:")][:limit]


# --- pure: from the kernel's line to what it means ------------------------------------------------------------------


def parse(line: bytes, calls: Mapping[int, str]) -> tuple[str, tuple[int, ...]]:
    """Return the name and the six arguments in a line of `/proc/<pid>/syscall`; an empty name: it cannot be read."""
    words = line.split()
    if words == [b"running"]:
        return RUNNING, ()
    try:
        number, arguments = int(words[0]), tuple(int(word, 16) for word in words[1:7])
    except (ValueError, IndexError):
        return "", ()
    if number == -1:
        return OUTSIDE, ()
    if number < 0 or len(arguments) < 6 or min(arguments) < 0:
        return "", ()
    return calls.get(number, f"syscall_{number}"), arguments


def decode(line: bytes, calls: Mapping[int, str], read: Read) -> SystemCall:
    """Return what a line of `/proc/<pid>/syscall` says; what its pointers point to comes from *read*."""
    name, arguments = parse(line, calls)
    if not arguments:
        return SystemCall(name, raw=line, unseen="" if name else "the kernel's line cannot be read")
    descriptors = _descriptors(name, arguments, read)
    timeout, is_unbounded = _timeout(name, arguments, read)
    return SystemCall(
        name,
        descriptors[0] if descriptors else None,
        descriptors if name in _SEVERAL else (),
        timeout,
        is_unbounded,
        _pid(name, arguments),
        _peer(name, arguments, read),
        line,
    )


def _descriptors(name: str, arguments: Sequence[int], read: Read) -> tuple[int, ...]:
    if name in _WITH_DESCRIPTOR:
        found = [_int(arguments[0])]
    elif name == "waitid" and arguments[0] == _P_PIDFD:
        found = [_int(arguments[1])]
    elif name in {"poll", "ppoll"}:
        found = _polled(arguments[0], arguments[1], read)
    elif name in {"select", "pselect6"}:
        found = _selected(arguments[0], arguments[1:4], read)
    else:
        found = []
    return tuple(number for number in found if number >= 0)


def _polled(address: int, count: int, read: Read) -> list[int]:
    count = min(count, _DESCRIPTORS_MAX)
    entries = read(address, 8 * count) if count else b""
    return [struct.unpack_from("i", entries, at)[0] for at in range(0, len(entries) - 7, 8)]


def _selected(count: int, sets: Sequence[int], read: Read) -> list[int]:
    """The descriptors in the three sets of bits; those that are waited for to be readable first."""
    count = min(count, _SELECT_MAX)
    found: dict[int, None] = {}
    for address in sets:
        bits = int.from_bytes(read(address, (count + 7) // 8), "little") if address and count else 0
        found.update(dict.fromkeys(number for number in range(count) if bits >> number & 1))
    return list(found)[:_DESCRIPTORS_MAX]


def _timeout(name: str, arguments: Sequence[int], read: Read) -> tuple[float | None, bool | None]:
    """Return the timeout (s), and whether there is none; (None, None): the call has no such argument."""
    if name in _WITHOUT_TIMEOUT:
        return None, True
    if (index := _MILLISECONDS.get(name)) is not None:
        milliseconds = _int(arguments[index])
        return (None, True) if milliseconds < 0 else (milliseconds / 1000, False)
    if (index := _POINTERS.get(name)) is None:
        return None, None
    address = arguments[index]
    if address == 0:
        return None, True
    seconds = _seconds(read(address, 16), 1e-6 if name == "select" else 1e-9)
    clock = _absolute(name, arguments)
    if seconds is None or clock is None:
        return seconds, False
    now = _now(clock)
    return None if now is None else max(seconds - now, 0.0), False


def _absolute(name: str, arguments: Sequence[int]) -> int | None:
    """Return the clock by which a timeout is a point in time; None: it is a duration."""
    if name == "clock_nanosleep":
        return _int(arguments[0]) if arguments[1] & _TIMER_ABSTIME else None
    if name == "futex":
        operation = arguments[1] & 0x7F
        if operation in _FUTEX_ABSOLUTE:
            is_realtime = operation == _FUTEX_LOCK_PI or arguments[1] & _FUTEX_CLOCK_REALTIME
            return _CLOCK_REALTIME if is_realtime else _CLOCK_MONOTONIC
        return None
    if name in {"futex_wait", "futex_waitv"}:
        return _int(arguments[5 if name == "futex_wait" else 4])
    return _CLOCK_REALTIME if name in {"mq_timedreceive", "mq_timedsend"} else None


def _now(clock: int) -> float | None:
    if clock not in {_CLOCK_REALTIME, _CLOCK_MONOTONIC, _CLOCK_BOOTTIME}:
        return None
    return time.clock_gettime(clock)


def _seconds(pair: bytes, unit: float) -> float | None:
    if len(pair) < 16:
        return None
    whole, fraction = struct.unpack("qq", pair)
    return float(whole + fraction * unit)


def _pid(name: str, arguments: Sequence[int]) -> int | None:
    if name == "wait4":
        return _int(arguments[0])
    if name == "waitid" and arguments[0] in {_P_ALL, _P_PID}:
        return _int(arguments[1]) if arguments[0] == _P_PID else -1
    return None


def _peer(name: str, arguments: Sequence[int], read: Read) -> str:
    if name not in {"connect", "sendto"}:
        return ""
    address, size = (arguments[1], arguments[2]) if name == "connect" else (arguments[4], arguments[5])
    return address_text(read(address, min(size, _SOCKADDR_MAX))) if address and size else ""


def address_text(sockaddr: bytes) -> str:
    """Write a socket's address (`man 7 ip, ipv6, unix`) as host:port, [v6]:port or a path, @name if it is abstract."""
    if len(sockaddr) < 3:
        return ""
    (family,) = struct.unpack_from("H", sockaddr)
    if family == socket.AF_INET and len(sockaddr) >= 8:
        return f"{socket.inet_ntop(family, sockaddr[4:8])}:{int.from_bytes(sockaddr[2:4], 'big')}"
    if family == socket.AF_INET6 and len(sockaddr) >= 24:
        host = socket.inet_ntop(family, sockaddr[8:24])
        host = host[7:] if host.startswith("::ffff:") and "." in host else f"[{host}]"  # IPv4 through a v6 socket
        return f"{host}:{int.from_bytes(sockaddr[2:4], 'big')}"
    if family == socket.AF_UNIX:
        path = sockaddr[2:]
        path = b"@" + path[1:] if path[:1] == b"\0" else path.partition(b"\0")[0]
        return path.rstrip(b"\0").decode("utf-8", "replace")
    return ""


def _int(argument: int) -> int:
    """A register's lower half as the C int that the call takes."""
    return (argument & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


# --- what the kernel refuses ----------------------------------------------------------------------------------------


class _Memory:
    """This process's own memory; an address that is not mapped reads as nothing, where a pointer would end us."""

    __slots__ = ("_file", "_proc", "was_read")

    def __init__(self, proc: str) -> None:
        self._proc = proc
        self._file: int | None = None  # opened anew each time: after a fork it would still be the parent's
        self.was_read = False

    def __call__(self, address: int, size: int) -> bytes:
        self.was_read = True
        try:
            if self._file is None:
                self._file = os.open(f"{self._proc}/mem", os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._file, size, address & _ADDRESS_BITS)
        except OSError:
            return b""

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)


def _why(error: OSError, native_id: int, proc: str) -> str:
    if isinstance(error, PermissionError):
        return "the kernel does not show the system calls of a process that has changed its user, or was forbidden to"
    if not os.path.isdir(f"{proc}/task"):
        return "there is no /proc"
    if isinstance(error, ProcessLookupError) or not os.path.isdir(f"{proc}/task/{native_id}"):
        return "its thread has ended"
    return "this kernel does not show system calls"


# --- the calls that may wait ----------------------------------------------------------------------------------------

_TIMER_ABSTIME: Final = 1
_CLOCK_REALTIME: Final = 0
_CLOCK_MONOTONIC: Final = 1
_CLOCK_BOOTTIME: Final = 7
_FUTEX_LOCK_PI: Final = 6
_FUTEX_WAIT_BITSET: Final = 9
_FUTEX_WAIT_REQUEUE_PI: Final = 11
_FUTEX_LOCK_PI2: Final = 13
_FUTEX_CLOCK_REALTIME: Final = 256
_FUTEX_ABSOLUTE: Final = frozenset({_FUTEX_LOCK_PI, _FUTEX_WAIT_BITSET, _FUTEX_WAIT_REQUEUE_PI, _FUTEX_LOCK_PI2})
_P_ALL: Final = 0
_P_PID: Final = 1
_P_PIDFD: Final = 3
_SOCKADDR_MAX: Final = 128

_SEVERAL: Final = frozenset({"poll", "ppoll", "select", "pselect6"})

_WITHOUT_TIMEOUT: Final = frozenset(
    {"fcntl", "flock", "msgrcv", "msgsnd", "pause", "rt_sigsuspend", "semop", "vfork", "wait4", "waitid"}
)
"""Calls that wait for as long as it takes (`fcntl` waits for nothing but a lock)."""

_MILLISECONDS: Final = {"poll": 2, "epoll_wait": 3, "epoll_pwait": 3}
"""Which argument is the timeout."""

_POINTERS: Final = {
    "clock_nanosleep": 2,
    "epoll_pwait2": 3,
    "futex": 3,
    "futex_wait": 4,
    "futex_waitv": 3,
    "io_getevents": 4,
    "io_pgetevents": 4,
    "mq_timedreceive": 4,
    "mq_timedsend": 4,
    "nanosleep": 0,
    "ppoll": 2,
    "pselect6": 4,
    "rt_sigtimedwait": 2,
    "select": 4,
    "semtimedop": 3,
}
"""Which argument points to the timeout."""

_DESCRIPTOR_FIRST: Final = """
accept accept4 close connect copy_file_range epoll_pwait epoll_pwait2 epoll_wait fallocate fcntl fdatasync flock fstat
fsync ftruncate getdents64 io_uring_enter ioctl lseek mq_timedreceive mq_timedsend pread64 preadv preadv2 pwrite64
pwritev pwritev2 read readv recvfrom recvmmsg recvmsg sendfile sendmmsg sendmsg sendto shutdown splice sync_file_range
syncfs tee vmsplice write writev
"""
_WITH_DESCRIPTOR: Final = frozenset(_DESCRIPTOR_FIRST.split())

_NUMBERS: Final = """
accept 43 202               accept4 288 242         brk 12 214              clock_nanosleep 230 115
clone 56 220                clone3 435 435          close 3 57              connect 42 203
copy_file_range 326 285     creat 85 -              epoll_pwait 281 22      epoll_pwait2 441 441
epoll_wait 232 -            execve 59 221           exit 60 93              exit_group 231 94
fallocate 285 47            fcntl 72 25             fdatasync 75 83         flock 73 32
fork 57 -                   fstat 5 80              fsync 74 82             ftruncate 77 46
futex 202 98                futex_wait 455 455      futex_waitv 449 449     getdents64 217 61
getrandom 318 278           io_getevents 208 4      io_pgetevents 333 292   io_uring_enter 426 426
ioctl 16 29                 kill 62 129             lseek 8 62              lstat 6 -
madvise 28 233              mkdir 83 -              mkdirat 258 34          mmap 9 222
mprotect 10 226             mq_timedreceive 243 183 mq_timedsend 242 182    msgrcv 70 188
msgsnd 69 189               msync 26 227            munmap 11 215           nanosleep 35 101
newfstatat 262 79           open 2 -                openat 257 56           openat2 437 437
pause 34 -                  poll 7 -                ppoll 271 73            pread64 17 67
preadv 295 69               preadv2 327 286         pselect6 270 72         pwrite64 18 68
pwritev 296 70              pwritev2 328 287        read 0 63               readlink 89 -
readlinkat 267 78           readv 19 65             recvfrom 45 207         recvmmsg 299 243
recvmsg 47 212              rename 82 -             renameat 264 38         renameat2 316 276
restart_syscall 219 128     rmdir 84 -              rt_sigsuspend 130 133   rt_sigtimedwait 128 137
sched_yield 24 124          select 23 -             semop 65 193            semtimedop 220 192
sendfile 40 71              sendmmsg 307 269        sendmsg 46 211          sendto 44 206
shutdown 48 210             splice 275 76           stat 4 -                statfs 137 43
statx 332 291               sync 162 81             sync_file_range 277 84  syncfs 306 267
tee 276 77                  truncate 76 45          unlink 87 -             unlinkat 263 35
vfork 58 -                  vmsplice 278 75         wait4 61 260            waitid 247 95
write 1 64                  writev 20 66
"""
"""Name, number on x86-64, number on arm64 (`asm/unistd_64.h`, `asm-generic/unistd.h` of Linux)."""


def _table(column: int) -> dict[int, str]:
    words = _NUMBERS.split()
    rows = zip(words[::3], words[column::3], strict=True)
    return {int(number): name for name, number in rows if number != "-"}


X86_64: Final = _table(1)
ARM64: Final = _table(2)

CALLS: Final = (
    {"x86_64": X86_64, "aarch64": ARM64}.get(platform.machine())
    if sys.platform == "linux" and sys.maxsize > 2**32
    else None
)
"""Number → name on this machine; None: not known."""
