"""The interpreter's own threads and locks, also where gevent has put its own in their place.

A watcher that is a greenlet sleeps as long as the job that blocks the hub. All of it is looked up when lastspan is
loaded: a job's thread imports nothing for us.
"""

from __future__ import annotations

import _thread
import math
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Final

_ALL_SIGNALS: Final = signal.valid_signals()


def _original(module: str, name: str) -> Any:
    """Return *module.name* as it was before gevent patched it; what it patches later stays native here."""
    if "gevent.monkey" in sys.modules:
        from gevent import monkey

        return monkey.get_original(module, name)
    return getattr(sys.modules[module], name)


_start_new_thread: Final[Callable[..., int]] = _original("_thread", "start_new_thread")
_allocate_lock: Final[Callable[[], _thread.LockType]] = _original("_thread", "allocate_lock")
native_ident: Final[Callable[[], int]] = _original("_thread", "get_ident")
"""The ident of the thread that calls, never a greenlet's."""
_sleep: Final[Callable[[float], None]] = _original("time", "sleep")
"""A greenlet's would make a hub in our thread."""


def start_thread(function: Callable[[], None]) -> None:
    """Run *function* in a native thread that never delays the interpreter's exit.

    Not a `threading.Thread`, whose start waits for the new thread to run. RuntimeError: none can be started now.
    """

    def run() -> None:
        # The host's signals are its own threads': one that blocks them, to wait for them, must get them.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ALL_SIGNALS)
        function()

    _start_new_thread(run, ())


class NativeLock:
    """A native lock for one thread; nobody waits for it for longer than a timeout."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = _allocate_lock()

    def acquire(self, seconds: float = 0.0) -> bool:
        """Acquire; False: another thread has held it for *seconds*."""
        return self._lock.acquire(timeout=seconds) if seconds else self._lock.acquire(blocking=False)

    def release(self) -> None:
        """Give it back."""
        self._lock.release()


class GilYielder:
    """Releases the GIL to the host's threads once our time slice is over.

    Each time costs one of their calls a wait, so neither too often nor too late: half a millisecond.
    """

    __slots__ = ("_began",)

    SLICE_SECONDS: Final = 0.0005

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def __call__(self) -> None:
        """Yield the GIL, if the slice is over."""
        if time.perf_counter() - self._began >= self.SLICE_SECONDS:
            _sleep(0)
            self._began = time.perf_counter()

    def begin_slice(self, *, never: bool = False) -> None:
        """A slice begins now: we have just slept. *is_late*: for too long, so do not yield in this slice."""
        self._began = math.inf if never else time.perf_counter()


class AutoResetEvent:
    """A flag to wait for, made of one native lock; setting it never blocks."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = _allocate_lock()
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
