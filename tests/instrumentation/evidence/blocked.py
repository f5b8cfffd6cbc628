"""Threads that really wait in a system call, each until its test is over."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from lastspan.instrumentation.evidence.kernel.syscalls import SystemCall, system_call

PATIENCE = 20.0


@contextlib.contextmanager
def waiting_in(names: str, function: Callable[[], Any], release: Callable[[], Any]) -> Iterator[SystemCall]:
    """Run *function* in a thread; yield what it waits in, once that is one of *names*; *release* ends the wait.

    It has settled there if two looks say the same: on its way it may wait for the interpreter's lock.
    """
    thread = threading.Thread(target=function)
    thread.start()
    try:
        deadline = time.monotonic() + PATIENCE
        before = b""
        while (seen := system_call(thread.native_id)).name not in names.split() or seen.raw != before:
            assert time.monotonic() < deadline, seen
            before = seen.raw
            time.sleep(0.01)
        yield seen
    finally:
        release()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def await_end(native_id: int | None) -> None:
    """Wait until the kernel has forgotten a thread, which is a little after it was joined."""
    deadline = time.monotonic() + PATIENCE
    while os.path.isdir(f"/proc/self/task/{native_id}"):
        assert time.monotonic() < deadline
        time.sleep(0.001)


@contextlib.contextmanager
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection: ours, and that of a server which says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as ours:
            theirs, _ = listener.accept()
            with theirs:
                yield ours, theirs


@contextlib.contextmanager
def deaf_server() -> Iterator[tuple[str, int]]:
    """The address of a server that accepts nobody, and whose backlog is full: no further connection is made."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            assert one.connect_ex(listener.getsockname()) == errno.EINPROGRESS
            if not select.select([], [one], [], 0.2)[1]:
                break
        yield listener.getsockname()


def address(one: tuple[str, int]) -> str:
    return f"{one[0]}:{one[1]}"
