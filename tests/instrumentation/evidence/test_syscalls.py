"""The system call in which a thread waits: real waits of every kind, and lines that no kernel would write."""

from __future__ import annotations

import fcntl
import os
import platform
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.instrumentation.evidence.blocked import address, await_end, connection, deaf_server, waiting_in

from lastspan.instrumentation.evidence.kernel.syscalls import (
    ARM64,
    CALLS,
    OUTSIDE,
    RUNNING,
    X86_64,
    SystemCall,
    address_text,
    decode,
    parse,
    system_call,
    watched,
)

pytestmark = pytest.mark.applies(CALLS is not None, reason="system calls are not known on this machine")

POLL = "poll ppoll"
SELECT = "select pselect6"
EPOLL = "epoll_wait epoll_pwait"
ACCEPT = "accept accept4"
SLEEP = "clock_nanosleep nanosleep select pselect6"  # Python 3.10 sleeps in select
FUTEX = "futex"


# --- sockets --------------------------------------------------------------------------------------------------------


def test_receiving_without_a_timeout() -> None:
    """The call itself has no such argument: only the socket can say that there is none."""
    with connection() as (ours, theirs):
        with waiting_in("recvfrom", lambda: ours.recv(1), lambda: theirs.send(b"x")) as seen:
            assert (seen.descriptor, seen.timeout, seen.is_unbounded) == (ours.fileno(), None, None)
            assert seen.is_blocked
            assert seen.unseen == ""


def test_receiving_with_a_timeout() -> None:
    """Python polls first, and the timeout stands in the call as it was given."""
    with connection() as (ours, theirs):
        ours.settimeout(700)
        with waiting_in(POLL, lambda: ours.recv(1), lambda: theirs.send(b"x")) as seen:
            assert (seen.descriptor, seen.descriptors) == (ours.fileno(), (ours.fileno(),))
            assert seen.timeout == pytest.approx(700, abs=1)
            assert seen.is_unbounded is False


def test_polling_several_without_a_timeout() -> None:
    """All of them, in order."""
    with connection() as (ours, theirs):
        poll = select.poll()
        for one in (theirs, ours):
            poll.register(one, select.POLLIN)
        with waiting_in(POLL, poll.poll, lambda: theirs.send(b"x")) as seen:
            assert sorted(seen.descriptors) == sorted([ours.fileno(), theirs.fileno()])
            assert seen.descriptor == seen.descriptors[0]
            assert (seen.timeout, seen.is_unbounded) == (None, True)


@pytest.mark.parametrize(
    ("given", "timeout", "is_unbounded"), [((), None, True), ((345.5,), pytest.approx(345.5, abs=1), False)]
)
def test_selecting(given: tuple[float, ...], timeout: Any, is_unbounded: bool) -> None:
    """The three sets of bits; those to be read first."""
    with connection() as (ours, theirs):
        with waiting_in(SELECT, lambda: select.select([ours], [], [theirs], *given), lambda: theirs.send(b"x")) as seen:
            assert seen.descriptors == (ours.fileno(), theirs.fileno())
            assert seen.descriptor == ours.fileno()
            assert (seen.timeout, seen.is_unbounded) == (timeout, is_unbounded)


@pytest.mark.parametrize(("given", "timeout", "is_unbounded"), [(-1, None, True), (60, 60.0, False)])
def test_waiting_for_an_epoll(given: int, timeout: float | None, is_unbounded: bool) -> None:
    """The call names the epoll descriptor alone; what that watches is asked of the kernel besides."""
    with connection() as (ours, theirs), select.epoll() as epoll:
        epoll.register(ours, select.EPOLLIN)
        with waiting_in(EPOLL, lambda: epoll.poll(given), lambda: theirs.send(b"x")) as seen:
            assert (seen.descriptor, seen.descriptors) == (epoll.fileno(), ())
            assert (seen.timeout, seen.is_unbounded) == (timeout, is_unbounded)
            assert watched(epoll.fileno()) == [ours.fileno()]


def test_what_an_epoll_watches_is_capped() -> None:
    """A server's epoll may watch thousands."""
    with ExitStack() as stack:
        epoll = stack.enter_context(select.epoll())
        for end in [stack.enter_context(end) for _ in range(5) for end in socket.socketpair()]:
            epoll.register(end)
        assert len(watched(epoll.fileno(), limit=7)) == 7
        assert len(watched(epoll.fileno())) == 10


@pytest.mark.parametrize("proc", ["/proc/self", "/nowhere"])
def test_what_is_no_epoll_watches_nothing(proc: str) -> None:
    """Neither does what is not open, nor anything where there is no `/proc`."""
    assert watched(0, proc) == watched(123456, proc) == watched(-1, proc) == []


def test_connecting_to_a_server_that_does_not_answer() -> None:
    """The address stands in the call; the socket itself has no peer yet."""
    with deaf_server() as there, socket.socket() as ours:

        def connect() -> None:
            with pytest.raises(OSError):
                ours.connect(there)

        with waiting_in("connect", connect, lambda: ours.shutdown(socket.SHUT_RDWR)) as seen:
            assert (seen.descriptor, seen.peer) == (ours.fileno(), address(there))


def test_accepting() -> None:
    """Of a listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            listener.accept()[0].close()

        with waiting_in(ACCEPT, accept, lambda: socket.create_connection(listener.getsockname()).close()) as seen:
            assert (seen.descriptor, seen.is_unbounded) == (listener.fileno(), None)


def test_sending_to_a_peer_that_does_not_read() -> None:
    """It waits for room."""
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def send() -> None:
            with pytest.raises(OSError):
                ours.sendall(bytes(10_000_000))

        with waiting_in("sendto", send, theirs.close) as seen:
            assert (seen.descriptor, seen.peer) == (ours.fileno(), "")


# --- locks, time, processes, files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "timeout", "is_unbounded"), [(-1, None, True), (900, pytest.approx(890, abs=10.1), False)]
)
def test_a_lock_of_threads(given: float, timeout: Any, is_unbounded: bool) -> None:
    """A futex; a timeout is there as the time that remains."""
    lock = threading.Lock()
    lock.acquire()
    with waiting_in(FUTEX, lambda: lock.acquire(timeout=given), lock.release) as seen:
        assert (seen.descriptor, seen.timeout, seen.is_unbounded) == (None, timeout, is_unbounded)


def test_sleeping() -> None:
    """What remains of it, or what it was given; no descriptor."""
    is_over = threading.Event()

    def sleep() -> None:
        while not is_over.is_set():
            time.sleep(0.5)

    with waiting_in(SLEEP, sleep, is_over.set) as seen:
        assert (seen.descriptor, seen.is_unbounded) == (None, False)
        assert seen.timeout is not None
        assert 0 <= seen.timeout <= 0.5


@contextmanager
def child(code: str = "input()") -> Any:
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_waiting_for_a_child() -> None:
    """Its pid is in the call."""
    with child() as process:
        with waiting_in("wait4", process.wait, process.kill) as seen:
            assert (seen.pid, seen.is_unbounded) == (process.pid, True)


def test_waiting_for_any_child() -> None:
    """-1 is any."""
    with child() as process:

        def wait() -> None:
            _, process.returncode = os.wait()

        with waiting_in("wait4", wait, process.kill) as seen:
            assert seen.pid == -1


@pytest.mark.parametrize("by", ["pid", "all", "pidfd"])
def test_waiting_for_a_child_by_waitid(by: str) -> None:
    """By its pid, or by a descriptor that stands for it, or for any."""
    with child() as process, ExitStack() as stack:
        number = os.pidfd_open(process.pid)
        stack.callback(os.close, number)
        which = {"pid": (os.P_PID, process.pid), "all": (os.P_ALL, 0), "pidfd": (os.P_PIDFD, number)}[by]
        with waiting_in("waitid", lambda: os.waitid(*which, os.WEXITED | os.WNOWAIT), process.kill) as seen:
            expected = {"pid": (process.pid, None), "all": (-1, None), "pidfd": (None, number)}[by]
            assert (seen.pid, seen.descriptor) == expected
            assert seen.is_unbounded


def test_a_lock_on_a_file(tmp_path: Path) -> None:
    """`flock`: the descriptor leads to the file."""
    with (tmp_path / "lock").open("w") as holder, (tmp_path / "lock").open("w") as ours:
        fcntl.flock(holder, fcntl.LOCK_EX)

        def release() -> None:
            fcntl.flock(holder, fcntl.LOCK_UN)

        with waiting_in("flock", lambda: fcntl.flock(ours, fcntl.LOCK_EX), release) as seen:
            assert (seen.descriptor, seen.is_unbounded) == (ours.fileno(), True)


LOCKS_IT = """
import fcntl, sys
with open({path!r}, "r+") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_lock_on_a_part_of_a_file(tmp_path: Path) -> None:
    """`fcntl` waits for nothing else."""
    path = tmp_path / "lock"
    path.write_text("")
    with child(LOCKS_IT.format(path=str(path))) as holder, path.open("r+") as ours:
        assert holder.stdout.readline() == b"locked\n"
        with waiting_in("fcntl", lambda: fcntl.lockf(ours, fcntl.LOCK_EX), holder.kill) as seen:
            assert (seen.descriptor, seen.is_unbounded) == (ours.fileno(), True)


def test_reading_a_pipe() -> None:
    """Nobody writes."""
    reading, writing = os.pipe()
    try:
        with waiting_in("read", lambda: os.read(reading, 1), lambda: os.write(writing, b"x")) as seen:
            assert (seen.descriptor, seen.is_unbounded) == (reading, None)
    finally:
        os.close(reading)
        os.close(writing)


def test_reading_a_terminal() -> None:
    """A job that asks a question nobody sees."""
    master, slave = pty.openpty()
    try:
        with waiting_in("read", lambda: os.read(slave, 1), lambda: os.write(master, b"yes\n")) as seen:
            assert seen.descriptor == slave
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize(("given", "timeout", "is_unbounded"), [(None, None, True), (77, 77.0, False)])
def test_waiting_for_a_signal(given: float | None, timeout: float | None, is_unbounded: bool) -> None:
    """With its timeout."""
    identity: list[int] = []

    def wait() -> None:
        identity.append(threading.get_ident())
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        if given is None:
            signal.sigwaitinfo({signal.SIGUSR2})
        else:
            signal.sigtimedwait({signal.SIGUSR2}, given)

    with waiting_in("rt_sigtimedwait", wait, lambda: signal.pthread_kill(identity[0], signal.SIGUSR2)) as seen:
        assert (seen.timeout, seen.is_unbounded) == (timeout, is_unbounded)


def test_a_thread_that_computes() -> None:
    """It runs, or waits for its turn in the interpreter; never a call that blocks for good."""
    is_over = threading.Event()

    def compute() -> None:
        while not is_over.is_set():
            sum(range(100_000))

    with waiting_in(RUNNING, compute, is_over.set) as seen:
        assert not seen.is_blocked


def test_the_line_tells_cheaply_whether_anything_changed() -> None:
    """Equal to the one that the call was read from."""
    lock = threading.Lock()
    lock.acquire()
    with waiting_in(FUTEX, lock.acquire, lock.release) as seen:
        assert seen.raw.split()[0].isdigit()


# --- where nothing can be seen ----------------------------------------------------------------------------------------


def test_a_thread_that_has_ended() -> None:
    """It says so; so it does of a thread that is not known."""
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    await_end(thread.native_id)
    assert system_call(thread.native_id) == SystemCall("", unseen="its thread has ended")
    assert system_call(None).unseen == "its thread is not known"


def test_without_proc() -> None:
    """Not every container has one."""
    assert system_call(1, "/nowhere") == SystemCall("", unseen="there is no /proc")


def test_a_kernel_that_does_not_show_system_calls(tmp_path: Path) -> None:
    """gVisor: the thread is there, the file is not."""
    (tmp_path / "task" / "7").mkdir(parents=True)
    assert system_call(7, str(tmp_path)).unseen == "this kernel does not show system calls"


AFTER_SETUID = """
import os, sys, threading
sys.path[:0] = {path!r}
from lastspan.instrumentation.evidence.kernel.descriptors import descriptor
from lastspan.instrumentation.evidence.kernel.syscalls import system_call
from lastspan.instrumentation.evidence.kernel.threads import cpu_time_ns, run_queue_ns, thread_state
os.setgid(65534)
os.setuid(65534)
me = threading.get_native_id()
print(system_call(me).unseen, thread_state(me), cpu_time_ns(me) > 0, run_queue_ns(me) >= 0, descriptor(1).kind, sep="|")
"""


@pytest.mark.applies(os.geteuid() == 0, reason="only root can become another")
def test_after_the_process_has_changed_its_user() -> None:
    """`celery --uid`: the kernel hides the system call, and says so; state, clocks and descriptors are still there."""
    code = AFTER_SETUID.format(path=sys.path)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True, text=True)
    unseen, *rest = ran.stdout.strip().split("|")
    assert "changed its user" in unseen
    assert rest == ["R", "True", "True", "pipe"]


# --- the pure part ----------------------------------------------------------------------------------------------------


class Memory:
    """What the pointers of a line point to."""

    def __init__(self, **at: bytes) -> None:
        self._at = {int(name[1:], 16): held for name, held in at.items()}

    def __call__(self, where: int, size: int) -> bytes:
        return self._at.get(where, b"")[:size]


def timespec(seconds: int, fraction: int = 0) -> bytes:
    return struct.pack("qq", seconds, fraction)


def line(number: int, *arguments: int) -> bytes:
    six = [*arguments, *[0] * 6][:6]
    return b" ".join([b"%d" % number, *(b"0x%x" % one for one in [*six, 0x7FFE, 0x7F00])]) + b"\n"


V4 = struct.pack("HBB4s8x", socket.AF_INET, 0x15, 0x38, bytes([10, 0, 0, 7]))


@pytest.mark.parametrize(
    ("calls", "seen", "memory", "expected"),
    [
        # arm64: its C library polls by ppoll, selects by pselect6, waits for epoll by epoll_pwait
        (ARM64, line(207, 9), Memory(), SystemCall("recvfrom", 9)),
        (
            ARM64,
            line(73, 0xA0, 1, 0xB0),
            Memory(xA0=struct.pack("ihh", 5, 1, 0), xB0=timespec(700)),
            SystemCall("ppoll", 5, (5,), 700.0, False),
        ),
        (
            ARM64,
            line(73, 0xA0, 1, 0),
            Memory(xA0=struct.pack("ihh", 5, 1, 0)),
            SystemCall("ppoll", 5, (5,), None, True),
        ),
        (
            ARM64,
            line(72, 6, 0xA0, 0, 0, 0xB0),
            Memory(xA0=bytes([0b101000]), xB0=timespec(1, 500_000_000)),
            SystemCall("pselect6", 3, (3, 5), 1.5, False),
        ),
        (ARM64, line(22, 4, 0xA0, 10, 0xFFFFFFFF), Memory(), SystemCall("epoll_pwait", 4, (), None, True)),
        (ARM64, line(22, 4, 0xA0, 10, 2500), Memory(), SystemCall("epoll_pwait", 4, (), 2.5, False)),
        (ARM64, line(441, 4, 0xA0, 10, 0xB0), Memory(xB0=timespec(3)), SystemCall("epoll_pwait2", 4, (), 3.0, False)),
        (ARM64, line(203, 8, 0xA0, 16), Memory(xA0=V4), SystemCall("connect", 8, peer="10.0.0.7:5432")),
        (ARM64, line(98, 0xA0, 0x189, 0, 0), Memory(), SystemCall("futex", is_unbounded=True)),
        (ARM64, line(260, 4321), Memory(), SystemCall("wait4", pid=4321, is_unbounded=True)),
        (ARM64, line(32, 6, 2), Memory(), SystemCall("flock", 6, is_unbounded=True)),
        (ARM64, line(101, 0xB0), Memory(xB0=timespec(12)), SystemCall("nanosleep", None, (), 12.0, False)),
        # x86-64: select counts in microseconds
        (
            X86_64,
            line(23, 4, 0xA0, 0, 0, 0xB0),
            Memory(xA0=bytes([0b1000]), xB0=timespec(2, 250_000)),
            SystemCall("select", 3, (3,), 2.25, False),
        ),
        (X86_64, line(34), Memory(), SystemCall("pause", is_unbounded=True)),
        (X86_64, line(202, 0xA0, 0x80, 0, 0xB0), Memory(xB0=timespec(4)), SystemCall("futex", None, (), 4.0, False)),
        (X86_64, line(230, 1, 0, 0xB0), Memory(xB0=timespec(4)), SystemCall("clock_nanosleep", None, (), 4.0, False)),
        # a point in time that has passed: nothing remains
        (X86_64, line(230, 1, 1, 0xB0), Memory(xB0=timespec(0)), SystemCall("clock_nanosleep", None, (), 0.0, False)),
        (
            X86_64,
            line(243, 3, 0, 0, 0, 0xB0),
            Memory(xB0=timespec(0)),
            SystemCall("mq_timedreceive", 3, (), 0.0, False),
        ),
        (X86_64, line(202, 0xA0, 6, 0, 0xB0), Memory(xB0=timespec(0)), SystemCall("futex", None, (), 0.0, False)),
        (
            X86_64,
            line(455, 0, 0, 0, 0, 0xB0, 1),
            Memory(xB0=timespec(0)),
            SystemCall("futex_wait", None, (), 0.0, False),
        ),
        # by a clock that we do not know
        (X86_64, line(230, 99, 1, 0xB0), Memory(xB0=timespec(9)), SystemCall("clock_nanosleep", is_unbounded=False)),
        # memory that cannot be read: that there is a timeout is known still
        (X86_64, line(230, 1, 1, 0xB0), Memory(), SystemCall("clock_nanosleep", is_unbounded=False)),
        (X86_64, line(7, 0xA0, 3, 0xFFFFFFFF), Memory(), SystemCall("poll", is_unbounded=True)),
        (X86_64, line(270, 9, 0xA0, 0, 0, 0), Memory(), SystemCall("pselect6", is_unbounded=True)),
        # poll passes over negative descriptors
        (
            X86_64,
            line(7, 0xA0, 2, 0),
            Memory(xA0=struct.pack("ihhihh", -1, 1, 0, 8, 1, 0)),
            SystemCall("poll", 8, (8,), 0.0, False),
        ),
        (X86_64, line(7, 0, 0, 100), Memory(), SystemCall("poll", None, (), 0.1, False)),
        # stopped and continued: the kernel began the call again, and does not say which it was
        (X86_64, line(219, 0xA0), Memory(), SystemCall("restart_syscall")),
        (X86_64, line(9999, 1), Memory(), SystemCall("syscall_9999")),
        (X86_64, b"-1 0x7ffc 0x7f00\n", Memory(), SystemCall(OUTSIDE)),
        (X86_64, b"running\n", Memory(), SystemCall(RUNNING)),
        # an address in the file system, one without a name, one abstract
        (X86_64, line(42, 3, 0xA0, 110), Memory(xA0=b"\x01\0/run/a\0rest"), SystemCall("connect", 3, peer="/run/a")),
        (X86_64, line(44, 3, 0, 1, 0, 0, 0), Memory(), SystemCall("sendto", 3)),
        (X86_64, line(44, 3, 0, 1, 0, 0xA0, 16), Memory(xA0=V4), SystemCall("sendto", 3, peer="10.0.0.7:5432")),
    ],
)
def test_a_line_and_what_it_means(
    calls: dict[int, str], seen: bytes, memory: Callable[[int, int], bytes], expected: SystemCall
) -> None:
    """Each call's own arguments, on both machines."""
    got = decode(seen, calls, memory)
    assert got.raw == seen
    assert {f: getattr(got, f) for f in got.__slots__ if f != "raw"} == {
        f: getattr(expected, f) for f in expected.__slots__ if f != "raw"
    }


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\n",
        b"running away\n",
        b"poll 0x1\n",
        b"7\n",
        b"7 0x1 0x2\n",
        b"7 0x1 0x2 0x3 0x4 0x5 0xzz\n",
        b"-7 0x1 0x2 0x3 0x4 0x5 0x6\n",
        b"7 -0x1 0x2 0x3 0x4 0x5 0x6\n",
        b"9" * 256,
        b"\xff\xfe",
    ],
)
def test_a_line_that_cannot_be_read(bad: bytes) -> None:
    """No name, no arguments, and the reason."""
    assert parse(bad, X86_64) == ("", ())
    assert decode(bad, X86_64, Memory()).unseen == "the kernel's line cannot be read"


words = st.one_of(
    st.integers(-2, 2**64).map(lambda number: b"0x%x" % number if number >= 0 else b"%d" % number),
    st.integers(0, 500).map(lambda number: b"%d" % number),
    st.sampled_from([b"running", b"-1", b"0x", b"0x0", b""]),
    st.binary(max_size=6),
)


@given(st.one_of(st.lists(words, max_size=10).map(b" ".join), st.binary(max_size=300)))
def test_no_line_is_too_odd_to_parse(seen: bytes) -> None:
    """A name with six arguments, or none."""
    for calls in (X86_64, ARM64):
        name, arguments = parse(seen, calls)
        assert isinstance(name, str)
        assert len(arguments) in {0, 6}


@given(
    st.sampled_from(sorted(X86_64)),
    st.lists(st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 20)), min_size=6, max_size=6),
    st.binary(max_size=200),
)
def test_no_call_is_too_odd_to_decode(number: int, arguments: list[int], memory: bytes) -> None:
    """Whatever stands in the registers and behind them: descriptors that can be, timeouts that can be, and few."""
    seen = decode(line(number, *arguments), X86_64, lambda _, size: memory[:size])
    assert seen.name == X86_64[number]
    assert all(one >= 0 for one in seen.descriptors)
    assert len(seen.descriptors) <= 16
    assert seen.descriptor is None or seen.descriptor >= 0
    assert seen.timeout is None or seen.is_unbounded is False


@pytest.mark.parametrize(
    ("sockaddr", "text"),
    [
        (V4, "10.0.0.7:5432"),
        (struct.pack("HBBI16sI", socket.AF_INET6, 0x15, 0x38, 0, bytes(15) + b"\1", 0), "[::1]:5432"),
        # IPv4 through a v6 socket is written as IPv4: so the other end, and the database, write it
        (struct.pack("HBBI16sI", socket.AF_INET6, 0, 80, 0, bytes(10) + b"\xff\xff\x0a\0\0\7", 0), "10.0.0.7:80"),
        (struct.pack("H", socket.AF_UNIX) + b"/run/x.sock\0", "/run/x.sock"),
        (struct.pack("H", socket.AF_UNIX) + b"\0abstract", "@abstract"),
        (struct.pack("H", socket.AF_UNIX) + b"/\xff", "/�"),
        (struct.pack("H", socket.AF_UNIX), ""),
        (struct.pack("H", 16) + bytes(10), ""),
        (V4[:7], ""),
        (b"", ""),
    ],
)
def test_an_address_in_words(sockaddr: bytes, text: str) -> None:
    """host:port, [v6]:port, a path."""
    assert address_text(sockaddr) == text


@given(st.binary(max_size=130))
def test_no_address_is_too_odd_to_write(sockaddr: bytes) -> None:
    """Text that is valid, whatever the bytes."""
    address_text(sockaddr).encode()


def test_the_table_of_this_machine() -> None:
    """Chosen by the machine's name."""
    assert CALLS is {"x86_64": X86_64, "aarch64": ARM64}[platform.machine()]
