"""Who finds the hangs: the real collector on what workers say, and three baselines on the truth itself.

The baselines are given more than they would have: exact durations, no lost records, no skewed clocks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from lastspan.collector.serve.config import check
from lastspan.collector.serve.pipeline import Pipeline

from .parameters import SILENT, WEEK, Parameters
from .world import Run

_SECOND_NS = 1_000_000_000
_MIN_RUNS = 20
_BEAT, _MISSED = 15.0, 3


@dataclass(frozen=True, slots=True)
class Alarm:
    """The first alarm for a run."""

    at: float
    page: bool = True
    basis: str = ""
    where: str = ""
    """The span that decided, and by which rule."""


class Collector:
    """The real pipeline with a clock that is held: bytes in, suspects out."""

    def __init__(self, parameters: Parameters) -> None:
        self._now_ns = 10**15
        learning = {"learning": dict(parameters.learning)}
        settings = check(learning, "bench")
        self.pipeline = Pipeline(
            limits=settings.limits(),
            policy=settings.policy(settings.learner()),
            clock=lambda: self._now_ns,
            stopwatch=lambda: 0,
        )
        self.alarms: dict[int, Alarm] = {}
        """By run."""

    def second(self, now: float, requests: list[bytes]) -> None:
        """Take in what arrives in a second, and look."""
        self._now_ns = 10**15 + int(now * _SECOND_NS)
        for body in requests:
            self.pipeline.accept_logs(body, transport="bench")
        for _ in self.pipeline.tick():
            pass
        for job in self.pipeline.tracker.suspects.values():
            run = int(job.job_id)
            if run not in self.alarms:
                severity = job.suspect_state.severity.value if job.suspect_state is not None else ""
                verdict = self.pipeline.view.verdict(job)
                where = f"{job.state.value} {verdict.last.span.name}: {verdict.allowance.rule}"
                self.alarms[run] = Alarm(now, severity == "page", verdict.allowance.basis.value, where)
        for job in reversed(self.pipeline.tracker.ended.values()):
            if job.end is None or job.end.at_ns < self._now_ns:
                break
            if job.end.outcome == "killed":
                self.alarms.setdefault(int(job.job_id), Alarm(now, where=f"ended: {job.end.reason}"))


def fixed_timeout(runs: list[Run], parameters: Parameters) -> dict[int, Alarm]:
    """Twice the longest healthy run of the first week, by job: what people set who look at their dashboards."""
    longest: dict[str, float] = defaultdict(float)
    for run in runs:
        if run.healthy and run.end <= WEEK:
            longest[run.job.name] = max(longest[run.job.name], run.end - run.start)
    return _beyond(runs, parameters, lambda run: 2 * longest.get(run.job.name, math.inf))


def three_sigma(runs: list[Run], parameters: Parameters) -> dict[int, Alarm]:
    """Mean + 3 σ of the runs of a job that have ended before."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    ended = sorted((run for run in runs if run.end < math.inf), key=lambda run: run.end)
    allowed: dict[int, float] = {}
    place = 0
    for run in sorted(runs, key=lambda run: run.start):
        while place < len(ended) and ended[place].end <= run.start:
            seconds = ended[place].end - ended[place].start
            total = sums[ended[place].job.name]
            total[0], total[1], total[2] = total[0] + 1, total[1] + seconds, total[2] + seconds * seconds
            place += 1
        count, sum1, sum2 = sums[run.job.name]
        if count >= _MIN_RUNS:
            mean = sum1 / count
            allowed[run.id] = mean + 3 * math.sqrt(max(0.0, sum2 / count - mean * mean))
    return _beyond(runs, parameters, lambda run: allowed.get(run.id, math.inf))


def heartbeat(runs: list[Run], parameters: Parameters) -> dict[int, Alarm]:
    """Three missed beats of 15 s: what queues do. A worker whose job hangs goes on beating."""
    return {run.id: Alarm(run.hang_at + _MISSED * _BEAT) for run in runs if run.hang in SILENT}


def _beyond(runs: list[Run], parameters: Parameters, allowed: Any) -> dict[int, Alarm]:
    found = {}
    for run in runs:
        limit = allowed(run)
        if run.start + limit < ended(run, parameters):
            found[run.id] = Alarm(run.start + limit)
    return found


def ended(run: Run, parameters: Parameters) -> float:
    """Return when a run ended, or was ended."""
    return min(run.end, run.hang_at + parameters.hang_hold) if run.hang else run.end
