"""What a worker tells of its code does not become a label: /metrics is read by more people than the API."""

from __future__ import annotations

from typing import Any

import pytest
from tests.collector.held import Held
from tests.collector.records import Process

from lastspan.collector.model.records import DatabaseSession
from lastspan.semconv.vocabulary import WAITS

SECRET = "hunter2"

PLANTED = (
    "code_stacktrace",
    "db_query_text",
    "evidence_unseen",
    "job_progress_message",
    "lock_cycle",
    "stack_unseen",
    "thread_name",
    "thread_syscall",
    "url_full",
    "wait_call",
    "wait_local",
)
"""Attributes with room for more than a name."""


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_more_than_a_name_is_no_label(name: str) -> None:
    """Whatever the cause, whose sentence is a label."""
    held, worker = Held(), Process()
    value: Any = [SECRET] if name == "lock_cycle" else SECRET
    for number, kind in enumerate(["lock", None, "loop", *WAITS]):
        evidence: dict[str, Any] = {"lock_name": "x", "job_progress_done": 1.0, "loop_lag": 9.0 * (kind == "loop")}
        evidence = ({"wait_kind": kind} if kind else {}) | ({} if kind is None else evidence) | {name: value}
        job = 10 * number + 1
        held.tell(worker, worker.job(job, age=9000.0, **evidence | {"loop_culprit": number == 2}))
        held.tell(worker, worker.job(job + 1, age=9000.0), worker.span(job + 2, job + 1, age=8000.0, **evidence))
    held.wait(11)  # who holds the lock is not known: its incident has a name by then
    page = held.metrics()
    assert "lastspan_stuck_job_info{" in page
    assert SECRET not in page


def test_what_a_probe_reads_is_no_label() -> None:
    """Queries, application names, comments: in the API at most, and never the query."""
    held, worker = Held(), Process()
    held.tell(worker, worker.job(1, age=100.0))
    held.tell(worker, worker.span(2, 1, age=90.0, db_system_name="postgresql", db_session="30", wait_peer="db:5432"))
    planted: dict[str, Any] = {"query": SECRET, "traceparent": SECRET}
    waits = DatabaseSession("db:5432", "30", blocked_by=("31",), locks="orders", **planted)
    holds = DatabaseSession("db:5432", "31", state="idle in transaction", **planted)
    held.pipeline.database_facts("db:5432", [waits, holds])
    assert held.job("id-1").cause == "db_lock"
    assert SECRET not in held.metrics()
    assert SECRET not in repr(held.job("id-1"))


def test_what_a_stranger_writes_of_its_session_is_no_label() -> None:
    held, worker = Held(), Process()
    held.tell(worker, worker.job(1, age=100.0))
    held.tell(worker, worker.span(2, 1, age=90.0, db_system_name="postgresql", db_session="30", wait_peer="db:5432"))
    waits = DatabaseSession("db:5432", "30", blocked_by=("31",), locks="orders")
    holds = DatabaseSession("db:5432", "31", SECRET, SECRET, "idle in transaction")
    held.pipeline.database_facts("db:5432", [waits, holds])
    assert SECRET in (held.job("id-1").cause_text or "")
    assert SECRET not in held.metrics()


def test_a_token_in_the_path_of_a_call_is_no_label() -> None:
    held, worker = Held(), Process()
    token = "11AAbbCC22ddEEff33GGhh44"
    call = {"repeat_call": f"GET hooks.example/services/{token}", "repeat_peer": "hooks.example:443"}
    held.tell(worker, worker.job(1, age=9000.0, repeat_count=80, repeat_window=90.0, **call))
    assert held.job("id-1").cause == "call_loop"
    assert token in (held.job("id-1").cause_text or "")
    assert token not in held.metrics()
    assert "It repeats GET hooks.example/services/{id}." in held.metrics()


@pytest.mark.parametrize("url", ["https://user:hunter2@api/x", "https://api?key=hunter2", "https://hunter2@api"])
def test_a_password_in_a_url_is_no_label(url: str) -> None:
    """Workers of ours take it out; others may not."""
    held, worker = Held(), Process()
    held.tell(worker, worker.job(1, age=500.0))
    held.tell(worker, worker.span(2, 1, age=400.0, http_request_method="GET", url_full=url))
    assert "The HTTP call GET api has not returned" in held.metrics()
    assert SECRET not in held.metrics()


def test_labels_are_cut() -> None:
    """A name of a megabyte is no label of one."""
    held, worker = Held(), Process()
    long = {"wait_kind": "lock", "lock_name": "n" * 4000, "lock_holder_thread": "t" * 4000, "wait_peer": "p" * 4000}
    held.tell(worker, worker.job(1, age=9000.0, **long))
    assert max(map(len, held.metrics().splitlines())) < 2500
