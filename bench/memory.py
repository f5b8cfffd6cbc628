"""Memory of the collector for each open span: the growth of the resident set of a fresh process."""

from __future__ import annotations

import json
from statistics import median
from typing import Any, Final

from .processes import module, started
from .report import Bound, Column, Options, Progress, Report

_LIMIT: Final = 600.0
_ROUNDS: Final = 1
_BIG: Final = ("plain", "evidence")
"""What is measured at a million, too."""
_KINDS: Final = {
    "plain": "half jobs, half HTTP or DB calls; 16 open spans a process; 500 URLs, 16 queries",
    "prefork": "the same, but 2 open spans a process: one job and its call",
    "urls": "the first, but each HTTP call has a URL of its own, which no two spans share",
    "evidence": "the first, and each call with thread, code line and a stack of 18 frames: 32 different ones",
    "stacks": "the same, but no two stacks are equal",
}


def run(options: Options) -> Report:
    """Fill a fresh process for each row."""
    small, big = options.of(100_000, 400), options.of(1_000_000, 800)
    cases = [(small, kind) for kind in _KINDS] + [(big, kind) for kind in _BIG]
    number = options.rounds_of(_ROUNDS)
    taken: dict[tuple[int, str], list[dict[str, Any]]] = {case: [] for case in cases}
    progress = Progress("memory", number * len(cases))
    for _ in range(number):
        for size, kind in cases:
            taken[size, kind].append(_fill(size, kind))
            progress.step(f"{size} {kind}")
    rows = [_row(size, kind, taken) for size, kind in cases]
    plain, prefork = (next(row["bytes"] for row in rows if row["variant"] == kind) for kind in ("plain", "prefork"))
    a_process = (prefork - plain) / (1 / 2 - 1 / 16)
    return Report(
        "memory",
        "bytes that an open span takes in the collector",
        [
            Column("spans", "open spans", 0),
            Column("bytes", "bytes a span", 0),
            Column("evidence", "of it evidence", 0),
            Column("rss", "RSS MiB", 0),
        ],
        rows,
        bounds=[
            Bound(
                f"at most {_LIMIT:.0f} bytes an open span without evidence",
                max(row["bytes"] for row in rows if row["variant"] == "plain"),
                _LIMIT,
            )
        ],
        ratios={"bytes of a process": a_process, "bytes of a span without its process": plain - a_process / 16},
        notes=[
            "Growth of the resident set in a fresh process; records go through decode, track and the ticks.",
            "Everything is in: job and process rows, timer wheel, ids (Celery's UUIDs), indexes, decoding caches.",
            f"By 'plain' and 'prefork' a process takes {a_process:,.0f} bytes, a span {plain - a_process / 16:,.0f}.",
            f"Medians of {number} round(s). Evidence is capped by `evidence_max` and `evidence_total`.",
            "'of it evidence': beyond the plain one; every second span has a stack.",
        ],
        packages=("msgspec", "protobuf"),
    )


def _fill(size: int, kind: str) -> dict[str, Any]:
    with started(module("bench.memory_fill", size, kind)) as filled:
        filled.wait(600)
        result: dict[str, Any] = json.loads(filled.line("result ").partition(" ")[2])
        return result


def _row(size: int, kind: str, taken: dict[tuple[int, str], list[dict[str, Any]]]) -> dict[str, Any]:
    def middle(of: str) -> float:
        return median(float(result["bytes"]) for result in taken[size, of])

    one = taken[size, kind][0]
    return {
        "variant": kind,
        "spans": one["spans"],
        "jobs": one["jobs"],
        "processes": one["processes"],
        "attributes": one["attributes"],
        "bytes": middle(kind),
        "evidence": middle(kind) - middle("plain") if kind in {"evidence", "stacks"} else None,
        "rss": one["rss"] / 2**20,
        "means": _KINDS[kind],
    }
