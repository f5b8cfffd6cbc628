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
"""Calls of a loop that are drawn one by one; more are as these, on the whole."""
_WINDOW = 45.0
"""A span of a name that has not been seen for so long is movement."""
_SPANS = {
    "http call": ("POST partner", "http"),
    "database query": ("SELECT stock", "db"),
    "database lock": ("UPDATE stock", "db"),
    "distributed lock": ("lock stock", "lock"),
    "lock of the process": ("lock cache", "lock"),
    "socket": ("recv feed", "other"),
}


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
    durations: list[tuple[str, float]]
    """Of calls that end, beside those in `calls`."""
    movements: list[float]
    hang: str = ""
    hang_at: float = 0.0
    recovers: bool = False
    week: int = 0

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
        rate = job.per_day / DAY * (1 + p.day_swing * math.sin(2 * math.pi * (now / DAY - 0.3)))
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
        run = Run(job, next(self._ids), start, start, [], [], [start], week=int(start // (7 * DAY)))
        p = self.parameters
        if self._chance.random() < p.hang_share + min(0.1, p.hang_per_second * _typical(job)):
            run.hang = self._chance.choices(list(HANGS), list(HANGS.values()))[0]
        hang_phase = self._chance.randrange(len(job.phases)) if run.hang else -1
        slow = 2.0 if job.name == self.slowed else 1.0
        at, seen = start, {job.name: start}
        for index, phase in enumerate(job.phases):
            if index == hang_phase and self._hang(
                run, at + self._draw(phase, slow) * self._chance.random() * self._many(phase)
            ):
                return run
            at = self._phase(run, phase, at, slow, seen)
        run.end = at
        return run

    def _phase(self, run: Run, phase: Phase, at: float, slow: float, seen: dict[str, float]) -> float:
        many = self._many(phase)
        if phase.name and at - seen.get(phase.name, -1e9) > _WINDOW:
            run.movements.append(at)
        drawn = [self._draw(phase, slow) for _ in range(min(many, _SAMPLED))]
        end = at + sum(drawn) * many / len(drawn)
        if phase.name:
            seen[phase.name] = end
            if many == 1 and drawn[0] >= 1.0:
                run.calls.append(Call(phase.name, phase.kind, at, end, next(self._ids)))
            else:
                run.durations += [(phase.name, seconds) for seconds in drawn]
        if many > 1 and run.job.moves:
            run.movements += [at + step * 30.0 for step in range(1, int((end - at) / 30.0) + 1)]  # progress()
        return end

    def _many(self, phase: Phase) -> int:
        if phase.times == 1:
            return 1
        return max(1, int(phase.times * math.exp(self._chance.gauss(0, phase.times_sigma))))

    def _draw(self, phase: Phase, slow: float) -> float:
        p = self.parameters
        seconds = phase.median * slow * math.exp(self._chance.gauss(0, phase.sigma))
        if phase.tail and self._chance.random() < phase.tail:
            seconds += min(p.pareto_max, p.pareto_from * self._chance.paretovariate(p.pareto_alpha))
        return seconds

    def _hang(self, run: Run, at: float) -> bool:
        """Have a run hang from *at*; True: the run is complete."""
        p, hang = self.parameters, run.hang
        run.hang_at, run.end = at, math.inf
        run.recovers = hang in IN_CALLS_AND_LOCKS and self._chance.random() < p.hang_recovers
        if run.recovers:
            hold = max(1200.0, p.hang_recovers_median * math.exp(self._chance.gauss(0, 0.5)))
            run.end = at + hold
        if hang in IN_CALLS_AND_LOCKS:
            # In a call that the job makes anyway where it has one of that kind, else in one that it makes rarely.
            name, kind = _SPANS[hang]
            own = [phase for phase in run.job.phases if phase.kind == kind and phase.name]
            name = own[0].name if own and kind != "lock" else name
            run.calls.append(Call(name, kind, at, run.end, next(self._ids)))
            run.movements.append(at)
        return True


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
