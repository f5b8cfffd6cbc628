"""A fleet of workers, their jobs and their hangs: what truly happens, and what the workers say of it.

Nothing here knows how hangs are found. Time is simulated; one seed makes one world.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from .parameters import AZURE_LOG_MEAN, AZURE_SIGMA, DAY, HANGS, HOUR, IN_CALLS_AND_LOCKS, SHOP, Job, Parameters, Phase

_SAMPLED = 60
"""Calls of a loop that are drawn one by one; each stands for some of the others."""
_WINDOW = 45.0
"""A span of a name that has not been seen for so long is movement."""
_PROGRESS = 30.0
"""A loop that tells of its progress does so that often."""
_SPANS = {
    "http call": ("POST partner", "http"),
    "database query": ("SELECT stock", "db"),
    "database lock": ("UPDATE stock", "db"),
    "distributed lock": ("lock stock", "lock"),
    "lock of the process": ("lock cache", "lock"),
    "socket": ("recv feed", "other"),
}
_BESIDE = [Phase(name, kind, 0.1, 1.0) for name, kind in _SPANS.values() if kind != "lock"]


@dataclass(slots=True)
class Call:
    """A span of a run."""

    name: str
    kind: str
    start: float
    end: float
    """inf: it hangs."""
    id: int = 0


@dataclass(slots=True)
class Run:
    """One run of a job: what truly happens."""

    job: Job
    id: int
    start: float
    end: float
    """inf: until somebody ends it."""
    calls: list[Call]
    durations: list[tuple[str, float, int]]
    """Of calls that end, beside those in `calls`: name, seconds, how often."""
    movements: list[float]
    hang: str = ""
    hang_at: float = 0.0
    recovers: bool = False

    @property
    def healthy(self) -> bool:
        """Whether nothing was done to it."""
        return not self.hang


def jobs_of(parameters: Parameters) -> list[Job]:
    """Return the kinds of jobs of a fleet."""
    if parameters.fleet != "azure":
        return list(SHOP)
    chance = random.Random(parameters.seed)
    drawn = sorted(math.exp(chance.gauss(AZURE_LOG_MEAN, AZURE_SIGMA)) for _ in range(parameters.azure_jobs))
    drawn = [min(median, 2 * HOUR) for median in drawn]
    weights = [1 / math.sqrt(1 + median) / (1 + median / 60) for median in drawn]
    return [
        _azure_job(chance, index, median, parameters.azure_per_day * weight / sum(weights))
        for index, (median, weight) in enumerate(zip(drawn, weights, strict=True))
    ]


def _azure_job(chance: random.Random, index: int, median: float, per_day: float) -> Job:
    """Return a job of a typical duration: a third of it in each of three calls or its own code."""
    sigma = chance.uniform(0.4, 1.1)
    kinds = chance.choices(("http", "db", "other"), (4, 4, 2), k=3)
    phases = tuple(
        Phase(
            f"{kind} {index}.{place}" if kind != "other" else "", kind, median / 3, sigma, tail=0.002 * (kind == "http")
        )
        for place, kind in enumerate(kinds)
    )
    return Job(f"function-{index}", per_day, phases, moves=chance.random() < 0.7)


class World:
    """Draws runs."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.jobs = jobs_of(parameters)
        self._chance = random.Random(parameters.seed)
        self._ids = count(1)
        self.slowed: str = ""
        """The job that the present deploy slows."""
        self.version = 1

    def arrivals(self, until: float) -> Iterator[tuple[float, Job]]:
        """Yield when which job is wanted: by day and night, in bursts, nightly."""
        heap: list[tuple[float, int, Job]] = []
        for index, job in enumerate(self.jobs):
            first = 2 * HOUR if job.nightly else self._gap(job, 0.0)
            heapq.heappush(heap, (first, index, job))
        while heap:
            at, index, job = heapq.heappop(heap)
            if at > until:
                continue
            yield at, job
            following = at + DAY if job.nightly else at + self._gap(job, at)
            heapq.heappush(heap, (following, index, job))

    def _gap(self, job: Job, now: float) -> float:
        p = self.parameters
        rate = job.per_day * p.volume / DAY * (1 + p.day_swing * math.sin(2 * math.pi * (now / DAY - 0.3)))
        burst_every = DAY / p.bursts_per_day
        if now % burst_every > burst_every - p.burst_length:
            rate *= p.burst_times
        return self._chance.expovariate(rate)

    def deploy(self) -> None:
        """Another version: some slow a job down."""
        self.version += 1
        self.slowed = ""
        if self._chance.random() < self.parameters.deploy_slows:
            self.slowed = self._chance.choice(self.jobs).name

    def run(self, job: Job, start: float) -> Run:
        """Draw what happens in a run that starts now."""
        run = Run(job, next(self._ids), start, start, [], [], [start])
        p, hung = self.parameters, None
        if self._chance.random() < p.hang_share + min(0.1, p.hang_per_second * _typical(job)):
            run.hang = self._chance.choices(list(HANGS), list(HANGS.values()))[0]
            hung = self._chance.choices(job.phases, [phase.median * phase.times for phase in job.phases])[0]
        slow = 2.0 if job.name == self.slowed else 1.0
        seen = {job.name: start}
        if self._chance.random() < p.beside:
            self._phase(run, self._chance.choice(_BESIDE), slow, seen)
        for phase in job.phases:
            if phase is hung:
                self._hang(run, phase, slow)
                break
            self._phase(run, phase, slow, seen)
        return run

    def _phase(self, run: Run, phase: Phase, slow: float, seen: dict[str, float]) -> None:
        if phase.name and run.end - seen.get(phase.name, -1e9) > _WINDOW:
            run.movements.append(run.end)
        many = self._many(phase)
        if many == 1:
            self._call(run, phase, self._draw(phase, slow) + self._tail(phase))
        else:
            self._loop(run, phase, many, slow)
        if phase.name:
            seen[phase.name] = run.end

    def _call(self, run: Run, phase: Phase, seconds: float) -> None:
        start, run.end = run.end, run.end + seconds
        if phase.name and seconds >= 1.0:
            run.calls.append(Call(phase.name, phase.kind, start, run.end, next(self._ids)))
        elif phase.name:
            run.durations.append((phase.name, seconds, 1))

    def _loop(self, run: Run, phase: Phase, many: int, slow: float) -> None:
        """Many calls: a sample of them stands for all; those of the tail are drawn one by one, at random places."""
        start, drawn = run.end, [self._draw(phase, slow) for _ in range(min(many, _SAMPLED))]
        if phase.name:
            run.durations += [(phase.name, seconds, many // len(drawn)) for seconds in drawn]
        ordinary = sum(drawn) * many / len(drawn)
        places = sorted(self._chance.random() for _ in range(self._rare(many * phase.tail)))
        before = 0.0
        for place in places:
            run.end += ordinary * (place - before)
            self._call(run, phase, self._draw(phase, slow) + self._pareto())
            before = place
        run.end += ordinary * (1 - before)
        if run.job.moves:
            self._progress(run, start, run.end)

    def _progress(self, run: Run, start: float, end: float) -> None:
        run.movements += [start + step * _PROGRESS for step in range(1, int((end - start) / _PROGRESS) + 1)]

    def _rare(self, mean: float) -> int:
        """Draw how many, by Poisson."""
        number, at = 0, self._chance.expovariate(1.0)
        while at < mean:
            number, at = number + 1, at + self._chance.expovariate(1.0)
        return number

    def _many(self, phase: Phase) -> int:
        if phase.times == 1:
            return 1
        return max(2, int(phase.times * math.exp(self._chance.gauss(0, phase.times_sigma))))

    def _draw(self, phase: Phase, slow: float) -> float:
        return phase.median * slow * math.exp(self._chance.gauss(0, phase.sigma))

    def _tail(self, phase: Phase) -> float:
        return self._pareto() if phase.tail and self._chance.random() < phase.tail else 0.0

    def _pareto(self) -> float:
        p = self.parameters
        return min(p.pareto_max, p.pareto_from * self._chance.paretovariate(p.pareto_alpha))

    def _hang(self, run: Run, phase: Phase, slow: float) -> None:
        """Have a run hang somewhere in a phase, for good or for long."""
        p, hang, start = self.parameters, run.hang, run.end
        run.hang_at = start + self._draw(phase, slow) * self._many(phase) * self._chance.random()
        run.end = math.inf
        if run.job.moves and phase.times > 1:
            self._progress(run, start, run.hang_at)
        if hang not in IN_CALLS_AND_LOCKS:
            return
        run.recovers = self._chance.random() < p.hang_recovers
        if run.recovers:
            run.end = run.hang_at + max(1200.0, p.hang_recovers_median * math.exp(self._chance.gauss(0, 0.5)))
        # In a call that the job makes anyway where it has one of that kind, else in one that it makes rarely.
        name, kind = _SPANS[hang]
        own = [phase for phase in run.job.phases if phase.kind == kind and kind in {"http", "db"}]
        name = own[0].name if own else name
        run.calls.append(Call(name, kind, run.hang_at, run.end, next(self._ids)))
        run.movements.append(run.hang_at)


def _typical(job: Job) -> float:
    """Return how long a job typically takes, in seconds."""
    return sum(phase.median * phase.times for phase in job.phases)


@dataclass(slots=True, order=True)
class Event:
    """Something that happens."""

    at: float
    number: int
    what: str = field(compare=False)
    subject: object = field(compare=False)
