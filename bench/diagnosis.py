"""What the watcher pays to look at late jobs: a sample, a diagnosis, the search for a lock's holder."""

from __future__ import annotations

import json
from statistics import median
from typing import Any, Final

from .processes import module, started
from .report import Bound, Column, Options, Progress, Report

_JOBS: Final = 50
_SAMPLES: Final = 1000
_SECONDS: Final = 6


def run(options: Options) -> Report:
    """Measure in fresh processes, so that each round has its cold start."""
    jobs, samples = options.of(_JOBS, 10), options.of(_SAMPLES, 20)
    number = options.rounds_of(5)
    progress = Progress("diagnosis", number)
    found: list[dict[str, Any]] = []
    for _ in range(number):
        with started(module("bench.diagnosis_worker", jobs, samples, options.of(_SECONDS, 1))) as worker:
            worker.wait(300)
            found.append(json.loads(worker.line("result ").partition(" ")[2]))
        progress.step()
    figures = {key: [value for one in found for value in one[key]] for key in _MEANS}
    figures["locks_cold"] = [one["locks"][0] for one in found]
    frames = median(figures["frames"])
    share = _share(found, jobs)
    busy = median(one["busy_watched"] / one["busy_alone"] for one in found)
    return Report(
        "diagnosis",
        f"CPU of the watcher for {jobs} late jobs that wait",
        [Column("p50", "µs", 1), Column("p99", "p99 µs", 1), Column("ratio", "× frames", 1)],
        [_row(key, means, figures[key], frames) for key, means in (*_MEANS.items(), _COLD)],
        bounds=[
            Bound("a sample of one late job takes at most 50 µs", median(figures["sample"]), 50),
            Bound("a full diagnosis takes at most 1,000 µs", median(figures["again"]), 1000),
            Bound(
                "the search for a lock's holder takes at most 50,000 µs, cold", median(figures["locks_cold"]), 50_000
            ),
            Bound("… in slices of at most 5,000 µs", max(figures["slices"]), 5000),
            Bound(f"{jobs} late jobs take at most 0.1 % of a core", share * 100, 0.1),
            Bound("a job that computes keeps its speed while it is sampled ten times a second", busy, 0.97, True),
        ],
        ratios={"busy job, sampled ÷ alone": busy, "sample ÷ sys._current_frames": median(figures["sample"]) / frames},
        notes=[
            "Thread CPU time. The jobs wait for a lock, an event, a queue, a peer, time; their stacks are 25 deep.",
            "0.1 % of a core: of each interval of 15 s the three samples, and a diagnosis each minute.",
        ],
    )


_MEANS: Final = {
    "frames": "sys._current_frames() of all threads: the least that a look costs",
    "first": "the first sample of a job",
    "sample": "a sample, nothing has changed",
    "diagnosis": "the second sample, which diagnoses: cold, with the search for the lock",
    "again": "a diagnosis alone, warm",
    "locks": "the search for a lock and its holder, among all threads",
    "slices": "its slices",
}
_COLD: Final = ("locks_cold", "the first search in a process")


def _row(key: str, means: str, values: list[float], frames: float) -> dict[str, Any]:
    ordered = sorted(values)
    return {
        "variant": key.replace("_", ", "),
        "means": means,
        "p50": median(ordered),
        "p99": ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)],
        "ratio": median(ordered) / frames,
    }


def _share(found: list[dict[str, Any]], jobs: int) -> float:
    """The share of a core: three samples an interval, a diagnosis a minute, for each job."""
    interval = found[0]["interval"]
    sample = median(value for one in found for value in one["sample"])
    again = median(value for one in found for value in one["again"])
    return float(jobs * (3 * sample / interval + again / 60) / 1e6)
