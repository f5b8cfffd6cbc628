"""The main line: records in, verdicts out, with a clock that we hold."""

from __future__ import annotations

import logging

import pytest
from tests.collector.held import Held
from tests.collector.records import Process


def test_a_job_runs_is_stuck_and_ends(held: Held) -> None:
    """A job in an HTTP call is fine until the call exceeds what is allowed; the end wins at once."""
    worker = Process()
    held.tell(worker, worker.job(1, age=10.0), worker.http(2, 1, age=5.0))
    assert held.job("id-1").state == "running"
    for _ in range(4):
        held.wait(14)
        held.tell(worker, worker.state(1, 2))
    job = held.job("id-1")
    assert (job.state, job.last_span.name, job.basis, job.allowed_s) == ("stuck", "GET", "default", 60)
    assert job.cause == "http_call"
    assert job.cause_text is not None
    assert "The job stopped 1 min 1 s ago; allowed: 1 min (default for http)" in job.cause_text
    held.tell(worker, worker.closed(2), worker.closed(1))
    job = held.job("id-1")
    assert (job.state, job.outcome) == ("ended", "ok")
    assert held.states() == {"ended": 1}


def test_silence_is_loss(held: Held) -> None:
    """A process without a word for three intervals is lost, and its jobs with it; a word brings them back."""
    worker = Process(interval=15.0)
    held.tell(worker, worker.job(1))
    held.wait(44)
    assert held.job("id-1").state == "running"
    held.wait(2)
    job = held.job("id-1")
    assert (job.state, job.severity, job.cause) == ("lost", "page", "worker_lost")
    held.tell(worker, worker.state(1))
    assert held.job("id-1").state == "running"


def test_a_storm_is_a_few_lines(held: Held, caplog: pytest.LogCaptureFixture) -> None:
    """Changes of verdict are logged; of a thousand in one tick, twenty and how many more."""
    caplog.set_level(logging.INFO)
    worker = Process()
    held.tell(worker, *(worker.job(number, age=4000.0) for number in range(1, 1001)))
    held.tick()
    assert len(caplog.records) == 21
    assert caplog.messages[0].startswith(
        "job tasks.charge id-1: running → stuck at run/tasks.charge, open for 1 h 6 min"
    )
    assert caplog.messages[-1] == "980 more jobs changed their state"
