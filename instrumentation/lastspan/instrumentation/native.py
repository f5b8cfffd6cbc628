"""The interpreter's own threads and locks, also where gevent has put its own in their place.

A watcher that is a greenlet sleeps as long as the job that blocks the hub.
"""

from __future__ import annotations

import _thread
import math
import sys
import time
from collections.abc import Callable
from typing import Any, Final


def original(module: str, name: str) -> Any:
    """Return *module.name* as it was before gevent patched it."""
    if "gevent.monkey" in sys.modules:
        from gevent import monkey

        return monkey.get_original(module, name)
    return getattr(sys.modules[module], name)


def start_thread(function: Callable[[], None]) -> None:
    """Run *function* in a native thread that never delays the interpreter's exit."""
    original("_thread", "start_new_thread")(function, ())


def native_ident() -> int:
    """Return the ident of the thread that calls, never a greenlet's."""
    ident: int = original("_thread", "get_ident")()
    return ident


def native_sleep() -> Callable[[float], None]:
    """Return `time.sleep` itself: a greenlet's would make a hub in our thread."""
    sleep: Callable[[float], None] = original("time", "sleep")
    return sleep


class Turns:
    """Lets the host's threads run, once a turn of ours is over.

    Each time costs one of their calls a wait, so neither too often nor too late: half a millisecond.
    """

    __slots__ = ("_began", "_sleep")

    SECONDS: Final = 0.0005

    def __init__(self) -> None:
        self._sleep = native_sleep()
        self._began = time.perf_counter()

    def __call__(self) -> None:
        """Yield, if the turn is over."""
        if time.perf_counter() - self._began >= self.SECONDS:
            self._sleep(0)
            self._began = time.perf_counter()

    def begin(self, *, is_late: bool = False) -> None:
        """A turn begins now: we have just slept. *is_late*: for too long; the host had its turns, this is ours."""
        self._began = math.inf if is_late else time.perf_counter()


class Signal:
    """A flag to wait for, made of one native lock; setting it never blocks."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock: _thread.LockType = original("_thread", "allocate_lock")()
        self._lock.acquire()

    def set(self) -> None:
        """Wake the waiter; setting it twice is setting it once."""
        try:
            self._lock.release()
        except RuntimeError:  # it was set
            pass

    def wait(self, seconds: float) -> bool:
        """Wait until it is set, then clear it; False after *seconds*."""
        return self._lock.acquire(timeout=max(seconds, 0))
