"""What a file descriptor of this process leads to: the peer of a socket and how long it is silent, a file, a pipe.

Asked of the kernel by number. Never through a Python socket, whose mere making may change the application's own
(`socket.socket(fileno=…)` obeys the default timeout), and never by opening a file: closing it again would drop the
locks that the application has on it (`man 2 fcntl_locking`).
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ...guest import procfs
from .syscalls import SystemCall, address_text

_LISTED_MAX: Final = 1024

_STATES: Final = (
    *("", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT"),
    *("LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV"),
)
"""Of `include/net/tcp_states.h`."""

_RECEIVING: Final = frozenset({"accept", "accept4", "read", "readv", "recvfrom", "recvmmsg", "recvmsg"})
"""Calls that wait for as long as the socket's own SO_RCVTIMEO says."""
_SENDING: Final = frozenset({"connect", "sendfile", "sendmmsg", "sendmsg", "sendto", "write", "writev"})
"""Calls that wait for as long as the socket's own SO_SNDTIMEO says."""

_ANONYMOUS: Final = {
    "anon_inode:[eventfd]": "eventfd",
    "anon_inode:[eventpoll]": "epoll",
    "anon_inode:[pidfd]": "pidfd",
}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a file descriptor leads to."""

    number: int
    kind: str
    """tcp, udp, unix, pipe, file, tty, epoll, eventfd, pidfd or other."""
    peer: str = ""
    """host:port, [v6]:port, the path of a file or of a socket (@name: abstract); empty: none, or not known."""
    local: str = ""
    """Our own end of it, written like the peer."""
    state: str = ""
    """Of TCP: ESTABLISHED, SYN_SENT, …; of a pipe, our end: read or write."""
    idle: float | None = None
    """s since the peer last sent a byte, or since the connection was made; TCP."""
    receive_timeout: float | None = None
    """s, if SO_RCVTIMEO is set."""
    send_timeout: float | None = None
    """s, if SO_SNDTIMEO is set; it goes for connecting, too."""
    inode: int | None = None
    """Of sockets and pipes: equal at both ends of a pipe."""
    peer_pid: int | None = None
    """The process at the other end, of a Unix socket."""
    sent: float | None = None
    """s since our own end last sent a byte; TCP."""


def descriptor(number: int, proc: str = "/proc/self") -> Descriptor | None:
    """Return what a descriptor of this process leads to; None: it is closed, or cannot be looked at."""
    link = _link(number, proc)
    if not link:
        return None
    seen = _socket(number, link, proc) if link.startswith("socket:") else _file(number, link, proc)
    if _link(number, proc) != link:  # closed meanwhile, and perhaps another in its place
        return None
    return seen


def sockets(limit: int = 64, proc: str = "/proc/self") -> list[Descriptor]:
    """Return the TCP and Unix sockets of this process that have a peer, at most *limit* of them."""
    found: list[Descriptor] = []
    for number in numbers(proc):
        if len(found) == limit:
            break
        if not _link(number, proc).startswith("socket:"):
            continue
        seen = descriptor(number, proc)
        if seen is not None and seen.kind in {"tcp", "unix"} and _is_connected(seen):
            found.append(seen)
    return found


def numbers(proc: str = "/proc/self") -> Iterator[int]:
    """The open descriptors of this process, in order; at most the first 1024."""
    return iter(sorted(procfs.numbers(f"{proc}/fd"))[:_LISTED_MAX])


def is_unbounded(call: SystemCall, target: Descriptor | None) -> bool | None:
    """Say whether a wait has no timeout at all, its own or its descriptor's; None: not known."""
    if call.is_unbounded is not None:
        return call.is_unbounded
    if target is None or call.name not in _RECEIVING | _SENDING:
        return None
    if target.kind in {"pipe", "tty", "eventfd"}:
        return True
    if target.kind not in {"tcp", "udp", "unix"}:
        return None
    if call.name == "connect" and target.kind == "tcp":
        return False  # the kernel itself gives up, after some two minutes (tcp_syn_retries)
    return (target.receive_timeout if call.name in _RECEIVING else target.send_timeout) is None


# --- sockets --------------------------------------------------------------------------------------------------------


def _socket(number: int, link: str, proc: str) -> Descriptor:
    local = _address(_libc.getsockname, number)
    family = int.from_bytes(local[:2], sys.byteorder)
    inode = _inode(link)
    if family == socket.AF_UNIX:
        return Descriptor(
            number,
            "unix",
            address_text(_address(_libc.getpeername, number)),
            address_text(local),
            "LISTEN" if _integer(number, _SOL_SOCKET, _SO_ACCEPTCONN) else "",
            receive_timeout=_seconds(number, _SO_RCVTIMEO),
            send_timeout=_seconds(number, _SO_SNDTIMEO),
            inode=inode,
            peer_pid=_peer_pid(number),
        )
    if family not in {socket.AF_INET, socket.AF_INET6}:
        return Descriptor(number, "other", inode=inode)
    is_stream = _integer(number, _SOL_SOCKET, _SO_TYPE) == socket.SOCK_STREAM
    info = _option(number, socket.IPPROTO_TCP, _TCP_INFO, _TCP_INFO_SIZE) if is_stream else b""
    state, idle, sent = tcp_info(info)
    peer = address_text(_address(_libc.getpeername, number))
    if state == "SYN_SENT" and not peer:  # the kernel names no peer before there is one
        peer = _connecting_to(inode, proc)
    return Descriptor(
        number,
        "tcp" if is_stream else "udp",
        peer,
        address_text(local),
        state,
        idle,
        _seconds(number, _SO_RCVTIMEO),
        _seconds(number, _SO_SNDTIMEO),
        inode,
        sent=sent,
    )


def tcp_info(info: bytes) -> tuple[str, float | None, float | None]:
    """Return the state in a `struct tcp_info` (`linux/tcp.h`), and for how long the peer, and we, sent nothing, s."""
    if len(info) < _TCP_INFO_SIZE:
        return "", None, None
    words = struct.unpack_from("13I", info, 8)
    last_data_sent, last_data_received = words[9], words[11]
    name = _STATES[info[0]] if info[0] < len(_STATES) else ""
    if name in {"", "SYN_SENT", "CLOSE", "LISTEN"}:
        return name, None, None
    return name, last_data_received / 1000, last_data_sent / 1000


@functools.lru_cache(maxsize=64)
def _connecting_to(inode: int | None, proc: str) -> str:
    """The peer of a connection that is being made; asked once for each: the kernel walks all of its connections."""
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        if peer := remote_of(inode, procfs.read_table(f"{proc}/net/{table}"), family):
            return peer
    return ""


def remote_of(inode: int | None, table: bytes, family: int) -> str:
    """Return the remote address of a socket in `/proc/net/tcp` or `tcp6` (`man 5 proc_pid_net`)."""
    for line in table.splitlines()[1:]:
        words = line.split()
        if len(words) < 10 or words[9] != b"%d" % (inode or 0):
            continue
        host, _, port = words[2].decode("ascii", "replace").partition(":")
        try:
            # Each 32 bits of the address are printed as a number of this machine's byte order.
            groups = [int(host[at : at + 8], 16) for at in range(0, len(host), 8)]
            packed = struct.pack(f"={len(groups)}I", *groups)
            return address_text(
                family.to_bytes(2, sys.byteorder)
                + int(port, 16).to_bytes(2, "big")
                + (packed if family == socket.AF_INET else bytes(4) + packed)
            )
        except (ValueError, OverflowError, struct.error):
            return ""
    return ""


def _is_connected(seen: Descriptor) -> bool:
    return seen.state != "LISTEN" and bool(seen.peer or seen.peer_pid)


def _peer_pid(number: int) -> int | None:
    credentials = _option(number, _SOL_SOCKET, _SO_PEERCRED, 12)
    pid = struct.unpack_from("i", credentials)[0] if len(credentials) == 12 else 0
    return pid or None  # 0: no peer, or one of another pid namespace


def _seconds(number: int, option: int) -> float | None:
    value = _option(number, _SOL_SOCKET, option, 16)
    if len(value) != 16:
        return None
    seconds, microseconds = struct.unpack("qq", value)
    return (seconds + microseconds / 1e6) or None


# --- files, pipes and the rest --------------------------------------------------------------------------------------


def _file(number: int, link: str, proc: str) -> Descriptor:
    if link.startswith("pipe:"):
        return Descriptor(number, "pipe", state=_end(number), inode=_inode(link))
    if link.startswith(("/dev/pts/", "/dev/ptmx", "/dev/tty", "/dev/console")):
        return Descriptor(number, "tty", path_text(link))
    if link.startswith("/"):
        return Descriptor(number, "file", path_text(link))
    kind = _ANONYMOUS.get(link, "other")
    if kind == "pidfd":
        return Descriptor(number, kind, peer_pid=_pid_of(number, proc))
    return Descriptor(number, kind, "" if kind != "other" else link)


def path_text(path: str) -> str:
    """Write a path as valid text: its bytes may be none."""
    return os.fsencode(path).decode("utf-8", "replace")


def _end(number: int) -> str:
    try:
        flags = fcntl.fcntl(number, fcntl.F_GETFL)
    except OSError:
        return ""
    return "read" if flags & os.O_ACCMODE == os.O_RDONLY else "write"


def _pid_of(number: int, proc: str) -> int | None:
    """The process that a pidfd stands for."""
    lines = procfs.read(f"{proc}/fdinfo/{number}").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(b"Pid:")), None)


def _link(number: int, proc: str) -> str:
    return procfs.link(f"{proc}/fd/{number}")


def _inode(link: str) -> int | None:
    digits = link.partition("[")[2].rstrip("]")
    return int(digits) if digits.isdecimal() else None


# --- the calls themselves -------------------------------------------------------------------------------------------

_libc: Final = ctypes.CDLL(None, use_errno=True)
"""Lets go of the interpreter's lock during a call: the kernel may make us wait for a socket that is busy."""

_Length: Final = ctypes.c_uint32

_SOL_SOCKET: Final = 1
_SO_TYPE: Final = 3
_SO_PEERCRED: Final = 17
_SO_RCVTIMEO: Final = 20
_SO_SNDTIMEO: Final = 21
_SO_ACCEPTCONN: Final = 30
_TCP_INFO: Final = 11
_TCP_INFO_SIZE: Final = 60
"""Linux's numbers, on x86-64 and arm64; elsewhere there is no `/proc/self/fd` that would bring us here."""


def _address(call: Any, number: int) -> bytes:
    buffer, length = ctypes.create_string_buffer(128), _Length(128)
    if call(number, buffer, ctypes.byref(length)) != 0:
        return b""
    return buffer.raw[: min(length.value, 128)]


def _option(number: int, level: int, option: int, size: int) -> bytes:
    buffer, length = ctypes.create_string_buffer(size), _Length(size)
    if _libc.getsockopt(number, level, option, buffer, ctypes.byref(length)) != 0:
        return b""
    return buffer.raw[: length.value]


def _integer(number: int, level: int, option: int) -> int | None:
    value = _option(number, level, option, 4)
    return int.from_bytes(value, sys.byteorder) if len(value) == 4 else None
