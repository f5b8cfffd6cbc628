"""The watcher: one native daemon thread a process, which looks at the registry and sends what is to be said.

Started by the first job, never by an import; its errors are its own: said once, then it is quiet.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from opentelemetry.instrumentation.utils import suppress_instrumentation

from .announce import OVERSLEPT, Announcer
from .evidence import installed
from .export import Exporter
from .failures import told_of
from .heartbeat import Heartbeat
from .native import Signal, Turns, start_thread
from .records import Record

_logger = logging.getLogger(__name__)

_GATHER_SECONDS: Final = 0.05
_FAILURES_MAX: Final = 20


class Watcher:
    """Drives the announcer and the exporter until the process ends."""

    def __init__(
        self,
        announcer: Announcer,
        exporter: Exporter,
        turns: Turns,
        *,
        tick: float,
        interval: float,
        metrics: bool = True,
    ) -> None:
        self._announcer = announcer
        self._exporter = exporter
        self._tick = tick
        self._interval = interval
        self._wake = Signal()
        self._farewell: Signal | None = None
        self._turns = turns
        self._has_metrics = metrics
        self._heartbeat: Heartbeat | None = None
        self._beat_at = 0.0
        self._failures = 0
        """One after the other."""
        self._has_warned = False

    def start(self) -> None:
        """Start the thread."""
        self._announcer.begin(time.monotonic())
        start_thread(self._run)

    def wake(self) -> None:
        """Look now rather than at the next tick; never blocks."""
        self._wake.set()

    def goodbye(self, seconds: float) -> bool:
        """Say that the process stops, and wait until it is said, at most *seconds*; not at all if nobody listens."""
        self._announcer.say("stopped")
        return self.flush(seconds)

    def flush(self, seconds: float) -> bool:
        """Wait until all that is known is said, at most *seconds*; not at all if nobody listens."""
        if not self._exporter.is_open(time.monotonic()):
            return False
        self._farewell = done = Signal()
        self.wake()
        return done.wait(seconds)

    def _run(self) -> None:
        with suppress_instrumentation():  # a new thread: its context is empty
            installed.learn()  # while the disk answers: a job that hangs later may hang for that
            while self._failures < _FAILURES_MAX:
                due = time.monotonic() + self._tick
                if not self._wake.wait(self._tick):
                    self._announcer.lag = max(time.monotonic() - due, 0.0)
                elif self._farewell is None:
                    self._wake.wait(_GATHER_SECONDS)  # jobs end in flocks: one request for all of them
                farewell = self._farewell
                try:
                    self._look()
                    self._failures = 0
                except Exception as error:  # the one boundary: whatever goes wrong here stays here
                    self._failed(told_of(error))
                if farewell is not None:
                    self._farewell = None
                    farewell.set()

    def _look(self) -> None:
        # Each turn may cost us seconds where native code keeps the interpreter: then all is said in one.
        is_hurried = self._announcer.lag >= OVERSLEPT
        self._turns.begin(is_late=is_hurried)
        now = time.monotonic()
        if self._has_metrics and self._heartbeat is None:
            self._heartbeat = Heartbeat(lambda: self._announcer.open_runs(time.monotonic()))
            self._announcer.on_job_ended = self._heartbeat.ended
        may_announce = self._exporter.is_open(now)
        self._announcer.dropped = self._exporter.dropped
        records: list[Record] = []
        for record in self._announcer.look(now, time.time_ns(), may_announce=may_announce):
            if record is not None:
                records.append(record)
            self._turns()
        self._beat(now)
        if not self._exporter.send(records, now, is_hurried=is_hurried) and may_announce:
            self._announcer.send_all_again()

    def _beat(self, now: float) -> None:
        if self._heartbeat is not None and now - self._beat_at >= self._interval:
            self._beat_at = now
            self._heartbeat.beat()

    def _failed(self, told: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            _logger.warning("lastspan: the watcher failed; the job runs on (%s)", told)
        self._failures += 1
        if self._failures == _FAILURES_MAX:
            _logger.error("lastspan: the watcher failed %d times and is off in this process", _FAILURES_MAX)
