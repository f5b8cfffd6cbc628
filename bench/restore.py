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
_KINDS: Final = {"log": "from the log of what was observed", "snapshot": "from a snapshot"}


def run(options: Options) -> Report:
    """Each in a fresh process: fill a collector, keep it, restore another one from the files."""
    spans, number = options.of(1_000_000, 2_000), options.rounds_of(_ROUNDS)
    progress = Progress("restore", number)
    taken = []
    for _ in range(number):
        taken.append(_measure(spans))
        progress.step()
    rows = [
        {
            "variant": kind,
            "means": means,
            "spans": taken[0]["spans"],
            **{name: median(one[kind][name] for one in taken) for name in ("write_us", "restore_s", "bytes")},
        }
        for kind, means in _KINDS.items()
    ]
    slowest = max(row["restore_s"] for row in rows)
    return Report(
        "restore",
        "how soon is all known again, and what does keeping it cost?",
        [
            Column("spans", "open spans"),
            Column("write_us", "µs to write one"),
            Column("bytes", "bytes of one", 0),
            Column("restore_s", "s to restore all", 1),
        ],
        rows,
        bounds=[Bound("all is known again within half a minute", slowest, _RESTORE_S)],
        notes=["CPU of writing; wall time of restoring. Half jobs, half calls, 16 spans a process."],
    )


def _measure(spans: int) -> dict[str, Any]:
    with started(module("bench.restore_fill", spans)) as process:
        process.wait(600)
        result: dict[str, Any] = json.loads(process.line("result ").partition(" ")[2])
        return result


if __name__ == "__main__":
    sys.exit("python -m bench restore")
