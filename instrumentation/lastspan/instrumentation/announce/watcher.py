"""The watcher: one native daemon thread per process, which samples the registry and sends records.

Started by the first job, never by an import; its errors are its own: said once, then it is quiet. A line of the log is
another thread's to say: no handler of the host's stops the watch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from opentelemetry.instrumentation.utils import suppress_instrumentation

from ..evidence.stack import installed
from ..guest import log
from ..guest.failures import told_of
from ..guest.native import Signal, Turns, start_thread
from ..send.export import Exporter
from ..send.records import Record
from .announcer import OVERSLEPT, Announcer
from .heartbeat import Heartbeat

_log = log.Log(__name__)

_GATHER_SECONDS: Final = 0.05
_FAILURES_MAX: Final = 20


class Watcher:
    """Drives the announcer and the exporter until the process ends."""

    def __init__(
        self,
        announcer: Announcer,
        make_exporter: Callable[[], Exporter],
        turns: Turns,
        *,
        tick: float,
        interval: float,
        metrics: bool = True,
    ) -> None:
        self._announcer = announcer
        self._make_exporter = make_exporter
        """Called on the watcher's thread: where the records go is no question for a job's."""
        self._exporter: Exporter | None = None
        self._tick = tick
        self._interval = interval
        self._wake = Signal()
        self._farewell: Signal | None = None
        self._is_over = False
        self._has_ended = False
        self._turns = turns
        self._has_metrics = metrics
        self._heartbeat: Heartbeat | None = None
        self._beat_at = 0.0
        self._failures = 0
        """One after the other."""
        self._has_warned = False

    def start(self) -> None:
        """Start the thread; RuntimeError: there is none to be had now."""
        self._announcer.begin(time.monotonic())
        start_thread(self._run)

    def wake(self) -> None:
        """Look now rather than at the next tick; never blocks."""
        self._wake.set()

    def goodbye(self, seconds: float) -> bool:
        """Say that the process stops, and wait until it is said, at most *seconds*; not at all if nobody listens.

        The thread ends with it.
        """
        self._announcer.say("stopped")
        return self.flush(seconds, is_over=True)

    def flush(self, seconds: float, *, is_over: bool = False) -> bool:
        """Wait until all that is known is said, at most *seconds*; not at all if nobody listens.

        *is_over*: the thread ends with it, so that the process is silent from then on.
        """
        exporter, done = self._exporter, Signal()
        listens = not self._has_ended and (exporter is None or exporter.is_open(time.monotonic()))
        if listens:
            self._farewell = done
        self._is_over = is_over  # after the farewell: the thread reads it before
        self.wake()
        return listens and done.wait(seconds)

    def _run(self) -> None:
        try:
            self._watch()
        finally:
            self._has_ended = True

    def _watch(self) -> None:
        with log.quiet_thread(), suppress_instrumentation():  # a new thread: its context is empty
            self._guarded(installed.learn)  # while the disk answers: a job that hangs later may hang for that
            while self._failures < _FAILURES_MAX:
                self._sleep()
                is_over = self._is_over
                farewell = self._farewell
                self._guarded(self._look)
                log.speak()
                if farewell is not None:
                    self._farewell = None
                    farewell.set()
                if is_over:
                    return

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
            self._failures = 0
        except Exception as error:  # the one boundary: whatever goes wrong here stays here
            self._failed(told_of(error))

    def _sleep(self) -> None:
        due = time.monotonic() + self._tick
        if not self._wake.wait(self._tick):
            self._announcer.lag = max(time.monotonic() - due, 0.0)
        elif self._farewell is None:
            self._wake.wait(_GATHER_SECONDS)  # jobs end in flocks: one request for all of them

    def _look(self) -> None:
        if self._exporter is None:
            self._exporter = self._make_exporter()
        exporter = self._exporter
        # Each turn may cost us seconds where native code keeps the interpreter: then all is said in one.
        is_hurried = self._announcer.lag >= OVERSLEPT
        self._turns.begin(is_late=is_hurried)
        now = time.monotonic()
        if self._has_metrics and self._heartbeat is None:
            self._heartbeat = Heartbeat(lambda: self._announcer.open_runs(time.monotonic()))
            self._announcer.on_job_ended(self._heartbeat.ended)
        may_announce = exporter.is_open(now)
        self._announcer.dropped = exporter.dropped
        records: list[Record] = []
        for record in self._announcer.look(now, time.time_ns(), may_announce=may_announce):
            if record is not None:
                records.append(record)
            self._turns()
        self._beat(now)
        if not exporter.send(records, now, is_hurried=is_hurried) and may_announce:
            self._announcer.send_all_again()

    def _beat(self, now: float) -> None:
        if self._heartbeat is not None and now - self._beat_at >= self._interval:
            self._beat_at = now
            self._heartbeat.beat()

    def _failed(self, told: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning("lastspan: the watcher failed; jobs are not affected (%s)", told)
        self._failures += 1
        if self._failures == _FAILURES_MAX:
            _log.error("lastspan: the watcher failed %d times; lastspan is disabled in this process", _FAILURES_MAX)
