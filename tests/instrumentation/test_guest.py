"""A guest on the job's thread: whatever the host's locks, threads and log do, the job runs on and is announced."""

from __future__ import annotations

import ast
import json
import os
import signal
from pathlib import Path

import pytest
from tests.instrumentation.program import program
from tests.sink import Sink

import lastspan.instrumentation

NEVER_WAIT = {
    "lock.acquire in native.py __init__",  # one that was just made
    "lock.acquire in native.py acquire",  # these two go on without, where another thread has it
    "lock.acquire in providers.py _set_global",
    "lock.release in providers.py _set_global",
}


@pytest.mark.parametrize("provider", ["provider before", "none"])
def test_a_log_that_is_stuck_stops_neither_the_job_nor_the_watch(provider: str, sink: Sink) -> None:
    """A handler that waits for ever, a lock left locked: the first job is announced, ends, and so does the next."""
    with program("stuck_log", provider, sink=sink, wrapped=False) as running:
        first = sink.wait_for_event("lastspan.span.open", job_name="nightly")
        running.line()
        sink.wait_for(lambda record: record.event == "lastspan.span.closed" and record.span_id == first.span_id)
        sink.wait_for_event("lastspan.span.open", job_name="after it")
        seen = len(sink.of("lastspan.process.state"))
        sink.wait_for(lambda record: len(sink.of("lastspan.process.state")) > seen + 2)
        os.killpg(running.process.pid, signal.SIGKILL)  # it could not end by itself: logging waits for the handler


@pytest.mark.parametrize("when", ["loaded", "loaded by the first job"])
def test_first_jobs_that_start_together(when: str, sink: Sink) -> None:
    """32 at once, switching threads at each chance: one watcher, attached once, and every job is known."""
    with program("first_jobs", when, sink=sink, wrapped=False) as running:
        assert json.loads(running.finish()) == [[1, 1, 32]] * 12


def test_a_thread_that_cannot_be_started_is_tried_again(sink: Sink) -> None:
    """One line says so; the jobs run on; when there are threads again, a later job is seen."""
    with program("no_thread", "later", sink=sink, wrapped=False) as running:
        sink.wait_for_event("lastspan.span.open", job_name="seen")
        output = running.finish()
    assert output.count("lastspan cannot start its thread (can't start new thread") == 1


def test_without_any_thread_it_is_said_at_the_end(sink: Sink) -> None:
    """On standard error: the log's line would need a thread too."""
    with program("no_thread", "never", sink=sink, wrapped=False) as running:
        output = running.finish()
    assert output.count("lastspan cannot start its thread") == 1
    assert sink.requests == []


@pytest.mark.parametrize("seen_by", ["audit", "profile"])
@pytest.mark.parametrize("arguments", [("provider before",), ("none",), ("provider before", "warm")], ids=", ".join)
def test_what_our_code_does_on_a_jobs_thread(arguments: tuple[str, ...], seen_by: str, sink: Sink) -> None:
    """From the first job on: no import, no file, no socket, no log, no lock; nothing but the start of one thread."""
    with program("walked", *arguments, seen_by, sink=sink, wrapped=False) as running:
        events, calls = json.loads(running.finish())
    assert set(events) <= {"_thread.start_new_thread", "sys._getframe", "object.__getattr__"}  # a caller's package
    assert set(calls) <= NEVER_WAIT


SOURCES = sorted(Path(lastspan.instrumentation.__file__).parent.rglob("*.py"))
WHILE_LOADING = {
    ("native.py", "_original"),  # called while it is imported
    ("load.py", "pre_instrument"),
    ("agent.py", "__init__"),
}
"""Functions that may import: no job runs yet."""


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_no_module_of_ours_can_wait_for_the_log_or_an_import(source: Path) -> None:
    """Only log.py speaks to `logging` (and the door, while the host starts); what is imported is so from the start."""
    tree = ast.parse(source.read_text())
    for node in ast.walk(tree):
        for function in [node] if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else []:
            imports = [one for one in ast.walk(function) if isinstance(one, ast.Import | ast.ImportFrom)]
            assert imports == [] or (source.name, function.name) in WHILE_LOADING, function.name
    modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert "random" not in modules  # the host's
    assert "warnings" not in modules
    assert "logging" not in modules or source.name in {"log.py", "load.py"}
