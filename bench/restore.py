"""How soon a collector knows again what it knew, and what keeping it costs: a memory of many open spans."""

from __future__ import annotations

import json
import sys
from statistics import median
from typing import Any, Final

from .processes import module, started
from .report import Bound, Column, Options, Progress, Report

_ROUNDS: Final = 3
_RESTORE_S: Final = 30.0
_KINDS: Final = {
    "forgets": "without --data-dir",
    "keeps": "with it: SQLite, committed ten times a second, on the disk once a second",
}


def run(options: Options) -> Report:
    """Each in a fresh process: fill a collector, keep it, restore another one from the file."""
    spans, number = options.of(1_000_000, 2_000), options.rounds_of(_ROUNDS)
    progress = Progress("restore", number * len(_KINDS))
    taken: dict[str, list[dict[str, float]]] = {kind: [] for kind in _KINDS}
    for _ in range(number):
        for kind in _KINDS:
            taken[kind].append(_measure(spans, kind))
            progress.step()
    medians = {kind: {name: median(one[name] for one in found) for name in found[0]} for kind, found in taken.items()}
    keeps = medians["keeps"]
    rows: list[dict[str, Any]] = [{"variant": kind, "means": means, **medians[kind]} for kind, means in _KINDS.items()]
    return Report(
        "restore",
        "how soon is all known again, and what does keeping it cost?",
        [
            Column("all_us", "µs a record"),
            Column("loop_us", "to keep it, on the loop"),
            Column("beside_us", "beside it"),
            Column("late_ms", "loop late, ms p99", 1),
            Column("log_bytes", "bytes a span", 0),
            Column("snapshot_bytes", "after a snapshot", 0),
            Column("snapshot_us", "µs to snapshot one"),
            Column("log_s", "s to restore from the log", 1),
            Column("log_cpu_s", "CPU s", 1),
            Column("snapshot_s", "from a snapshot", 1),
            Column("snapshot_cpu_s", "CPU s", 1),
        ],
        rows,
        bounds=[
            Bound("all is known again within half a minute", max(keeps["log_s"], keeps["snapshot_s"]), _RESTORE_S),
        ],
        ratios={"all, keeps ÷ forgets": keeps["all_us"] / medians["forgets"]["all_us"]},
        notes=[
            f"{spans:,} open spans, half jobs, half calls, 16 a process. CPU time, of a record among the first 96,000,"
            " which come at 9,600 a second; wall time of restoring, and beside it its CPU time."
        ],
    )


def _measure(spans: int, kind: str) -> dict[str, float]:
    with started(module("bench.restore_fill", spans, kind)) as process:
        process.wait(1200)
        result: dict[str, float] = json.loads(process.line("result ").partition(" ")[2])
        return result


if __name__ == "__main__":
    sys.exit("python -m bench restore")
