"""The page says what the last runs have shown; a Python that cannot be had is said, and is no failure."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.pythons.compatibility import PAGE, Row, is_enough, page, ratio, read, shares
from tests.pythons.environments import ROOT


def test_the_page_is_what_the_results_write() -> None:
    assert PAGE.read_text() == page(read())


def test_a_row_says_what_was_not_run_and_what_failed() -> None:
    row = Row("3.16.0", "1.45.2", "0.66b2", "Debian sid, x86_64", date="2026-12-01")
    row.said, row.good = {"demo": "exit status 1"}, {"demo": False}
    assert "| 3.16.0 | 1.45.2 / 0.66b2 | Debian sid, x86_64 | not run | not run | exit status 1 ✗ | not run |" in page(
        [row]
    )
    assert not row.is_good


def test_the_bar_of_each_python() -> None:
    good = {"ways": 100, "cause": 0.98, "holder": 0.98, "confidently_wrong": 0.005}
    assert is_enough([good])
    for bad in ({"cause": 0.97}, {"holder": 0.97}, {"confidently_wrong": 0.006}):
        assert not is_enough([good, {**good, **bad}])
    assert shares([good]) == "98.0% / 98% / 0.5% of 100"


def test_what_a_benchmark_says_of_a_span() -> None:
    assert ratio('noise\n{"rows": [{"variant": "lastspan, in a job", "times": 1.0649}]}') == "1.06"
    assert ratio("it failed") == "not measured"


@pytest.mark.applies(os.geteuid() == 0, reason="gives up being root")
def test_without_the_right_to_make_a_chroot_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "deploy/sid.sh", "add", str(tmp_path / "sid"), "3.15"],
        cwd=ROOT,
        user=65534,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "lastspan: no Python from Debian sid: not root\n")
