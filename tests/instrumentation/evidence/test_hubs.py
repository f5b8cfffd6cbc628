"""gevent's hubs answer like event loops: late while a greenlet keeps them busy, at once when it lets go."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import ref

import pytest

from lastspan.instrumentation.evidence.loops.hubs import Hubs
from lastspan.instrumentation.evidence.loops.lag import Loops

gevent = pytest.importorskip("gevent")


class Greenlets:
    """A thread with a hub: one greenlet that sleeps, and one that can keep the hub from running."""

    def __init__(self) -> None:
        self.block, self.let_go, self.is_over = threading.Event(), threading.Event(), threading.Event()
        self.is_blocked, self.is_there = threading.Event(), threading.Event()
        self.sleeper: Any = None
        self.hub: Any = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        from gevent import hub

        self.hub = hub.get_hub()
        self.sleeper = gevent.spawn(self._sleep)
        hog = gevent.spawn(self._hog)
        self.is_there.set()
        gevent.joinall([self.sleeper, hog])
        self.hub.destroy(destroy_loop=True)

    def _sleep(self) -> None:
        while not self.is_over.is_set():
            gevent.sleep(0.01)

    def _hog(self) -> None:
        while not self.is_over.is_set():
            if self.block.is_set():
                self.is_blocked.set()
                self.let_go.wait(20)
                self.block.clear()
            gevent.sleep(0.01)


@contextmanager
def greenlets() -> Iterator[Greenlets]:
    made = Greenlets()
    made.thread.start()
    assert made.is_there.wait(20)
    try:
        yield made
    finally:
        made.is_over.set()
        made.let_go.set()
        made.thread.join(20)


def test_a_hub_that_is_kept_busy() -> None:
    """Two pings that do not come back say how late it is; one that does says that it runs."""
    with greenlets() as made:
        hub = Hubs().of(made.sleeper, None)
        assert hub is not None
        loops = Loops()
        made.block.set()
        assert made.is_blocked.wait(20)
        for now in (100.0, 101.0, 102.0):
            loops.ping(hub, now)
        assert loops.lag(hub, 102.0) == 2.0
        assert loops.culprit(hub)[0] is None
        made.let_go.set()
        deadline = time.monotonic() + 20
        while loops.lag(hub, 102.0):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_the_main_greenlet_has_the_hub_that_it_began_with() -> None:
    """It has no parent; the hub is one object for all who ask."""
    with greenlets() as made:
        hubs = Hubs()
        assert hubs.of(None, ref(made.hub)) is hubs.of(made.sleeper, None)


def test_a_hub_that_is_gone() -> None:
    """It is closed, and cannot be asked: that is no lag."""
    with greenlets() as made:
        hub = Hubs().of(made.sleeper, None)
    assert hub is not None
    assert hub.is_closed()
    loops = Loops()
    for now in (1.0, 2.0, 3.0):
        loops.ping(hub, now)
    assert loops.lag(hub, 3.0) == 0.0


@pytest.mark.parametrize("thing", [None, object(), "greenlet"])
def test_what_is_no_greenlet_has_no_hub(thing: object) -> None:
    """Nothing is asked of it."""
    assert Hubs().of(thing, None) is None
