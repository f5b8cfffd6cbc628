"""A short cut for what takes many runs: the real learner and policy on the truth itself, without workers and records.

It leaves out what only the wire knows: lost records, reports that come late, queues, restarts, a second or two until a
span is announced. Its figures are compared with each other.
"""

from __future__ import annotations

import heapq
import math
from itertools import count

from lastspan.collector.judge.policy import Allowed
from lastspan.collector.model.records import JobType, Kind
from lastspan.collector.serve.config import check
from lastspan.collector.track.learn import LearnedKey
from lastspan.instrumentation.announce.durations import DurationHistogram

from .detectors import Alarm, ended
from .parameters import SILENT, WEEK, Parameters
from .world import Call, Run, World

_SECOND_NS = 1_000_000_000
_WINDOW = 45.0
"""Movement counts for so long: three intervals."""


class Replay:
    """One world without a wire."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.runs: list[Run] = []
        self.alarms: dict[int, Alarm] = {}
        self._world = World(parameters)
        settings = check({"learning": dict(parameters.learning)}, "bench")
        self._learner = settings.learner()
        self._policy = settings.policy(self._learner)
        self._ends: list[tuple[float, int, Run, int]] = []
        self._numbers = count()

    def play(self) -> None:
        """Let all of it happen."""
        p, deploy_at = self.parameters, self.parameters.deploy_every
        for now, job in self._world.arrivals(p.weeks * WEEK):
            while deploy_at <= now:
                self._world.deploy()
                deploy_at += p.deploy_every
            while self._ends and self._ends[0][0] <= now:
                self._learn(*heapq.heappop(self._ends))
            run = self._world.run(job, now)
            self.runs.append(run)
            self._judge(run)
            if run.end < math.inf:
                heapq.heappush(self._ends, (run.end, next(self._numbers), run, self._world.version))

    def _judge(self, run: Run) -> None:
        over = ended(run, self.parameters)
        if run.hang in SILENT:
            self.alarms[run.id] = Alarm(min(run.hang_at + _WINDOW, over))
            return
        found = [alarm for call in run.calls if (alarm := self._late(run, call)) is not None]
        at = run.start + _seconds(self._policy.job(_type(run), run.job.name))
        for moved in run.movements:
            if moved > at - _WINDOW and moved <= at:
                at = moved + _WINDOW
        if at < over:
            found.append(Alarm(at))
        if found:
            self.alarms[run.id] = min(found, key=lambda alarm: alarm.at)

    def _late(self, run: Run, call: Call) -> Alarm | None:
        allowed = self._policy.allowed(_type(run), call.name, Kind(call.kind))
        if allowed is None:
            return None
        at = call.start + _seconds(allowed)
        return Alarm(at) if at < min(call.end, ended(run, self.parameters)) else None

    def _learn(self, now: float, _: int, run: Run, version: int) -> None:
        sketches: dict[str | None, DurationHistogram] = {None: DurationHistogram()}
        sketches[None].add(run.end - run.start)
        calls = [(call.name, call.end - call.start, 1) for call in run.calls]
        for name, seconds, often in (*run.durations, *calls):
            sketch = sketches.setdefault(name, DurationHistogram())
            for _often in range(often):
                sketch.add(seconds)
        for span, sketch in sketches.items():
            key, now_ns = LearnedKey("prod", "shop", run.job.name, span), 10**15 + int(now * _SECOND_NS)
            self._learner.take(key, sorted(sketch.buckets.items()), version=str(version), now_ns=now_ns)


def _type(run: Run) -> JobType:
    return JobType("shop", "prod", run.job.name, "default", "celery", None, None, None, None)


def _seconds(allowed: Allowed) -> float:
    return allowed.allowed_ns / _SECOND_NS
