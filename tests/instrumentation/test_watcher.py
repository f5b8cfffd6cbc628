"""The watcher's thread: woken, late, failing, and the goodbye."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from tests.sink import Sink

from lastspan.instrumentation.announce.announcer import Announcer
from lastspan.instrumentation.announce.watcher import Watcher
from lastspan.instrumentation.config.settings import WorkerSettings
from lastspan.instrumentation.guest.identity import Identity
from lastspan.instrumentation.guest.native import AutoResetEvent, GilYielder
from lastspan.instrumentation.registry.spans import OpenSpans
from lastspan.instrumentation.send.endpoint import Destination
from lastspan.instrumentation.send.export import Exporter
from lastspan.instrumentation.send.records import Record


class Looks(Announcer):
    """An announcer that counts its looks, and fails at those that it is told to."""

    def __init__(self, fails: Callable[[int], bool] = lambda count: False) -> None:
        super().__init__(OpenSpans(), Identity(), WorkerSettings())
        self.count = 0
        self._fails = fails
        self._looked = threading.Condition()

    def collect(self, now: float, wall_ns: int, *, may_announce: bool) -> Iterator[Record | None]:
        with self._looked:
            self.count += 1
            self._looked.notify_all()
        if self._fails(self.count):
            raise ZeroDivisionError
        return super().collect(now, wall_ns, may_announce=may_announce)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._looked:
            assert self._looked.wait_for(condition, 20), self.count


Watchers = Callable[..., Watcher]


@pytest.fixture
def watcher(sink: Sink) -> Iterator[Watchers]:
    """Makes watchers, and ends them."""
    made: list[Watcher] = []

    def make(looks: Looks, *, tick: float, pause_max: float = 1) -> Watcher:
        def exporter() -> Exporter:
            return Exporter(Destination(f"{sink.url}/v1/logs", "a test"), dict, pause_max=pause_max)

        made.append(Watcher(looks, exporter, GilYielder(), tick=tick, interval=60, metrics=False))
        return made[-1]

    yield make
    for one in made:
        one.shutdown(0)


def test_it_looks_at_each_tick_and_when_woken(watcher: Watchers) -> None:
    """Woken, it does not wait for the tick."""
    ticking = Looks()
    watcher(ticking, tick=0.01).start()
    ticking.wait_for(lambda: ticking.count >= 5)
    sleeping = Looks()
    asleep = watcher(sleeping, tick=3600)
    asleep.start()
    for woken in range(1, 4):
        asleep.wake()
        sleeping.wait_for(lambda woken=woken: sleeping.count >= woken)  # type: ignore[misc]


class _Unlistable(list[str]):
    """In the place of `sys.path`."""

    def __iter__(self) -> Iterator[str]:
        raise LookupError


def test_it_watches_though_it_cannot_learn_what_is_installed(
    watcher: Watchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks()
    watching = watcher(looks, tick=0.01)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "path", _Unlistable(sys.path))
        watching.start()
        looks.wait_for(lambda: looks.count >= 2)


def test_goodbye_is_said_and_waited_for(sink: Sink, watcher: Watchers) -> None:
    """True when it is sent: the last record says that the process stopped."""
    looks = Looks()
    leaving = watcher(looks, tick=3600)
    leaving.start()
    assert leaving.shutdown(20)
    assert sink.of("lastspan.process.state")[-1]["lastspan.process.status"] == "stopped"


def test_goodbye_does_not_wait_for_nobody(sink: Sink, watcher: Watchers) -> None:
    """While sending pauses after a failure, the end of the process is not held up at all."""
    sink.mode = "503"
    leaving = watcher(Looks(), tick=0.01, pause_max=30)
    leaving.start()
    deadline = time.monotonic() + 20
    while leaving._exporter is None or leaving._exporter.is_open(time.monotonic()):
        assert time.monotonic() < deadline
    assert leaving.shutdown(60) is False


def test_failures_are_said_once_and_end_it_at_last(watcher: Watchers, caplog: pytest.LogCaptureFixture) -> None:
    """Twenty in a row: then it is off in this process, and says so; a goodbye returns all the same."""
    caplog.set_level(logging.WARNING, logger="lastspan.instrumentation")
    looks = Looks(fails=lambda count: True)
    failing = watcher(looks, tick=0.001)
    failing.start()
    deadline = time.monotonic() + 20
    while "lastspan is disabled in this process" not in caplog.text:
        assert time.monotonic() < deadline
    assert looks.count == 20
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert "(ZeroDivisionError < " in caplog.records[0].getMessage()  # what, and where
    assert failing.shutdown(60) is False  # nobody is there to wait for


def test_failures_now_and_then_are_forgiven(watcher: Watchers, caplog: pytest.LogCaptureFixture) -> None:
    """One in a while does not add up over the life of a worker."""
    looks = Looks(fails=lambda count: count % 3 != 0)
    watching = watcher(looks, tick=0.001)
    watching.start()
    looks.wait_for(lambda: looks.count >= 100)
    deadline = time.monotonic() + 20
    while "the watcher failed" not in caplog.text:
        assert time.monotonic() < deadline
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    assert watching.shutdown(20)


def test_a_signal() -> None:
    """Set twice is set once; waiting clears it; without, waiting ends with the time."""
    signal = AutoResetEvent()
    assert not signal.wait(0)
    signal.set()
    signal.set()
    assert signal.wait(0)
    assert not signal.wait(-1)
    threading.Thread(target=signal.set).start()
    assert signal.wait(20)
