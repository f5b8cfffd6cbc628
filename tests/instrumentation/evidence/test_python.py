"""Each Python is understood, or known not to be: then less is told, and nothing wrong."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.instrumentation.evidence.standing import soon, standing

from lastspan.instrumentation.evidence import python, sample_stack
from lastspan.instrumentation.evidence.locks.find import find
from lastspan.instrumentation.evidence.locks.graph import all_tasks
from lastspan.instrumentation.registry.spans import ExecutionContext

PRETENDER = Path(__file__).with_name("another_python.py")


def seen_by(*new: str, options: tuple[str, ...] = (), environ: dict[str, str] | None = None) -> dict[str, Any]:
    """What is told in an interpreter of which some parts are new."""
    command = [sys.executable, *options, str(PRETENDER), *new]
    given = {**os.environ, **(environ or {})}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=given)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


WHO: dict[str, str] = {
    **dict.fromkeys(("enters", "enters_two", "acquires", "first"), "holder"),
    "awaits_work": "ThreadPoolExecutor-0_0",
    "task_waits": "Task-1",
}
"""Who holds what each one waits for."""


@pytest.mark.parametrize(
    ("options", "environ"),
    [
        ((), {}),
        (("-X", "no_debug_ranges"), {}),  # code without columns: two items on a line are told apart by their order
        (("-OO",), {"PYTHON_JIT": "1"}),  # compiled to machine code, where this Python can do that
    ],
)
def test_this_python_is_understood(options: tuple[str, ...], environ: dict[str, str]) -> None:
    assert python.unknown() == ""
    told = seen_by(options=options, environ=environ)
    assert told.pop("unknown") == ""
    assert {name: found["holder"] for name, found in told.items()} == {
        name: [who, "certain"] for name, who in WHO.items()
    }


@pytest.mark.parametrize(
    ("new", "said", "still_known"),
    [
        (("with",), "with blocks", ("awaits_work",)),
        (("tasks",), "asyncio tasks", ("enters", "enters_two", "acquires", "first", "awaits_work")),
        (("executors",), "executors", ("enters", "enters_two", "acquires", "first", "task_waits")),
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


def test_a_free_threaded_python_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: the interpreter says that it has no lock. Frames of other threads are not read, and that is told."""
    with _waiting() as where:
        assert sample_stack(where).unseen == ""
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
        seen = sample_stack(where)
        assert (seen.steps, "free-threaded" in seen.unseen) == ((), True)
        assert list(find(where, lambda _: "")) == []


@pytest.mark.applies(sys.version_info >= (3, 13), reason="no interpreter with a lock of its own can be made")
def test_other_interpreters_are_left_alone() -> None:
    """Their frames come with ours, and change while they are read. One that shares our lock does no harm."""
    interpreters = importlib.import_module("_interpreters")
    with _waiting() as where:
        for config, is_seen in (("legacy", True), ("isolated", False)):
            made = interpreters.create(config)
            try:
                seen = sample_stack(where)
                assert (bool(seen.steps), "other interpreters" in seen.unseen) == (is_seen, not is_seen)
            finally:
                interpreters.destroy(made)
        assert sample_stack(where).unseen == ""


@contextmanager
def _waiting() -> Iterator[ExecutionContext]:
    go = threading.Event()
    with standing(lambda: go.wait(20), go.set) as where:
        yield where


class Runs:
    """An event loop in a thread, and a task that waits on it until it is let go."""

    def __init__(self, make: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.make = make
        self.go: asyncio.Event
        self.task: asyncio.Task[None] | None = None
        self.loop: asyncio.AbstractEventLoop

    async def waits(self) -> None:
        self.go = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.task = asyncio.current_task()
        await self.go.wait()

    def by_runner(self) -> None:
        if sys.version_info >= (3, 11):
            with asyncio.Runner(loop_factory=self.make) as runner:
                runner.run(self.waits())
        else:
            self.by_attribute()

    def by_attribute(self) -> None:
        self.loop = self.make()
        self.loop.run_until_complete(self.waits())
        self.loop.close()

    def by_module(self) -> None:
        """As a script does it: the names are a module's."""
        exec("loop = runs.make()\nloop.run_until_complete(runs.waits())\nloop.close()", {"runs": self})


@pytest.mark.parametrize("how", [Runs.by_runner, Runs.by_attribute, Runs.by_module])
@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_tasks_are_found_whoever_runs_their_loop(
    make: Callable[[], asyncio.AbstractEventLoop], how: Callable[[Runs], None]
) -> None:
    """uvloop has no frames of its own: whoever called it has."""
    runs = Runs(make)
    with standing(lambda: how(runs), lambda: runs.loop.call_soon_threadsafe(runs.go.set)):
        assert soon(lambda: runs.task is not None and any(one is runs.task for one in all_tasks()), bool)
