"""The worker's metrics, through the user's own metrics pipeline: jobs that are open, their age, a beat for each tick.

All of it on the watcher's thread or in the reader's: nothing on the job's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from opentelemetry.metrics import CallbackOptions, Observation, get_meter

from lastspan.semconv import METRICS, metrics
from lastspan.semconv import attributes as a

from ..guest.version import VERSION

if TYPE_CHECKING:
    from ..registry.run import Run

OpenRuns: TypeAlias = "Callable[[], Sequence[tuple[Run, float]]]"
"""Open runs and their ages, s."""


class Heartbeat:
    """The instruments; made by the first beat, so that a process without jobs has none."""

    def __init__(self, open_runs: OpenRuns) -> None:
        global _current
        _current = self
        meter = get_meter("lastspan", VERSION)
        self._open_runs = open_runs
        self._job_beat = meter.create_counter(**_as(metrics.JOB_HEARTBEAT))
        self._process_beat = meter.create_counter(**_as(metrics.PROCESS_HEARTBEAT))
        self._duration = meter.create_histogram(**_as(metrics.JOB_DURATION))
        meter.create_observable_up_down_counter(callbacks=[_active], **_as(metrics.JOB_ACTIVE))
        meter.create_observable_gauge(callbacks=[_age], **_as(metrics.JOB_AGE))

    def beat(self) -> None:
        """One tick: the process is alive, and so is each open job."""
        self._process_beat.add(1)
        for key, count in Counter(_key(run) for run, _ in self._open_runs()).items():
            self._job_beat.add(count, dict(key))

    def ended(self, run: Run, seconds: float, outcome: str) -> None:
        """A job ended."""
        self._duration.record(seconds, {**dict(_key(run)), a.OUTCOME: outcome})

    def active(self) -> Iterable[Observation]:
        """Open jobs, by kind."""
        for key, count in Counter(_key(run) for run, _ in self._open_runs()).items():
            yield Observation(count, dict(key))

    def age(self) -> Iterable[Observation]:
        """The age of the oldest open job of each kind."""
        oldest: dict[tuple[tuple[str, str], ...], float] = {}
        for run, age in self._open_runs():
            oldest[_key(run)] = max(age, oldest.get(_key(run), 0.0))
        for key, age in oldest.items():
            yield Observation(age, dict(key))


_current: Heartbeat | None = None
"""The one of this process: an instrument is made once, outlives a fork, and keeps the callback of its making."""


def _active(options: CallbackOptions) -> Iterable[Observation]:
    return _current.active() if _current is not None else ()


def _age(options: CallbackOptions) -> Iterable[Observation]:
    return _current.age() if _current is not None else ()


def _key(run: Run) -> tuple[tuple[str, str], ...]:
    return (a.JOB_NAME, run.name), (a.JOB_QUEUE, run.queue), (a.JOB_SYSTEM, run.system)


def _as(name: str) -> dict[str, Any]:
    declared = METRICS[name]
    return {"name": declared.name, "unit": declared.unit, "description": declared.brief}
