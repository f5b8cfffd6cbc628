"""Blocked event loops: a ping that does not come back, and the task that blocks the loop.

Only while a late job runs on the loop: a ping wakes it, and an idle loop is to stay asleep. Loops are known by weak
references and forgotten when nobody asks for them any more. All of it belongs to the watcher's thread; only
`_Ping.arrive` runs on a loop, and it sets one field.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeAlias
from weakref import ref

from .. import python
from ..objects import futures
from .hubs import Hub

Loop: TypeAlias = "asyncio.AbstractEventLoop | Hub"

_FORGET_AFTER: Final = 60.0
"""A loop that nobody asked for in this time is none of a late job's any more, s."""
_LATE_AFTER: Final = 0.25
"""A ping that takes no longer than this says nothing: cores are shared, s."""
_STALL_SECONDS: Final = 2.0
"""Between two calls more than this many times the usual: it was the watcher that did not run."""


class _Ping:
    """One question to a loop, asked at *sent* (s, monotonic): do you run?"""

    __slots__ = ("beats", "has_arrived", "sent")

    def __init__(self, sent: float) -> None:
        self.sent = sent
        self.has_arrived = False
        self.beats = 0
        """How often it was found still on its way."""

    def arrive(self) -> None:
        """Called by the loop."""
        self.has_arrived = True


class _WatchedLoop:
    """What is known of one loop."""

    __slots__ = ("asked", "loop", "ping", "step", "thread")

    def __init__(self, loop: Loop, now: float, thread: int) -> None:
        self.loop = ref(loop)
        self.ping = _Ping(now)
        self.asked = now
        self.step = 0.0
        """The usual time between two calls."""
        self.thread = thread
        """`threading.get_ident()` of the thread that runs it; 0: not known."""


class Loops:
    """The event loops of late jobs. Each is to be pinged once at every look, for as long as the job is late."""

    def __init__(self) -> None:
        self._known: dict[int, _WatchedLoop] = {}

    def ping(self, loop: Loop, now: float, thread: int = 0) -> None:
        """Ask a loop whether it runs; *thread* is the one that does. One question at a time is on its way."""
        self._forget(now)
        known = self._of(loop)
        if known is None:
            known = self._known[id(loop)] = _WatchedLoop(loop, now, thread)
            self._ask(known, loop, now)
            return
        has_overslept = known.step > 0 and now - known.asked > _STALL_SECONDS * known.step
        known.step = now - known.asked if not has_overslept else known.step
        known.asked, known.thread = now, thread or known.thread
        if known.ping.has_arrived:
            self._ask(known, loop, now)
        elif has_overslept:  # the whole process stood still, or this thread did: count anew
            known.ping.sent, known.ping.beats = now, 0
        elif now > known.ping.sent:
            known.ping.beats += 1

    def lag(self, loop: Loop, now: float) -> float:
        """Return for how long a loop does not run, s; 0: it does, or it was not seen late at two looks."""
        known = self._of(loop)
        if known is None or known.ping.has_arrived or known.ping.beats < 2 or not _runs(loop):
            return 0.0
        late = now - known.ping.sent
        return late if late > _LATE_AFTER else 0.0

    def culprit(self, loop: Loop) -> tuple[asyncio.Task[Any] | None, int]:
        """Return the task that keeps a loop busy (None: a callback), and the thread that runs it (0: not known)."""
        known = self._of(loop)
        task = None if type(loop) is Hub else python.current_task(loop)
        return task, known.thread if known is not None else 0

    def clear(self) -> None:
        """Forget all: the late jobs are over, or this is a child process."""
        self._known.clear()

    def __len__(self) -> int:
        return len(self._known)

    def _of(self, loop: Loop) -> _WatchedLoop | None:
        known = self._known.get(id(loop))
        return known if known is not None and known.loop() is loop else None

    def _forget(self, now: float) -> None:
        gone = [key for key, one in self._known.items() if one.loop() is None or now - one.asked > _FORGET_AFTER]
        for key in gone:
            del self._known[key]

    def _ask(self, known: _WatchedLoop, loop: Loop, now: float) -> None:
        known.ping = _Ping(now)
        arrive = known.ping.arrive
        is_asked = loop.call_soon(arrive) if type(loop) is Hub else futures.call_soon(loop, arrive)
        if not is_asked:  # closed, or of a kind that cannot be asked
            known.ping.has_arrived = True


def _runs(loop: Loop) -> bool:
    if type(loop) is Hub:
        return not loop.is_closed()
    return futures.is_running(loop) and not futures.is_closed(loop)
