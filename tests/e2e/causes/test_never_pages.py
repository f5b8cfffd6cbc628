"""On a fresh install nobody is woken by what is healthy and merely long. Time is simulated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from tests.collector.held import Held
from tests.collector.records import Process

INTERVAL = 15
MINUTE = 60
HOUR = 3600

Records = Callable[[Process, float], Iterator[LogRecord]]
"""What a worker tells at an age of its job."""


def _seen(held: Held, tell: Records, *, seconds: float) -> Iterator[tuple[float, str, str | None]]:
    """Yield age, state and severity of the job, as the worker reports each interval."""
    worker = Process(interval=float(INTERVAL))
    for age in range(INTERVAL, int(seconds) + 1, INTERVAL):
        held.tell(worker, *tell(worker, float(age)))
        job = held.job("id-1")
        yield age, job.state, job.severity
        held.wait(INTERVAL)


def _query(**values: Any) -> Records:
    """A job that waits for its only query."""

    def tell(worker: Process, age: float) -> Iterator[LogRecord]:
        facts: dict[str, Any] = {"db_system_name": "postgresql", "db_query_text": "SELECT sum(amount) FROM payments"}
        evidence: dict[str, Any] = {
            "stack_age": age - 2,
            "thread_cpu_ratio": 0.0,
            "thread_state": "S",
            "code_file": "/srv/billing/report.py",
            "code_line": 41,
            "code_function": "yearly_report",
            "wait_kind": "db",
            "wait_peer": "10.0.0.7:5432",
            "wait_idle": age - 2,
        }
        yield worker.job(1, age=age, job_movement_age=age - 2)
        yield worker.span(2, 1, name="SELECT", age=age - 1, **(facts | evidence | values))
        yield worker.state(1, 2)

    return tell


@pytest.mark.parametrize(
    "values",
    [
        {"wait_call": "psycopg2.cursor.execute", "wait_unbounded": True, "thread_syscall": "poll"},
        # What the watcher says of any call that was given no timeout: databases rarely have one.
        {"wait_unbounded": True, "call_unbounded": True},
        # psycopg 3 polls ten times a second.
        {"wait_timeout": 0.1, "thread_syscall": "poll"},
        {"wait_timeout": 3600.0, "call_timeout": 3600.0},
        # asyncpg, on a loop that runs.
        {"wait_unbounded": True, "loop_lag": 0.0, "thread_syscall": "epoll_wait"},
        # Its session is known to the server's probe, which sees no lock.
        {"db_session": "4711", "wait_local": "10.0.0.9:51234", "wait_unbounded": True, "call_unbounded": True},
    ],
    ids=["psycopg2", "unbounded", "psycopg", "long timeout", "asyncpg", "known session"],
)
def test_a_healthy_query_of_20_minutes(values: dict[str, Any]) -> None:
    """It is told after a minute, and wakes nobody."""
    told = list(_seen(Held(), _query(**values), seconds=20 * MINUTE))
    assert {severity for _, _, severity in told} == {None, "warning"}, "told, and no more"
    assert told[0][1] == "running"
    assert told[-1][1] == "stuck"


def _computing(worker: Process, age: float) -> Iterator[LogRecord]:
    yield worker.job(
        1,
        age=age,
        job_movement_age=age,
        stack_age=0.4,
        thread_cpu_ratio=0.97,
        code_first_line=30,
        code_last_line=44,
        thread_state="R",
    )
    yield worker.state(1)


def _with_progress(worker: Process, age: float) -> Iterator[LogRecord]:
    progress: dict[str, Any] = {
        "job_progress_done": age // INTERVAL,
        "job_progress_total": 720.0,
        "job_progress_age": 1.0,
    }
    yield worker.job(1, age=age, job_movement_age=1.0, stack_age=0.1, thread_cpu_ratio=0.4, **progress)
    yield worker.state(1)


def _with_calls(worker: Process, age: float) -> Iterator[LogRecord]:
    """A new call each time: each is short, none has a timeout."""
    number = 100 + int(age)
    call: dict[str, Any] = {
        "call_unbounded": True,
        "wait_unbounded": True,
        "wait_kind": "http",
        "wait_idle": 3.0,
        "stack_age": 3.0,
    }
    yield worker.job(1, age=age, job_movement_age=age)
    yield worker.http(number, 1, age=6.0, **call)
    yield worker.state(1, number)


def _pacing(worker: Process, age: float) -> Iterator[LogRecord]:
    """Sleeps between its items, so as not to be a burden."""
    yield worker.job(
        1, age=age, job_movement_age=age, stack_age=2.0, thread_cpu_ratio=0.01, wait_kind="sleep", thread_state="S"
    )
    yield worker.state(1)


def _waiting_for_a_child(worker: Process, age: float) -> Iterator[LogRecord]:
    """A child process computes for three hours."""
    child: dict[str, Any] = {
        "wait_kind": "process",
        "wait_call": "subprocess.run",
        "wait_target": "ffmpeg",
        "wait_unbounded": True,
    }
    yield worker.job(1, age=age, job_movement_age=age, stack_age=age - 1, thread_cpu_ratio=0.0, **child)
    yield worker.state(1)


def _waiting_for_a_pool(worker: Process, age: float) -> Iterator[LogRecord]:
    """Futures of a process pool, whose processes compute."""
    future: dict[str, Any] = {"wait_kind": "future", "wait_call": "Future.result", "wait_unbounded": True}
    yield worker.job(1, age=age, job_movement_age=age, stack_age=age - 1, thread_cpu_ratio=0.0, **future)
    yield worker.state(1)


def _importing(worker: Process, age: float) -> Iterator[LogRecord]:
    """One statement after the other, each of less than a minute."""
    number = 100 + int(age) // 45
    statement: dict[str, Any] = {
        "db_system_name": "postgresql",
        "call_unbounded": True,
        "wait_kind": "db",
        "wait_unbounded": True,
    }
    yield worker.job(1, age=age, job_movement_age=age)
    yield worker.span(number, 1, name="COPY", age=max(1.0, age % 45), **statement)
    yield worker.state(1, number)


@pytest.mark.parametrize(
    ("tell", "states"),
    [
        (_computing, {"running", "stuck"}),
        (_with_progress, {"running", "overdue"}),
        (_with_calls, {"running", "stuck"}),
        (_pacing, {"running", "stuck"}),
        (_waiting_for_a_child, {"running", "stuck"}),
        (_waiting_for_a_pool, {"running", "stuck"}),
        (_importing, {"running", "stuck"}),
    ],
)
def test_a_healthy_batch_of_three_hours(tell: Records, states: set[str]) -> None:
    """It is told after an hour (with progress it is merely late), and wakes nobody."""
    told = list(_seen(Held(), tell, seconds=3 * HOUR))
    assert {severity for _, _, severity in told} == {None, "warning"}
    assert {state for _, state, _ in told} == states
    assert all(severity is None for age, _, severity in told if age <= HOUR - INTERVAL)


def test_the_same_batch_pages_once_it_was_declared() -> None:
    """The test above can fail: who says what a job may take is woken when it takes more."""
    declared: Records = lambda worker, age: iter(  # noqa: E731
        (worker.job(1, age=age, job_movement_age=age, span_expected_duration=float(HOUR)), worker.state(1))
    )
    assert {severity for _, _, severity in _seen(Held(), declared, seconds=2 * HOUR)} == {None, "page"}
