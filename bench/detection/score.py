"""Precision, recall, time to detection and false alarms of a detector on one simulated world."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from .detectors import Alarm, Collector, ended, fixed_timeout, heartbeat, three_sigma
from .fleet import Fleet
from .parameters import HANGS, IN_CALLS_AND_LOCKS, WEEK, Parameters
from .replay import Replay
from .world import Run


@dataclass(frozen=True, slots=True)
class Score:
    """One detector."""

    detector: str
    runs: int
    hangs: int
    found: int
    false: int
    recall: float | None
    recall_calls: float | None
    """Of hangs in calls and locks."""
    precision: float | None
    precision_first_week: float | None
    median_s: float | None
    """From the beginning of a hang to its alarm; one that is not found counts with the time it lasted."""
    p99_s: float | None
    median_calls_s: float | None
    false_per_1000: float
    false_per_week: float
    pages_precision: float | None
    by_hang: dict[str, str]
    seconds_simulated: float

    def row(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)

    def line(self) -> str:
        """For people, in one line."""
        return (
            f"recall {_percent(self.recall_calls)} (all {_percent(self.recall)})  precision {_percent(self.precision)}"
            f"  median {_seconds(self.median_calls_s)} (all {_seconds(self.median_s)})  p99 {_seconds(self.p99_s)}"
            f"  false {self.false} = {self.false_per_1000:.3f} of 1000 jobs"
        )


def simulate(parameters: Parameters) -> list[Score]:
    """Run one world; return the scores: ours first, then the baselines."""
    fleet, collector = Fleet(parameters), Collector(parameters)
    for second, requests in fleet.seconds():
        collector.second(second, requests)
    return _scores("lastspan, no configuration", fleet.runs.values(), collector.alarms, parameters)


def replay(parameters: Parameters) -> list[Score]:
    """The same by the short cut."""
    found = Replay(parameters)
    found.play()
    return _scores("lastspan, replayed", found.runs, found.alarms, parameters)


def _scores(name: str, all_runs: Iterable[Run], alarms: dict[int, Alarm], parameters: Parameters) -> list[Score]:
    runs = [run for run in all_runs if _is_over(run, parameters)]
    detectors = {
        name: alarms,
        "fixed timeout": fixed_timeout(runs, parameters),
        "mean + 3 σ": three_sigma(runs, parameters),
        "heartbeat": heartbeat(runs, parameters),
    }
    return [score(name, runs, alarms, parameters) for name, alarms in detectors.items()]


def score(detector: str, runs: list[Run], alarms: dict[int, Alarm], parameters: Parameters) -> Score:
    """Compare alarms with the truth."""
    hung = [run for run in runs if not run.healthy]
    found = [run for run in hung if run.id in alarms and run.hang_at <= alarms[run.id].at < ended(run, parameters)]
    wrong = [run for run in runs if run.id in alarms and (run.healthy or alarms[run.id].at < run.hang_at)]
    first = [run for run in wrong if run.start < WEEK], [run for run in found if run.start < WEEK]
    pages = [run for run in (*found, *wrong) if alarms[run.id].page]
    weeks = parameters.weeks
    return Score(
        detector,
        len(runs),
        len(hung),
        len(found),
        len(wrong),
        _ratio(len(found), len(hung)),
        _ratio(len(_calls(found)), len(_calls(hung))),
        _ratio(len(found), len(found) + len(wrong)),
        _ratio(len(first[1]), len(first[0]) + len(first[1])),
        _quantile(_times(hung, alarms, parameters), 0.5),
        _quantile(_times(hung, alarms, parameters), 0.99),
        _quantile(_times(_calls(hung), alarms, parameters), 0.5),
        1000 * len(wrong) / max(1, len(runs)),
        len(wrong) / weeks,
        _ratio(len([run for run in pages if run in found]), len(pages)),
        {name: _of(name, hung, found) for name in HANGS},
        weeks * WEEK,
    )


def table(parameters: Parameters, scores: list[Score]) -> str:
    """Return the figures of one world as Markdown."""
    head = (
        "",
        "recall, calls and locks",
        "recall, all",
        "precision",
        "of pages",
        "first week",
        "median",
        "p99",
        "median, calls and locks",
        "false / 1000 jobs",
        "false / week",
    )
    rows = [
        (
            score.detector,
            _percent(score.recall_calls),
            _percent(score.recall),
            _percent(score.precision),
            _percent(score.pages_precision),
            _percent(score.precision_first_week),
            _seconds(score.median_s),
            _seconds(score.p99_s),
            _seconds(score.median_calls_s),
            f"{score.false_per_1000:.3f}",
            f"{score.false_per_week:.1f}",
        )
        for score in scores
    ]
    ours, timeout = scores[0], scores[1]
    ratio = (ours.median_s or 0) / (timeout.median_s or 1)
    lines = [
        f"fleet {parameters.fleet}, seed {parameters.seed}: {ours.runs:,} runs in {parameters.weeks:.2g} weeks, "
        f"{ours.hangs} of them hang",
        *("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)),
        f"median time to detection ÷ that of the fixed timeout: {ratio:.3f}",
        "found, by hang: " + ", ".join(f"{name} {text}" for name, text in ours.by_hang.items()),
    ]
    return "\n".join(lines) + "\n"


def _is_over(run: Run, parameters: Parameters) -> bool:
    return ended(run, parameters) <= parameters.weeks * WEEK


def _calls(runs: list[Run]) -> list[Run]:
    return [run for run in runs if run.hang in IN_CALLS_AND_LOCKS]


def _times(hung: list[Run], alarms: dict[int, Alarm], parameters: Parameters) -> list[float]:
    times = []
    for run in hung:
        alarm, over = alarms.get(run.id), ended(run, parameters)
        at = over if alarm is None or alarm.at < run.hang_at else min(alarm.at, over)
        times.append(at - run.hang_at)
    return times


def _of(name: str, hung: list[Run], found: list[Run]) -> str:
    return f"{sum(run.hang == name for run in found)}/{sum(run.hang == name for run in hung)}"


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _quantile(values: list[float], q: float) -> float | None:
    if not values:
        return None
    return median(values) if q == 0.5 else sorted(values)[min(len(values) - 1, int(q * len(values)))]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f} s"
