"""How long the collector's look at its jobs keeps the receiver waiting, at a million open spans."""

from __future__ import annotations

import json
from statistics import median
from typing import Any, Final

from .processes import module, started
from .report import Bound, Column, Options, Progress, Report

_SPANS: Final = 1_000_000
_TICKS: Final = 100
_LIMIT_MS: Final = 50.0


def run(options: Options) -> Report:
    """Fill, warm up and time the ticks in a fresh process; another one for each round."""
    spans, ticks, number = options.of(_SPANS, 640), options.of(_TICKS, 5), options.rounds_of(1)
    progress = Progress("tick", number)
    rows = []
    for turn in range(number):
        with started(module("bench.tick_churn", spans, ticks)) as churn:
            churn.wait(900)
            rows += _rows(turn, json.loads(churn.line("result ").partition(" ")[2]))
        progress.step()
    return Report(
        "tick",
        f"how long each of {ticks} ticks takes at {spans:,} open spans",
        [
            Column("p50", "p50 ms", 1),
            Column("p90", "p90 ms", 1),
            Column("p99", "p99 ms", 1),
            Column("max", "max ms", 1),
            Column("spans", "open spans", 0),
            Column("suspects", "suspects", 0),
            Column("silent", "silent processes", 0),
        ],
        rows,
        bounds=[
            Bound(
                f"p99 of {ticks} ticks stops the receiver for less than {_LIMIT_MS:.0f} ms",
                max(row["p99"] for row in rows if row["variant"] == "longest stop"),
                _LIMIT_MS,
            )
        ],
        notes=[
            "A tick comes four times a second and is cut into slices; between two of them the receiver has its turn.",
            "Between ticks, as in 250 ms of life: a sixtieth of all processes report; every fourth of these says its",
            "spans again; 0.5 % have ended their jobs and begun others; 1 % have fallen silent for good.",
            "One job in 32 hangs in a call that is beyond its allowance. Wall time of a held clock's ticks.",
        ],
        packages=("msgspec", "protobuf"),
    )


def _rows(turn: int, said: dict[str, Any]) -> list[dict[str, Any]]:
    facts = {name: said[name] for name in ("spans", "suspects", "silent")} | {"round": turn}
    return [
        {"variant": "longest stop", "means": "of each tick: its longest slice", **_figures(said["stops"]), **facts},
        {"variant": "whole tick", "means": "of each tick: all its slices", **_figures(said["totals"]), **facts},
    ]


def _figures(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)

    def percentile(percent: int) -> float:
        return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]

    return {"p50": median(ordered), "p90": percentile(90), "p99": percentile(99), "max": ordered[-1]}
