"""The verdict: what is stuck, what is merely slow, where it is, and whom to wake."""

from __future__ import annotations

from typing import Any

import pytest
from tests.collector.held import Held
from tests.collector.records import Process, span_id

RULES = [
    {"match": {"job_name": "tasks.ruled"}, "allowed": "20s"},
    {"match": {"span_name": "SELECT *", "service": "bill*"}, "allowed": "5s"},
    {"match": {"kind": "http", "job_name": "tasks.patient"}, "allowed": "10m"},
]


@pytest.fixture
def held() -> Held:
    return Held(rules=RULES)


@pytest.mark.parametrize(
    ("name", "age", "values", "state", "basis", "severity"),
    [
        # Nothing exceeds anything.
        ("tasks.charge", 10, {}, "running", "default", None),
        # The default of a job is an hour; by a default alone nobody is woken.
        ("tasks.charge", 3599, {}, "running", "default", None),
        ("tasks.charge", 3601, {}, "stuck", "default", "warning"),
        # It moved a moment ago: late, but not stuck.
        ("tasks.charge", 3601, {"job_movement_age": 5.0}, "overdue", "default", "warning"),
        # It moved so long ago that it counts no more: three intervals (45 s).
        ("tasks.charge", 3601, {"job_movement_age": 44.0}, "overdue", "default", "warning"),
        ("tasks.charge", 3601, {"job_movement_age": 46.0}, "stuck", "default", "warning"),
        # A declared duration outranks all, and may wake somebody.
        ("tasks.charge", 61, {"span_expected_duration": 60.0}, "stuck", "declared", "page"),
        ("tasks.ruled", 25, {"span_expected_duration": 60.0}, "running", "declared", None),
        # A rule outranks the default.
        ("tasks.ruled", 19, {}, "running", "rule", None),
        ("tasks.ruled", 21, {}, "stuck", "rule", "page"),
        # The window of movement is no longer than what is allowed, and no shorter than two reports.
        ("tasks.ruled", 50, {"job_movement_age": 29.0}, "overdue", "rule", "warning"),
        ("tasks.ruled", 50, {"job_movement_age": 31.0}, "stuck", "rule", "page"),
        # One that has never moved has no news to come.
        ("tasks.ruled", 21, {"job_movement_age": 21.0}, "stuck", "rule", "page"),
    ],
)
def test_a_job_on_its_own(
    held: Held, name: str, age: float, values: dict[str, Any], state: str, basis: str, severity: str | None
) -> None:
    """A job without an open child is its own last span, and is stuck when it is late and does not move."""
    worker = Process()
    held.tell(worker, worker.job(1, name=name, age=float(age), **values))
    job = held.job("id-1")
    assert (job.state, job.basis, job.severity) == (state, basis, severity)
    assert (job.last_span.kind, job.last_span.name) == ("job", f"run/{name}")


@pytest.mark.parametrize(
    ("name", "span", "age", "values", "state", "kind", "allowed"),
    [
        # Each kind has a default of its own.
        ("tasks.charge", "GET", 59, {"http_request_method": "GET"}, "running", "http", 60),
        ("tasks.charge", "GET", 61, {"http_request_method": "GET"}, "stuck", "http", 60),
        ("tasks.charge", "GET", 61, {"url_full": "http://x/"}, "stuck", "http", 60),
        ("tasks.charge", "find", 61, {"db_system_name": "mongodb"}, "stuck", "db", 60),
        # A database that speaks HTTP is a database.
        ("tasks.charge", "find", 61, {"db_system_name": "es", "url_full": "http://x/"}, "stuck", "db", 60),
        ("tasks.charge", "wait", 31, {"lock_name": "accounts"}, "stuck", "lock", 30),
        ("tasks.charge", "wait", 31, {"wait_kind": "lock"}, "stuck", "lock", 30),
        # A queue may be empty for long, and a future take its time, whoever works for it: nobody holds them.
        ("tasks.charge", "wait", 31, {"wait_kind": "queue", "lock_name": "inbox"}, "running", "other", 3600),
        ("tasks.charge", "wait", 31, {"wait_kind": "future", "lock_holder_thread": "w"}, "running", "other", 3600),
        ("tasks.charge", "wait", 31, {"wait_kind": "queue", "lock_cycle": ["a", "b"]}, "stuck", "lock", 30),
        # Anything else may take as long as its job.
        ("tasks.charge", "compute", 600, {}, "running", "other", 3600),
        # Rules by span name (a glob) and by kind.
        ("tasks.charge", "SELECT accounts", 6, {"db_system_name": "postgresql"}, "stuck", "db", 5),
        ("tasks.patient", "GET", 500, {"http_request_method": "GET"}, "running", "http", 600),
        # A span may declare what it takes.
        (
            "tasks.charge",
            "GET",
            500,
            {"http_request_method": "GET", "span_expected_duration": 900.0},
            "running",
            "http",
            900,
        ),
    ],
)
def test_a_leaf(
    held: Held, name: str, span: str, age: float, values: dict[str, Any], state: str, kind: str, allowed: float
) -> None:
    """An open leaf that exceeds its allowance makes its job stuck, moving or not."""
    worker = Process()
    job = worker.job(1, name=name, age=float(age), job_movement_age=0.0)
    held.tell(worker, job, worker.span(2, 1, name=span, age=float(age), job_name=name, **values))
    seen = held.job("id-1")
    assert (seen.state, seen.last_span.name, seen.last_span.kind) == (state, span, kind)
    assert seen.last_span.allowed_s == allowed


def test_last_span_is_the_leaf_most_beyond_its_allowance(held: Held) -> None:
    """Not the oldest one, and never a span that waits for a child of its own."""
    worker = Process()
    held.tell(
        worker,
        worker.job(1, age=300.0),
        worker.http(2, 1, name="outer", age=200.0),
        worker.http(3, 1, name="inner", age=90.0, span_parent_id=span_id(2).hex()),
        worker.span(4, 1, name="lock", age=60.0, lock_name="accounts"),
    )
    assert held.job("id-1").last_span.name == "lock"  # 2 times its 30 s, against 1.5 times 60 s


def test_ties_go_to_the_deepest(held: Held) -> None:
    """Of two leaves that are as late as each other, the deeper one says more."""
    worker = Process()
    held.tell(
        worker,
        worker.job(1, age=300.0),
        worker.http(2, 1, name="shallow", age=90.0),
        worker.span(3, 1, name="between", age=100.0),
        worker.http(4, 1, name="deep", age=90.0, span_parent_id=span_id(3).hex()),
    )
    assert held.job("id-1").last_span.name == "deep"


def test_progress_is_movement(held: Held) -> None:
    """A rise of `progress()` counts, whatever else the worker says of movement."""
    worker = Process()
    held.tell(worker, worker.job(1, age=4000.0, job_progress_done=1.0, job_progress_total=9.0))
    assert held.job("id-1").state == "stuck"
    held.tell(worker, worker.job(1, age=4001.0, job_progress_done=2.0, job_progress_total=9.0, job_progress_age=0.5))
    assert held.job("id-1").state == "overdue"
    held.tell(worker, worker.job(1, age=4002.0, job_progress_done=2.0, job_progress_total=9.0, job_progress_age=1.5))
    held.wait(1)
    assert held.job("id-1").progress is not None


def test_an_unbounded_call_proves_itself(held: Held) -> None:
    """A call without timeout whose thread has not moved for 5 min wakes somebody, by a default alone."""
    worker = Process()
    held.tell(worker, worker.job(1, age=301.0), worker.http(2, 1, age=301.0, call_unbounded=True))
    job = held.job("id-1")
    assert (job.state, job.basis, job.severity, job.cause) == ("stuck", "default", "page", "http_no_timeout")
    held.tell(worker, worker.http(2, 1, age=302.0, call_unbounded=True, stack_age=3.0))
    assert held.job("id-1").severity == "page", "who was woken is not told that it was a guess"


def test_a_call_whose_thread_moves_proves_nothing(held: Held) -> None:
    worker = Process()
    call = {"call_unbounded": True, "stack_age": 3.0}
    held.tell(worker, worker.job(1, age=301.0), worker.http(2, 1, age=301.0, **call))
    assert held.job("id-1").severity == "warning"


def test_verdicts_come_by_themselves(held: Held) -> None:
    """Time alone makes a job stuck, within a second of its being true; no record is needed."""
    worker = Process()
    held.tell(worker, worker.job(1, age=0.0), worker.http(2, 1, age=0.0))
    for _ in range(4):
        held.wait(14.9)
        held.tell(worker, worker.state(1, 2))
    assert held.job("id-1").state == "running"
    held.wait(1.0)
    assert held.job("id-1").state == "stuck"
    held.tell(worker, worker.closed(2))
    assert held.job("id-1").state == "running"


def test_a_job_inside_a_job(held: Held) -> None:
    """The outer job waits in the inner one, which is a job of its own."""
    worker = Process()
    inner = worker.job(
        2, name="tasks.ruled", age=30.0, job_outer_span_id=span_id(1).hex(), span_parent_id=span_id(1).hex()
    )
    held.tell(worker, worker.job(1, age=40.0), inner)
    assert held.job("id-2").state == "stuck"
    assert held.job("id-1").last_span.name == "run/tasks.ruled"
    assert held.job("id-1").state == "stuck"
    held.tell(worker, worker.closed(2))
    assert held.job("id-1").state == "running"


def test_jobs_that_stop_at_one_thing_share_an_incident(held: Held) -> None:
    """The incident is named by what is in their way; the loss of their process is another one."""
    worker = Process()
    for number in (1, 3):
        held.tell(worker, worker.job(number, age=80.0), worker.http(number + 1, number, age=70.0))
    held.tell(worker, worker.job(5, age=80.0), worker.http(6, 5, age=70.0, server_address="other.example"))
    first, second, third = (held.job(f"id-{number}").incident for number in (1, 3, 5))
    assert first == second != third
    held.wait(46)
    lost = {held.job(f"id-{number}").incident for number in (1, 3, 5)}
    assert held.job("id-1").state == "lost"
    assert len(lost) == 1, "one process is gone: that is what all of them have in the way now"
    assert not lost & {first, third}


def test_a_job_that_moves_is_given_time_to_say_so() -> None:
    """Allowed less than a report's interval: its progress is news every 15 s only, so it is overdue, not stuck."""
    held, worker = Held(rules=[{"match": {"job_name": "*"}, "allowed": "5s"}]), Process()
    told: dict[str, Any] = {"job_progress_total": 100.0, "report_interval": 15.0}
    held.tell(worker, worker.job(1, age=2.0, job_movement_age=0.5, job_progress_done=1.0, job_progress_age=0.5, **told))
    held.wait(15)
    held.tell(
        worker, worker.job(1, age=17.0, job_movement_age=0.5, job_progress_done=9.0, job_progress_age=0.5, **told)
    )
    held.wait(14)
    assert held.job("id-1").state == "overdue"
    held.wait(20)
    assert held.job("id-1").state == "stuck"
