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
from ..guest.errors import describe_error
from ..guest.native import AutoResetEvent, GilYielder, start_thread
from ..send.export import Exporter
from ..send.records import Record
from .announcer import STALL_SECONDS, Announcer
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
        gil_yielder: GilYielder,
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
        self._wake = AutoResetEvent()
        self._flush_request: AutoResetEvent | None = None
        self._is_stopping = False
        self._has_ended = False
        self._gil_yielder = gil_yielder
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
        """Run a tick now rather than at the next interval; never blocks."""
        self._wake.set()

    def shutdown(self, seconds: float) -> bool:
        """Report that the process stops, and wait at most *seconds* for it; not at all if the collector is down.

        The thread ends with it.
        """
        self._announcer.set_status("stopped")
        return self.flush(seconds, stop=True)

    def flush(self, seconds: float, *, stop: bool = False) -> bool:
        """Wait until all records are sent, at most *seconds*; not at all if the collector is down.

        *is_over*: the thread ends with it, so that the process is silent from then on.
        """
        exporter, done = self._exporter, AutoResetEvent()
        listens = not self._has_ended and (exporter is None or exporter.is_open(time.monotonic()))
        if listens:
            self._flush_request = done
        self._is_stopping = stop  # after the farewell: the thread reads it before
        self.wake()
        return listens and done.wait(seconds)

    def _run(self) -> None:
        try:
            self._watch()
        finally:
            self._has_ended = True

    def _watch(self) -> None:
        with log.mute_sdk_on_this_thread(), suppress_instrumentation():  # a new thread: its context is empty
            self._run_guarded(installed.learn)  # while the disk answers: a job that hangs later may hang for that
            while self._failures < _FAILURES_MAX:
                self._sleep()
                is_stopping = self._is_stopping
                flush_request = self._flush_request
                self._run_guarded(self._run_tick)
                log.write_in_thread()
                if flush_request is not None:
                    self._flush_request = None
                    flush_request.set()
                if is_stopping:
                    return

    def _run_guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
            self._failures = 0
        except Exception as error:  # the one boundary: whatever goes wrong here stays here
            self._failed(describe_error(error))

    def _sleep(self) -> None:
        due = time.monotonic() + self._tick
        if not self._wake.wait(self._tick):
            self._announcer.lag = max(time.monotonic() - due, 0.0)
        elif self._flush_request is None:
            self._wake.wait(_GATHER_SECONDS)  # jobs end in flocks: one request for all of them

    def _run_tick(self) -> None:
        if self._exporter is None:
            self._exporter = self._make_exporter()
        exporter = self._exporter
        # Each release of the GIL may cost seconds while native code holds it: then do everything in one slice.
        gil_contended = self._announcer.lag >= STALL_SECONDS
        self._gil_yielder.begin_slice(never=gil_contended)
        now = time.monotonic()
        if self._has_metrics and self._heartbeat is None:
            self._heartbeat = Heartbeat(lambda: self._announcer.open_runs(time.monotonic()))
            self._announcer.on_job_ended(self._heartbeat.ended)
        may_announce = exporter.is_open(now)
        self._announcer.dropped = exporter.dropped
        records: list[Record] = []
        for record in self._announcer.collect(now, time.time_ns(), may_announce=may_announce):
            if record is not None:
                records.append(record)
            self._gil_yielder()
        self._beat(now)
        if not exporter.send(records, now, gil_contended=gil_contended) and may_announce:
            self._announcer.resend_all()

    def _beat(self, now: float) -> None:
        if self._heartbeat is not None and now - self._beat_at >= self._interval:
            self._beat_at = now
            self._heartbeat.beat()

    def _failed(self, description: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning("lastspan: the watcher failed; jobs are not affected (%s)", description)
        self._failures += 1
        if self._failures == _FAILURES_MAX:
            _log.error("lastspan: the watcher failed %d times; lastspan is disabled in this process", _FAILURES_MAX)
