"""What a descriptor leads to: real sockets, pipes, files and the rest, and nothing of the application's is touched."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import resource
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.instrumentation.evidence.blocked import PATIENCE, address, connection, deaf_server

from lastspan.instrumentation.evidence.kernel.descriptors import (
    Descriptor,
    descriptor,
    is_unbounded,
    numbers,
    remote_of,
    sockets,
    tcp_info,
)
from lastspan.instrumentation.evidence.kernel.syscalls import SystemCall

pytestmark = pytest.mark.applies(sys.platform == "linux", reason="descriptors are looked at on Linux only")


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def look(number: int) -> Descriptor:
    seen = descriptor(number)
    assert seen is not None
    return seen


# --- TCP ------------------------------------------------------------------------------------------------------------


def test_a_connection() -> None:
    """Both addresses, its state, and that nothing limits a wait."""
    with connection() as (ours, theirs):
        seen = look(ours.fileno())
        assert (seen.number, seen.kind, seen.state) == (ours.fileno(), "tcp", "ESTABLISHED")
        assert (seen.peer, seen.local) == (address(theirs.getsockname()), address(ours.getsockname()))
        assert (seen.receive_timeout, seen.send_timeout) == (None, None)
        assert seen.inode == os.fstat(ours.fileno()).st_ino


def test_how_long_the_peer_is_silent() -> None:
    """It grows while nothing comes, and a byte ends it."""
    with connection() as (ours, theirs):
        deadline = time.monotonic() + PATIENCE
        while (look(ours.fileno()).idle or 0) < 0.3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        theirs.send(b"x")
        while (look(ours.fileno()).idle or 0) >= 0.3:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert (look(ours.fileno()).sent or 0) >= 0.3  # that says nothing of what we have sent
        ours.send(b"x")
        while (look(ours.fileno()).sent or 0) >= 0.3:
            assert time.monotonic() < deadline
            time.sleep(0.001)


def test_the_settings_of_a_socket() -> None:
    """SO_RCVTIMEO and SO_SNDTIMEO."""
    with connection() as (ours, _):
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", 3, 500_000))
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("qq", 7, 0))
        seen = look(ours.fileno())
        assert seen.receive_timeout == pytest.approx(3.5, abs=0.01)
        assert seen.send_timeout == pytest.approx(7, abs=0.01)


def test_looking_changes_nothing() -> None:
    """A Python socket of the same descriptor would obey the default timeout, and change the application's own."""
    before = socket.getdefaulttimeout()
    with connection() as (ours, _):
        socket.setdefaulttimeout(5)
        try:
            flags = fcntl.fcntl(ours.fileno(), fcntl.F_GETFL)
            opened = list(numbers())
            look(ours.fileno())
            assert fcntl.fcntl(ours.fileno(), fcntl.F_GETFL) == flags
            assert list(numbers()) == opened
        finally:
            socket.setdefaulttimeout(before)


def test_a_peer_that_has_closed() -> None:
    """The kernel's word for it."""
    with connection() as (ours, theirs):
        theirs.close()
        deadline = time.monotonic() + PATIENCE
        while look(ours.fileno()).state != "CLOSE_WAIT":
            assert time.monotonic() < deadline


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_connection_that_is_not_made(family: socket.AddressFamily) -> None:
    """A client with a timeout polls, so the address stands in no call; the kernel's table has it."""
    with deaf_server() as there, socket.socket(family) as ours:
        ours.setblocking(False)
        target = there if family == socket.AF_INET else (f"::ffff:{there[0]}", there[1])
        assert ours.connect_ex(target) == errno.EINPROGRESS
        seen = look(ours.fileno())
        assert (seen.kind, seen.state, seen.peer, seen.idle) == ("tcp", "SYN_SENT", address(there), None)


def test_listening() -> None:
    """No peer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()), select.epoll() as epoll:
            epoll.register(listener, select.EPOLLIN)
            assert epoll.poll(PATIENCE)
            seen = look(listener.fileno())
            assert (seen.state, seen.peer, seen.local) == ("LISTEN", "", address(listener.getsockname()))
            assert seen.idle is None


@pytest.mark.applies(has_ipv6(), reason="this machine has no IPv6")
def test_ipv6() -> None:
    """The address in brackets."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
        ours = stack.enter_context(socket.create_connection(listener.getsockname()[:2]))
        assert look(ours.fileno()).peer == f"[::1]:{listener.getsockname()[1]}"


# --- other sockets --------------------------------------------------------------------------------------------------


def test_udp() -> None:
    """A peer, if it has one; no state."""
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
        one.bind(("127.0.0.1", 0))
        other.connect(one.getsockname())
        seen = look(other.fileno())
        assert (seen.kind, seen.peer, seen.state, seen.idle) == ("udp", address(one.getsockname()), "", None)
        assert look(one.fileno()).peer == ""


@pytest.mark.parametrize("name", ["path", "abstract"])
def test_a_unix_socket(tmp_path: Path, name: str) -> None:
    """The server's path, or its abstract name; and which process it is."""
    bound = str(tmp_path / "s") if name == "path" else f"\0lastspan-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as ours:
        listener.bind(bound)
        listener.listen()
        ours.connect(bound)
        seen = look(ours.fileno())
        assert (seen.kind, seen.peer, seen.peer_pid) == ("unix", bound.replace("\0", "@"), os.getpid())
        server = look(listener.fileno())
        assert (server.state, server.local, server.peer) == ("LISTEN", bound.replace("\0", "@"), "")


def test_the_process_at_the_other_end_of_a_socketpair() -> None:
    """It has no name, but the kernel knows who made it."""
    one, other = socket.socketpair()
    with one, other:
        assert (look(one.fileno()).peer, look(one.fileno()).peer_pid) == ("", os.getpid())


def test_a_socket_of_another_kind() -> None:
    """Netlink, vsock …: that it is there, and no more."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as other:
        assert look(other.fileno()).kind == "other"


# --- files, pipes and the rest --------------------------------------------------------------------------------------


@contextmanager
def closing(*opened: int) -> Iterator[tuple[int, ...]]:
    try:
        yield opened
    finally:
        for number in opened:
            os.close(number)


def test_a_pipe() -> None:
    """Both ends have one inode: so the process at the other end can be found."""
    with closing(*os.pipe()) as (reading, writing):
        assert (look(reading).kind, look(reading).state, look(writing).state) == ("pipe", "read", "write")
        assert look(reading).inode == look(writing).inode == os.fstat(reading).st_ino


def test_a_file(tmp_path: Path) -> None:
    """Its path."""
    with (tmp_path / "out.csv").open("w") as file:
        assert (look(file.fileno()).kind, look(file.fileno()).peer) == ("file", str(tmp_path / "out.csv"))


def test_a_file_whose_name_is_no_text(tmp_path: Path) -> None:
    """What leaves the process is valid UTF-8."""
    with open(os.fsencode(tmp_path) + b"/\xff", "w") as file:
        assert look(file.fileno()).peer == f"{tmp_path}/\N{REPLACEMENT CHARACTER}"


def test_a_terminal() -> None:
    """Its path, too."""
    with closing(*pty.openpty()) as (_, slave):
        assert (look(slave).kind, look(slave).peer) == ("tty", os.ttyname(slave))


def test_an_epoll() -> None:
    """What it watches is another question."""
    with select.epoll() as epoll:
        assert (look(epoll.fileno()).kind, look(epoll.fileno()).peer) == ("epoll", "")


def test_an_eventfd() -> None:
    """A way to wake an event loop."""
    with closing(os.eventfd(0)) as (number,):
        assert look(number).kind == "eventfd"


def test_a_pidfd() -> None:
    """The process that it stands for."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        with closing(os.pidfd_open(process.pid)) as (number,):
            assert (look(number).kind, look(number).peer_pid) == ("pidfd", process.pid)
        process.communicate(b"\n", timeout=PATIENCE)


@pytest.mark.parametrize("number", [-1, 123456])
def test_what_is_not_open(number: int) -> None:
    """Nothing."""
    assert descriptor(number) is None


def test_without_proc() -> None:
    """Nothing, and no error."""
    assert descriptor(0, "/nowhere") is None
    assert sockets(proc="/nowhere") == []


def test_descriptors_that_come_and_go_while_we_look() -> None:
    """Each answer is of one descriptor, or none at all."""
    is_over = threading.Event()

    def churn() -> None:
        while not is_over.is_set():
            with socket.socket() as one, ExitStack() as stack:
                one.bind(("127.0.0.1", 0))
                for number in os.pipe():
                    stack.callback(os.close, number)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(300):
            for number in numbers():
                seen = descriptor(number)
                assert seen is None or seen.kind != "tcp" or seen.state in {"", "CLOSE"} or seen.local
    finally:
        is_over.set()
        thread.join(PATIENCE)


# --- the list -------------------------------------------------------------------------------------------------------


def test_connected_sockets_of_the_process() -> None:
    """TCP and Unix, with their own addresses; not those that listen, nor what is no socket."""
    one, other = socket.socketpair()
    with connection() as (ours, theirs), one, other, socket.create_server(("127.0.0.1", 0)) as listener:
        found = {seen.number: seen for seen in sockets(limit=10_000)}
        assert found.keys() >= {ours.fileno(), theirs.fileno(), one.fileno(), other.fileno()}
        assert found[ours.fileno()].local == found[theirs.fileno()].peer
        assert listener.fileno() not in found
        assert len(sockets(limit=2)) == 2


@pytest.mark.applies(resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 3000, reason="not so many may be opened here")
def test_thousands_of_descriptors() -> None:
    """No more than 1024 are looked at."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3000, hard))
    opened: list[int] = []
    try:
        opened = [os.dup(0) for _ in range(1500)]
        assert len(list(numbers())) == 1024
    finally:
        for number in opened:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- is there a limit at all? ---------------------------------------------------------------------------------------

TCP = Descriptor(5, "tcp", state="ESTABLISHED")
LIMITED = Descriptor(5, "tcp", receive_timeout=3.0, send_timeout=4.0)


@pytest.mark.parametrize(
    ("call", "target", "expected"),
    [
        (SystemCall("poll", 5, is_unbounded=True), TCP, True),  # the call says it itself
        (SystemCall("poll", 5, timeout=7.0, is_unbounded=False), TCP, False),
        (SystemCall("recvfrom", 5), TCP, True),
        (SystemCall("read", 5), TCP, True),  # TLS reads so
        (SystemCall("recvfrom", 5), LIMITED, False),
        (SystemCall("sendto", 5), TCP, True),
        (SystemCall("sendto", 5), LIMITED, False),
        (SystemCall("accept4", 5), Descriptor(5, "tcp", state="LISTEN"), True),
        (SystemCall("connect", 5), Descriptor(5, "tcp", state="SYN_SENT"), False),  # the kernel gives up by itself
        (SystemCall("connect", 5), Descriptor(5, "unix"), True),  # and here it does not
        (SystemCall("read", 5), Descriptor(5, "pipe"), True),
        (SystemCall("read", 5), Descriptor(5, "tty"), True),
        (SystemCall("read", 5), Descriptor(5, "file"), None),  # a disk, or a network file system
        (SystemCall("recvfrom", 5), None, None),
        (SystemCall("ioctl", 5), TCP, None),
        (SystemCall("restart_syscall"), None, None),
    ],
)
def test_whether_a_wait_has_no_limit(call: SystemCall, target: Descriptor | None, expected: bool | None) -> None:
    """From the call, or else from its descriptor; None where neither says."""
    assert is_unbounded(call, target) is expected


# --- the pure parts -------------------------------------------------------------------------------------------------

TABLE = (
    b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    b"   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   112        0 20001 1 0 100\n"
    b"   1: 0100007F:C350 0700000A:01BB 02 00000001:00000000 01:00000064 00000003     0        0 20002 2 0 400\n"
)
TABLE6 = (
    b"  sl  local_address remote_address st ...\n"
    b"   0: 00000000000000000000000001000000:C350 B80D0120000000000000000001000000:01BB 02 00000001:00000000"
    b" 01:00000064 00000003     0        0 20003 2 0 400 0 0 1 7\n"
)


@pytest.mark.applies(sys.byteorder == "little", reason="the table is in the machine's byte order")
@pytest.mark.parametrize(
    ("inode", "table", "family", "expected"),
    [
        (20002, TABLE, socket.AF_INET, "10.0.0.7:443"),
        (20003, TABLE6, socket.AF_INET6, "[2001:db8::1]:443"),
        (20001, TABLE, socket.AF_INET, "0.0.0.0:0"),
        (99999, TABLE, socket.AF_INET, ""),
        (None, TABLE, socket.AF_INET, ""),
        (20002, TABLE[:-40], socket.AF_INET, ""),  # cut off in the middle of the line
        (20002, TABLE.replace(b"0700000A:01BB", b"0700000A"), socket.AF_INET, ""),
        (20002, TABLE.replace(b"0700000A", b"07zz000A"), socket.AF_INET, ""),
        (1, b"", socket.AF_INET, ""),
    ],
)
def test_the_kernels_table_of_connections(
    inode: int | None, table: bytes, family: socket.AddressFamily, expected: str
) -> None:
    """The remote address of one socket, by its inode."""
    assert remote_of(inode, table, family) == expected


@given(st.lists(st.binary(max_size=20), max_size=14).map(b" ".join), st.sampled_from([2, 10]))
def test_no_table_is_too_odd(row: bytes, family: int) -> None:
    """An address, or nothing."""
    words = row.split()[:9]
    remote_of(7, b"header\n" + b" ".join([*words, *[b"x"] * (9 - len(words)), b"7"]), family)


@given(st.binary(max_size=120))
def test_no_answer_about_a_connection_is_too_odd(info: bytes) -> None:
    """States that we know, times that can be."""
    state, idle, sent = tcp_info(info)
    assert state == "" or state.isupper()
    assert idle is None or idle >= 0
    assert sent is None or sent >= 0
