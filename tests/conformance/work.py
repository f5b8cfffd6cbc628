"""What the jobs of the suite do: the same for every framework, and at the test's command.

A ticket is the path of a job's files: it touches `<ticket>.started`, and waits for `<ticket>.go`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lastspan.instrumentation import job

_WAIT_SECONDS = 60.0
"""A job that nobody lets go is a test that failed long ago."""


class AgainError(Exception):
    """The framework is to try the job again: at once, and once."""


def quick(ticket: str) -> None:
    """Over before anybody looks."""


def hold(ticket: str) -> None:
    """Wait until the test lets it go."""
    Path(f"{ticket}.started").touch()
    deadline = time.monotonic() + _WAIT_SECONDS
    while not Path(f"{ticket}.go").exists() and time.monotonic() < deadline:
        time.sleep(0.005)


def fail(ticket: str) -> None:
    """Wait, and fail."""
    hold(ticket)
    raise ValueError("as it should")


def fail_once(ticket: str) -> None:
    """Wait, and fail at the first attempt; wait again at the second."""
    tried = Path(f"{ticket}.tried")
    hold(f"{ticket}.2" if tried.exists() else ticket)
    if not tried.exists():
        tried.touch()
        raise AgainError


def nest(ticket: str) -> None:
    """Wait within a job of plain code."""
    with job("inner", id=f"inner of {Path(ticket).name}"):
        hold(ticket)


def passing_on(enqueue: Callable[[str, str], Any]) -> Callable[[str], None]:
    """Make the function of a job that enqueues another, and waits."""

    def pass_on(ticket: str) -> None:
        enqueue("hold", f"{ticket}.next")
        hold(ticket)

    return pass_on


def all_of(enqueue: Callable[[str, str], Any]) -> dict[str, Callable[[str], None]]:
    """Return the functions by name."""
    simple = {function.__name__: function for function in (quick, hold, fail, fail_once, nest)}
    return {**simple, "pass_on": passing_on(enqueue)}
