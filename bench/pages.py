"""How long the collector takes to write its pages, and how big they are, at 10,000 jobs of which 200 are stuck."""

from __future__ import annotations

import json
from statistics import median
from typing import Any, Final

from .processes import module, started
from .report import Bound, Column, Options, Progress, Report

_JOBS: Final = 10_000
_SUSPECTS: Final = 200
_TIMES: Final = 50
_LIMIT_MS: Final = 200.0
_LIMIT_KIB: Final = 300.0
_MEANS: Final = {
    "/ together": "what is stuck: all in one incident",
    "/ apart": "what is stuck: each in an incident of its own",
    "/ of one incident": "the same, one incident with all its jobs",
    "/ of running": "200 of the jobs that run",
    "/jobs/{ref}": "one job in reading order",
    "/jobs/{ref}.txt": "the same as text",
    "/jaeger/api/traces/{id}": "one open trace",
    "/jaeger/api/traces": "a search for 100 of them",
}


def run(options: Options) -> Report:
    """Ask for each page in fresh processes."""
    jobs, suspects = options.of(_JOBS, 80), options.of(_SUSPECTS, 10)
    number = options.rounds_of(3)
    progress = Progress("pages", number)
    figures: dict[str, list[dict[str, Any]]] = {name: [] for name in _MEANS}
    for _ in range(number):
        with started(module("bench.pages_ask", jobs, suspects, options.of(_TIMES, 2))) as asker:
            asker.wait(300)
            for name, one in json.loads(asker.line("result ").partition(" ")[2]).items():
                figures[name].append(one)
        progress.step()
    home = [one for name, ones in figures.items() if name.startswith("/ ") for one in ones]
    return Report(
        "pages",
        f"how long a page takes at {jobs:,} jobs of which {suspects} are stuck",
        [
            Column("cpu", "CPU ms", 1),
            Column("cpu_max", "worst", 1),
            Column("wall", "wall ms", 1),
            Column("wall_max", "worst", 1),
            Column("kib", "KiB", 1),
        ],
        [_row(name, ones) for name, ones in figures.items()],
        bounds=[
            Bound(
                f"/ takes less than {_LIMIT_MS:.0f} ms of CPU, at worst", max(one["cpu_max"] for one in home), _LIMIT_MS
            ),
            Bound(
                f"/ takes less than {_LIMIT_MS:.0f} ms by the clock, median",
                median(one["wall"] for one in home),
                _LIMIT_MS,
            ),
            Bound(f"/ is smaller than {_LIMIT_KIB:.0f} KiB, at worst", max(one["kib"] for one in home), _LIMIT_KIB),
        ],
        notes=["From the request to the last byte within the collector's process, without the socket."],
        packages=("jinja2", "starlette"),
    )


def _row(name: str, ones: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "variant": name,
        "means": _MEANS[name],
        "cpu": median(one["cpu"] for one in ones),
        "cpu_max": max(one["cpu_max"] for one in ones),
        "wall": median(one["wall"] for one in ones),
        "wall_max": max(one["wall_max"] for one in ones),
        "kib": max(one["kib"] for one in ones),
    }
