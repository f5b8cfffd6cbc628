"""How soon a collector knows again what it knew, and what keeping it costs: the own journal beside SQLite."""

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
    "own": "frames in files of our own, written on the loop",
    "sqlite": "SQLite, WAL, synchronous NORMAL, brought to the disk once a second",
    "full": "the same with synchronous FULL: each commit, ten a second, waits for the disk",
}


def run(options: Options) -> Report:
    """Each in a fresh process: fill a collector, keep it, restore another one from the files."""
    spans, number = options.of(100_000, 2_000), options.rounds_of(_ROUNDS)
    progress = Progress("restore", number * len(_KINDS))
    taken: dict[str, list[dict[str, float]]] = {kind: [] for kind in _KINDS}
    for _ in range(number):
        for kind in _KINDS:
            taken[kind].append(_measure(spans, kind))
            progress.step()
    rows: list[dict[str, Any]] = [
        {
            "variant": kind,
            "means": means,
            **{name: median(one[name] for one in taken[kind]) for name in taken[kind][0]},
        }
        for kind, means in _KINDS.items()
    ]
    slowest = max(max(row["log_s"], row["snapshot_s"]) for row in rows)
    return Report(
        "restore",
        "how soon is all known again, and what does keeping it cost?",
        [
            Column("loop_us", "µs a record, on the loop"),
            Column("beside_us", "beside it"),
            Column("all_us", "µs a record, all the collector"),
            Column("late_ms", "loop late, ms p99"),
            Column("log_bytes", "bytes a span: log", 0),
            Column("snapshot_bytes", "with a snapshot", 0),
            Column("snapshot_us", "µs to snapshot one"),
            Column("log_s", "s to restore from the log"),
            Column("snapshot_s", "from a snapshot"),
        ],
        rows,
        bounds=[Bound("all is known again within half a minute", slowest, _RESTORE_S)],
        notes=[
            f"{spans:,} open spans, half jobs, half calls, 16 a process; 9,600 a second. CPU time but for restoring."
        ],
    )


def _measure(spans: int, kind: str) -> dict[str, float]:
    with started(module("bench.restore_fill", spans, kind)) as process:
        process.wait(900)
        result: dict[str, float] = json.loads(process.line("result ").partition(" ")[2])
        return result


if __name__ == "__main__":
    sys.exit("python -m bench restore")
