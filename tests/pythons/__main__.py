"""`python -m tests.pythons`: the tests that need no servers, on each Python that can be had; then a table.

Exit status 1: something is not as it must be. A Python that cannot be had is said, and no reason to fail.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from tests.pythons import compatibility
from tests.pythons.compatibility import Row
from tests.pythons.environments import ROOT, VERSIONS, Environment, NotHereError, environment, here

CHECKS = ("evidence", "conformance", "demo", "causes", "span")
_WITHOUT_SERVERS = ["-q", "-p", "no:cacheprovider", "-rfE"]


@click.command()
@click.argument("versions", nargs=-1)
@click.option("--only", multiple=True, type=click.Choice(CHECKS), help="which checks; all by default")
@click.option("--opentelemetry", type=click.Choice(["newest", "oldest"]), default="newest", show_default=True)
@click.option("--newest", is_flag=True, help="only the newest Python that can be had")
@click.option("--write", is_flag=True, help="note the results in docs/compatibility.md")
@click.option("--logs", type=click.Path(path_type=Path), help="folder for what the checks print")
def main(
    versions: tuple[str, ...], only: tuple[str, ...], opentelemetry: str, newest: bool, write: bool, logs: Path | None
) -> None:
    """Run the checks on these VERSIONS of Python; on 3.10 … 3.15 by default."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    environments = _newest(console) if newest else _each(console, versions or VERSIONS, opentelemetry)
    rows = []
    for one in environments:
        rows.append(_check(console, one, only or CHECKS, logs))
        if write:
            compatibility.note(rows[-1:])
    console.print(_table(rows))
    sys.exit(0 if all(row.is_good for row in rows) else 1)


def _each(console: Console, versions: tuple[str, ...], opentelemetry: str) -> list[Environment]:
    found = []
    for version in versions:
        try:
            found.append(environment(version, opentelemetry))
        except NotHereError as why:
            console.print(f"Python {version} is left out: {why}")
    return found


def _newest(console: Console) -> list[Environment]:
    """Return the newest of all, or else the newest that this machine has itself; none: there is nothing to run."""
    for version in dict.fromkeys((VERSIONS[-1], *here())):
        if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
            break
        try:
            return [environment(version, seconds=_QUICKLY)]
        except NotHereError as why:
            console.print(f"Python {version} is left out: {why}")
    console.print("no newer Python than the one of the tests can be had here: nothing is run")
    return []


_QUICKLY = 90.0
"""In which an environment is to be made, s: a chroot of sid with all in it took 65 s on two cores."""


def _check(console: Console, one: Environment, checks: tuple[str, ...], logs: Path | None) -> Row:
    """Run the checks in one environment."""
    about = json.loads(one.run("python", "-m", "tests.pythons.about", seconds=120).stdout.splitlines()[-1])
    row = Row(**about, is_sid=one.is_sid)
    for check in checks:
        began = time.monotonic()
        log = None if logs is None else logs / f"{one.version}-{one.opentelemetry}-{check}.log"
        said, is_good = _RUNS[check](one, log)
        row.said[check], row.good[check] = said, is_good
        console.print(f"Python {row.python}, {check}: {said} ({time.monotonic() - began:.0f} s)", highlight=False)
    return row


def _pytest(one: Environment, log: Path | None, *folders: str) -> tuple[str, bool]:
    done = one.run("python", "-m", "pytest", *_WITHOUT_SERVERS, *folders, seconds=1800, log=log)
    lines = [line for line in done.stdout.splitlines() if line.strip()] or ["it printed nothing"]
    for line in lines:
        if line.startswith(("FAILED", "ERROR")):
            print(line, file=sys.stderr)
    return lines[-1].strip("= ").partition(" in ")[0], done.returncode == 0


def _evidence(one: Environment, log: Path | None) -> tuple[str, bool]:
    return _pytest(one, log, "tests/instrumentation/evidence")


def _conformance(one: Environment, log: Path | None) -> tuple[str, bool]:
    return _pytest(one, log, "tests/instrumentation", "tests/semconv", "--ignore=tests/instrumentation/evidence")


def _demo(one: Environment, log: Path | None) -> tuple[str, bool]:
    done = one.run("lastspan", "demo", "--once", seconds=600, log=log)
    return f"exit status {done.returncode}", done.returncode == 0


def _causes(one: Environment, log: Path | None) -> tuple[str, bool]:
    shares = one.folder / "causes.json"
    shares.unlink(missing_ok=True)
    done = one.run("python", "-m", "tests.e2e.causes", "--no-servers", "--json", str(shares), seconds=7200, log=log)
    if not shares.exists():
        return f"exit status {done.returncode}", False
    found = [json.loads(line) for line in shares.read_text().splitlines()]
    return compatibility.shares(found), compatibility.is_enough(found)


def _span(one: Environment, log: Path | None) -> tuple[str, bool]:
    for peers in (ROOT / "bench").glob(".venv-bench-*"):  # made with another Python
        shutil.rmtree(peers)
    done = one.run("python", "-m", "bench", "span", "--json", seconds=1800, log=log)
    return compatibility.ratio(done.stdout), done.returncode == 0


_RUNS = {"evidence": _evidence, "conformance": _conformance, "demo": _demo, "causes": _causes, "span": _span}


def _table(rows: list[Row]) -> Table:
    table = Table("Python", "SDK", "OS", *CHECKS)
    for row in rows:
        table.add_row(row.python, row.sdk, row.os, *(row.said.get(check, "") for check in CHECKS))
    return table


if __name__ == "__main__":
    main()
