"""The interpreter's own threads and locks, also where gevent has put its own in their place.

A watcher that is a greenlet sleeps as long as the job that blocks the hub.
"""

from __future__ import annotations

import _thread
import sys
from collections.abc import Callable
from typing import Any


def original(module: str, name: str) -> Any:
    """Return *module.name* as it was before gevent patched it."""
    if "gevent.monkey" in sys.modules:
        from gevent import monkey

        return monkey.get_original(module, name)
    return getattr(sys.modules[module], name)


def start_thread(function: Callable[[], None]) -> None:
    """Run *function* in a native thread that never delays the interpreter's exit."""
    original("_thread", "start_new_thread")(function, ())


def native_sleep() -> Callable[[float], None]:
    """Return `time.sleep` itself: a greenlet's would make a hub in our thread."""
    sleep: Callable[[float], None] = original("time", "sleep")
    return sleep


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
