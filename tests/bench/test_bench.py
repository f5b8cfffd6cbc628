"""Each benchmark runs, and says what it found in one line of JSON. Nothing here looks at the figures.

`visible` is not among them: it waits for real workers to be late, killed and lost.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[2]


def bench(folder: Path, *arguments: str) -> str:
    """Run `python -m bench`; return what it printed."""
    output, errors = folder / "output", folder / "errors"
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench", *arguments],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
            start_new_session=True,
        )
    try:
        assert process.wait(60) == 0, errors.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return output.read_text()


@pytest.mark.parametrize("name", ["span", "host", "diagnosis", "receive", "memory", "pages", "tick"])
def test_a_benchmark_prints_one_line_of_json(name: str, tmp_path: Path) -> None:
    """The line has rows in words, the promise of the project, and whether it held."""
    (line,) = bench(tmp_path, name, "--quick", "--json").splitlines()
    report: dict[str, Any] = json.loads(line)
    assert report["name"] == name
    assert {"date", "machine", "python", "versions", "ratios", "notes"} <= report.keys()
    assert report["rows"]
    assert all(row["variant"] and row["means"] for row in report["rows"])
    assert report["bounds"]
    assert all(bound["holds"] in (True, False, None) for bound in report["bounds"])


def test_a_table_is_for_people(tmp_path: Path) -> None:
    """It explains its rows, and says whether the promise held."""
    table = bench(tmp_path, "tick", "--quick")
    assert "longest stop" in table
    assert "what it is" in table
    assert "holds" in table or "DOES NOT HOLD" in table


def test_without_a_name_the_benchmarks_are_listed(tmp_path: Path) -> None:
    """A line each."""
    names = [line.split()[0] for line in bench(tmp_path).splitlines()]
    assert {"span", "host", "receive", "memory", "tick"} <= set(names)
