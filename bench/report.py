"""What a benchmark returns, as a table for people and as one line of JSON for machines."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    rounds: int | None = None
    """None: the benchmark's own number."""
    quick: bool = False
    """As small as possible: to see that it runs. Its figures mean nothing."""

    def of(self, normal: int, quick: int) -> int:
        """Choose a size."""
        return quick if self.quick else normal

    def rounds_of(self, normal: int) -> int:
        """Choose the number of rounds."""
        return self.rounds or self.of(normal, 1)


@dataclass(frozen=True, slots=True)
class Column:
    """A figure of each row."""

    key: str
    title: str
    digits: int = 2


@dataclass(frozen=True, slots=True)
class Bound:
    """A promise of the project, beside what was measured."""

    promise: str
    measured: float | None
    """None: it could not be measured here."""
    limit: float
    at_least: bool = False
    """Whether more is better."""

    @property
    def holds(self) -> bool | None:
        """Whether it was kept in this run."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


@dataclass(frozen=True, slots=True)
class Report:
    """One run of one benchmark."""

    name: str
    question: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    """Each has `variant`, `means` (what the row is, in words) and the columns' keys; a missing figure was not taken."""
    bounds: Sequence[Bound] = ()
    ratios: Mapping[str, float | None] = field(default_factory=dict)
    """For machines; people read them in a column."""
    notes: Sequence[str] = ()
    packages: Sequence[str] = ("opentelemetry-sdk", "protobuf")


def print_table(report: Report) -> None:
    """Print for people."""
    console = Console(width=None if sys.stdout.isatty() else 180)
    table = Table(title=f"{report.name}: {report.question}", title_justify="left", title_style="bold")
    table.add_column("variant", no_wrap=True)
    for column in report.columns:
        table.add_column(column.title, justify="right")
    table.add_column("what it is", style="dim", min_width=40, ratio=1)
    for row in report.rows:
        table.add_row(row["variant"], *(_cell(row.get(c.key), c.digits) for c in report.columns), row["means"])
    console.print(table)
    for bound in report.bounds:
        answer = {True: "[green]holds[/]", False: "[red]DOES NOT HOLD[/]", None: "[yellow]not measured[/]"}[bound.holds]
        console.print(f"  {bound.promise}: {_cell(bound.measured, 2)}: {answer}", highlight=False)
    for note in report.notes:
        console.print(f"  {note}", style="dim", highlight=False)
    console.print(f"  {_date()} · {_machine()} · {_python()}", style="dim", highlight=False)


def print_json(report: Report) -> None:
    """Print one line for machines."""
    line = {
        "name": report.name,
        "date": _date(),
        "machine": _machine(),
        "python": _python(),
        "versions": {name: _version(name) for name in ("lastspan", *report.packages)},
        "rows": [dict(row) for row in report.rows],
        "ratios": dict(report.ratios),
        "bounds": [
            {
                "promise": bound.promise,
                "measured": bound.measured,
                "limit": bound.limit,
                "at_least": bound.at_least,
                "holds": bound.holds,
            }
            for bound in report.bounds
        ],
        "notes": list(report.notes),
    }
    print(json.dumps(line, ensure_ascii=False, allow_nan=False, default=str), flush=True)


class Progress:
    """One line on standard error that says how far it is."""

    def __init__(self, name: str, steps: int) -> None:
        self._name = name
        self._steps = steps
        self._done = 0
        self._began = time.monotonic()

    def step(self, what: str = "") -> None:
        """One more is done."""
        self._done += 1
        seconds = time.monotonic() - self._began
        text = f"{self._name}: {self._done}/{self._steps} {what} ({seconds:.0f} s)"
        if sys.stderr.isatty():
            end = "\n" if self._done >= self._steps else ""
            print(f"\r\x1b[K{text}", end=end, file=sys.stderr, flush=True)
        elif self._done >= self._steps or self._done % max(self._steps // 10, 1) == 0:
            print(text, file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Say on standard error what takes its time."""
    print(text, file=sys.stderr, flush=True)


def _cell(value: Any, digits: int) -> str:
    if value is None:
        return "–"
    return (
        f"{value:,.{digits}f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )


def _date() -> str:
    return time.strftime("%Y-%m-%d")


def _python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"


def _machine() -> str:
    return f"{os.cpu_count()} vCPU {_processor()}, {_system()}, {platform.machine()}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = (line.partition(":")[2].strip() for line in file if line.startswith("model name"))
            return next(names, platform.processor())
    except OSError:
        return platform.processor()


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
