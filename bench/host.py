"""How long the host waits in `span.end()`, and at its exit, whatever the collector does."""

from __future__ import annotations

import json
import random
import time
from array import array
from statistics import median
from typing import Any, Final

from .processes import folder, module, started
from .report import Bound, Column, Options, Progress, Report

_CALLS: Final = 100_000
_OPEN: Final = 10
_ROUNDS: Final = 7
_WAIT: Final = 6.0
"""Seconds before the first end: what is open is late by then, announced, and the collector's mood is known."""
_P999_TIMES: Final = 2.0
_EXIT_SECONDS: Final = 1.0
_SLOW_NS: Final = 20_000
_BASE: Final = "without lastspan"
_AGAIN: Final = "without, again"
_BARE: Final = "bare, without"
_BARE_OURS: Final = "bare, unreachable"
_MOODS: Final = {
    _BASE: "OpenTelemetry as workers run it: spans go in batches to a collector that takes them",
    _AGAIN: "the same again: the noise of this table",
    "fine": "and lastspan; its collector takes everything",
    "unreachable": "and lastspan; nobody listens there: connections are refused",
    "silent": "and lastspan; the collector accepts connections and never answers",
    "503": "and lastspan; the collector answers 503 Service Unavailable",
    _BARE: "OpenTelemetry without any exporter: a no-op processor; no bound",
    _BARE_OURS: "and lastspan, its collector unreachable; no bound",
}
_BARE_MOODS: Final = {_BARE: "without", _BARE_OURS: "unreachable"}


class _Taken:
    """What the processes of one variant saw; of each round a figure."""

    def __init__(self) -> None:
        self.figures: dict[str, list[float]] = {name: [] for name in ("p50", "p99", "p99.9", "max", "slow", "exit")}
        """µs; calls of 10⁵ that were slow; from the last line of the program to the end of the process, s."""
        self.lines = 0
        """Log lines; the worst round's."""
        self.exceptions = 0

    def take(self, times: array[int], result: dict[str, Any]) -> None:
        """Take one round's: how long each `span.end()` took, ns, and what else the process said."""
        ends = sorted(times)
        slow = sum(end > _SLOW_NS for end in ends) * 100_000 / len(ends)
        taken = [ends[int(len(ends) * percent / 100)] / 1000 for percent in (50, 99, 99.9)]
        for values, figure in zip(self.figures.values(), (*taken, ends[-1] / 1000, slow, result["exit"]), strict=True):
            values.append(figure)
        self.lines = max(self.lines, result["lines"])
        self.exceptions += result["exceptions"]


def run(options: Options) -> Report:
    """Each variant in a process of its own, all in each round, in a new order each time."""
    calls, number = options.of(_CALLS, 2000), options.rounds_of(_ROUNDS)
    wait = 0.0 if options.quick else _WAIT
    taken = {mood: _Taken() for mood in _MOODS}
    progress = Progress("host", number * len(_MOODS))
    for _ in range(number):
        for mood in random.sample(list(_MOODS), len(_MOODS)):
            taken[mood].take(*_once(mood, calls, wait))
            progress.step(mood)
    rows = [_row(mood, taken) for mood in _MOODS]
    ours = [row for row in rows[2:] if row["variant"] not in _BARE_MOODS]
    return Report(
        "host",
        "what span.end() costs a job, by what the collector does",
        [
            Column("p50", "p50 µs", 1),
            Column("p99", "p99 µs", 1),
            Column("p99.9", "p99.9 µs", 1),
            Column("times", "÷ without"),
            Column("low", "best round", 1),
            Column("high", "worst", 1),
            Column("slow", "> 20 µs of 10⁵", 0),
            Column("max", "max µs", 0),
            Column("lines", "log lines", 0),
            Column("exceptions", "exceptions", 0),
            Column("exit_added", "exit + s"),
        ],
        rows,
        bounds=[
            Bound("p99.9 of span.end() at most 2 × without", max(row["times"] for row in ours), _P999_TIMES),
            Bound("log lines, warnings and worse: one", float(max(row["lines"] for row in ours)), 1.0),
            Bound("exceptions: none", float(max(row["exceptions"] for row in ours)), 0.0),
            Bound("process exit delayed by at most 1 s", max(row["exit_added"] for row in ours), _EXIT_SECONDS),
        ],
        ratios={f"p99.9 {row['variant']} ÷ without": row["times"] for row in rows[1:]},
        notes=[
            f"{number} rounds, a fresh process each: {calls:,} spans end in one job while {_OPEN} others stay open.",
            "The worker is as shipped; it has waited until all of its open spans are announced.",
            "Figures are medians of the rounds; best and worst: of a round; ÷ is to both rows without, together.",
            "The system alone makes about one call in a thousand slow (timers, other guests): p99.9 is on a cliff.",
            "Read it with 'without, again' and the calls over 20 µs: those above the base are lastspan's.",
            "'exit +' is the median time from the program's last line to the process's end, less the same without.",
        ],
    )


def _once(mood: str, calls: int, wait: float) -> tuple[array[int], dict[str, Any]]:
    with started(module("bench.host_server", "fine")) as backend:
        spans_to = "" if mood in _BARE_MOODS else f"http://127.0.0.1:{backend.line('port ').split()[1]}/v1/traces"
        if mood in {_BASE, _AGAIN, _BARE}:
            return _worker(calls, "without", wait, {}, spans_to)
        with started(module("bench.host_server", _BARE_MOODS.get(mood, mood))) as server:
            port = server.line("port ").split()[1]
            return _worker(calls, "with", wait, {"OTEL_LASTSPAN_ENDPOINT": f"http://127.0.0.1:{port}"}, spans_to)


def _worker(
    calls: int, with_lastspan: str, wait: float, environ: dict[str, str], spans_to: str
) -> tuple[array[int], dict[str, Any]]:
    with folder() as temporary:
        times = temporary / "times"
        with started(
            module("bench.host_worker", calls, _OPEN, with_lastspan, wait, times, spans_to), environ
        ) as worker:
            worker.wait()
            ended = time.monotonic()
            result: dict[str, Any] = json.loads(worker.line("result ").partition(" ")[2])
        result["exit"] = ended - result["ended_at"]
        return array("q", times.read_bytes()), result


def _row(mood: str, taken: dict[str, _Taken]) -> dict[str, Any]:
    mine = taken[mood]
    bases = (_BARE,) if mood in _BARE_MOODS else (_BASE, _AGAIN)
    without = {name: [value for base in bases for value in taken[base].figures[name]] for name in ("p99.9", "exit")}
    row: dict[str, Any] = {"variant": mood, "means": _MOODS[mood]}
    row |= {name: median(values) for name, values in mine.figures.items()}
    return row | {
        "times": row["p99.9"] / median(without["p99.9"]),
        "low": min(mine.figures["p99.9"]),
        "high": max(mine.figures["p99.9"]),
        "lines": mine.lines,
        "exceptions": mine.exceptions,
        "exit_added": row["exit"] - median(without["exit"]),
        "rounds": mine.figures["p99.9"],
    }
