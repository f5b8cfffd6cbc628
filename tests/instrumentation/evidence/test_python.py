"""Each Python is understood, or known not to be: then less is told, and nothing wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lastspan.instrumentation.evidence import python

PRETENDER = Path(__file__).with_name("another_python.py")


def seen_by(*new: str, options: tuple[str, ...] = ()) -> dict[str, Any]:
    """What is told in an interpreter of which some parts are new."""
    command = [sys.executable, *options, str(PRETENDER), *new]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_this_python_is_understood() -> None:
    assert python.unknown() == ""
    told = seen_by()
    assert told["unknown"] == ""
    assert [told[name]["holder"] for name in ("enters", "first")] == [["holder", "certain"]] * 2
    assert told["task_waits"]["holder"] == ["Task-1", "certain"]
    assert str(told["awaits_work"]["holder"]).startswith("['ThreadPoolExecutor-0_0', 'certain'")


@pytest.mark.parametrize(
    ("new", "said", "still_known"),
    [
        (("with",), "with blocks", ("awaits_work",)),
        (("tasks",), "asyncio tasks", ("enters", "acquires", "first", "awaits_work")),
        (("executors",), "executors", ("enters", "acquires", "first", "task_waits")),
        (("with", "tasks", "executors"), "with blocks, asyncio tasks, executors", ()),
    ],
)
def test_a_python_that_is_not_known_yet(new: tuple[str, ...], said: str, still_known: tuple[str, ...]) -> None:
    """What is new is not looked at: no holder is made up, and no lock is said to be lost; lines are told as ever."""
    told = seen_by(*new)
    assert told.pop("unknown") == f"unknown: this Python is not known yet ({said})"
    for name, found in told.items():
        assert found["line"], name
        assert found["circle"] == []
        if name in still_known:
            assert found["holder"] is not None, name
            assert found["holder"][1] == "certain", name
        else:
            assert found["holder"] in (None, ["", "unknown"]), name
