"""Locks on files, across processes."""

from __future__ import annotations

import fcntl
import time
from typing import IO

from tests.e2e.causes.place import here, ready
from tests.e2e.causes.way import lock, way


def write_index() -> None:
    with open(here().path("index.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ready()
        time.sleep(3600)


@way("lock_wait", span=lock("(index.lock|file)"), beside=(write_index,), where="process", held_by="write_index")
def flock_of_another_process() -> None:
    with open(here().path("index.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # <- stops here


def write_state() -> None:
    with open(here().path("state"), "w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        ready()
        time.sleep(3600)


@way("lock_wait", span=lock("(state|file)"), beside=(write_state,), where="process", held_by="write_state")
def posix_lock_of_another_process() -> None:
    with open(here().path("state"), "w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)  # <- stops here


def build_cache() -> None:
    from filelock import FileLock

    with FileLock(here().path("cache.lock")):
        ready()
        time.sleep(3600)


@way("lock_wait", span=lock("cache.lock"), beside=(build_cache,), where="process", held_by="build_cache")
def filelock_of_another_process() -> None:
    from filelock import FileLock

    with FileLock(here().path("cache.lock")):  # <- stops here
        pass


def take_b_then_a() -> None:
    with open(here().path("a"), "w") as a, open(here().path("b"), "w") as b:
        fcntl.flock(b, fcntl.LOCK_EX)
        ready()
        _wait_until_taken(a)
        fcntl.flock(a, fcntl.LOCK_EX)


def _wait_until_taken(file: IO[str]) -> None:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        fcntl.flock(file, fcntl.LOCK_UN)
        time.sleep(0.1)


@way("deadlock", span=lock("(b|file)"), beside=(take_b_then_a,), where="process", held_by="take_b_then_a")
def deadlock_of_two_files() -> None:
    with open(here().path("a"), "w") as a, open(here().path("b"), "w") as b:
        fcntl.flock(a, fcntl.LOCK_EX)
        fcntl.flock(b, fcntl.LOCK_EX)  # <- stops here
