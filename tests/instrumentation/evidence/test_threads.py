"""What the kernel says of a thread: how busy, how long without a core, in which state."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from tests.instrumentation.evidence.blocked import PATIENCE, await_end

from lastspan.instrumentation.evidence.kernel.threads import cpu_time_ns, run_queue_ns, thread_state

READERS: list[Callable[[int | None], object]] = [cpu_time_ns, run_queue_ns, thread_state]


def spin(is_over: threading.Event) -> None:
    while not is_over.is_set():
        sum(range(10_000))


def test_a_thread_that_waits() -> None:
    """It sleeps, and its clocks stand."""
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait)
    thread.start()
    try:
        deadline = time.monotonic() + PATIENCE
        before: tuple[object, ...] = ()
        while (seen := (thread_state(thread.native_id), cpu_time_ns(thread.native_id))) != before or seen[0] != "S":
            assert time.monotonic() < deadline
            before = seen
            time.sleep(0.05)
        waited = run_queue_ns(thread.native_id)
        assert waited is not None
        assert run_queue_ns(thread.native_id) == waited
    finally:
        leave.set()
        thread.join(PATIENCE)


RIVAL = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
print("there", flush=True)
while True: pass
"""


def test_threads_that_compute_on_one_core() -> None:
    """Two processes on one core: each gets a part of it, and waits in the queue for the rest."""
    is_over = threading.Event()
    cores = os.sched_getaffinity(0)
    rival = subprocess.Popen([sys.executable, "-c", RIVAL, str(min(cores))], stdout=subprocess.PIPE)
    assert rival.stdout is not None
    thread = threading.Thread(target=spin, args=(is_over,))
    thread.start()
    try:
        assert thread.native_id is not None
        os.sched_setaffinity(thread.native_id, {min(cores)})
        rival.stdout.readline()
        cpu, waited = cpu_time_ns(thread.native_id), run_queue_ns(thread.native_id)
        assert cpu is not None
        assert waited is not None
        deadline = time.monotonic() + PATIENCE
        while (cpu_time_ns(thread.native_id) or 0) < cpu + 20_000_000 or (
            run_queue_ns(thread.native_id) or 0
        ) < waited + 20_000_000:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        is_over.set()
        rival.kill()
        rival.stdout.close()
        rival.wait()
        thread.join(PATIENCE)


@pytest.mark.parametrize("read", READERS)
def test_a_thread_that_has_ended(read: Callable[[int | None], object]) -> None:
    """Nothing; nor of one that is not known, or never was."""
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    await_end(thread.native_id)
    assert [read(thread.native_id), read(None), read(2**22 + 1)] == [None, None, None]


def test_a_thread_whose_name_looks_like_the_kernels_own_words() -> None:
    """The name stands in brackets in the same line, and may hold anything."""
    with open("/proc/self/comm", "rb") as file:
        name = file.read()
    try:
        with open("/proc/self/comm", "wb") as file:
            file.write(b"a) Z (b) X 1")
        assert thread_state(os.getpid()) == "R"
    finally:
        with open("/proc/self/comm", "wb") as file:
            file.write(name.strip())
