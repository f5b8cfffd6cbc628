"""Plain processes that nobody watches: killed, or with the interpreter's lock held again and again."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
from typing import Any

from tests.e2e.causes.way import JOB, own_wait, way


def _kill(job: dict[str, Any]) -> None:
    os.kill(job["pid"], signal.SIGKILL)


def _stop(job: dict[str, Any]) -> None:
    os.kill(job["pid"], signal.SIGSTOP)


@way("worker_lost", fault=_kill, states=frozenset({"lost"}))
def killed_program() -> None:
    time.sleep(3600)  # <- stops here


@way(
    "worker_lost",
    "worker_frozen",
    because="nobody looks at the process from outside: silent is all that is known",
    fault=_stop,
    states=frozenset({"lost", "frozen"}),
)
def stopped_program() -> None:
    time.sleep(3600)  # <- stops here


@way(
    "gil_held",
    "cpu_loop",
    because="a loop without an end, each of whose calls keeps the interpreter's lock for seconds",
    span=JOB,
    is_heavy=True,
    states=frozenset({"stuck", "lost", "frozen"}),
)
def regex_again_and_again() -> None:
    time.sleep(2)
    while True:
        re.match(r"(a+)+$", "a" * 26 + "b")  # <- stops here


@way(
    "unknown",
    "waiting",
    "lock_wait",
    because="native code waits for something that no frame and no descriptor names",
    span=own_wait(),
)
def native_code_that_waits() -> None:
    libc = ctypes.CDLL(None)
    semaphore = ctypes.create_string_buffer(64)
    libc.sem_init(semaphore, 0, 0)
    libc.sem_wait(semaphore)  # <- stops here
