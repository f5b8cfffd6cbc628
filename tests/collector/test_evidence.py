"""What a worker saw of its code: every attribute lands where it belongs, and none of them can do harm."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.held import Held
from tests.collector.records import Process, any_value, key, span_id

from lastspan.collector.decode.decoder import Decoder
from lastspan.collector.decode.layout import DETAILS, EVIDENCE, FIELDS
from lastspan.collector.decode.values import MAX_BRIEF, MAX_LIST
from lastspan.collector.model.evidence import Evidence, Lock, Loop, OwnSession, Wait
from lastspan.collector.model.records import CallSeen, Child, Overslept, ProcessState, SpanOpen
from lastspan.collector.track import JobRow
from lastspan.semconv import attributes as a
from lastspan.semconv import events

GROUPS = (EVIDENCE, *DETAILS)
NAMES = [name for name, field in FIELDS.items() if any(group.start <= field.slot < group.stop for group in GROUPS)]


def opened(**values: Any) -> SpanOpen:
    worker = Process()
    (signal,) = Decoder().logs(worker.body(worker.job(1, **values))).signals
    assert isinstance(signal, SpanOpen)
    return signal


def state(**values: Any) -> ProcessState:
    worker = Process()
    (signal,) = Decoder().logs(worker.body(worker.state(**values))).signals
    assert isinstance(signal, ProcessState)
    return signal


def row(held: Held, number: int) -> JobRow:
    return held.tracker.jobs[key(number)]


@pytest.mark.parametrize(
    ("values", "evidence"),
    [
        ({}, None),
        ({"code_lines": "97-109"}, Evidence(lines="97-109")),
        (
            {"thread_syscall": "futex", "thread_runqueue_ratio": 0.25, "evidence_unseen": "no /proc"},
            Evidence(syscall="futex", runqueue_ratio=0.25, unseen="no /proc"),
        ),
        (
            {"wait_kind": "socket", "wait_call": "socket.recv", "wait_peer": "10.0.0.1:80", "wait_local": "10.0.0.2:9"},
            Evidence(wait=Wait("socket", "socket.recv", "10.0.0.1:80", "10.0.0.2:9")),
        ),
        (
            {"wait_idle": 2.5, "wait_timeout": 60.0, "wait_unbounded": True, "wait_job_id": "x", "wait_target": "q"},
            Evidence(wait=Wait(idle_ns=2_500_000_000, timeout_ns=60 * 10**9, unbounded=True, job_id="x", target="q")),
        ),
        ({"db_session": "31"}, Evidence(wait=Wait(session="31"))),
        (
            {"lock_name": "self._lock", "lock_kind": "threading.Lock", "lock_key": "lock:aa:1"},
            Evidence(lock=Lock("self._lock", "threading.Lock", "lock:aa:1")),
        ),
        (
            {
                "lock_holder_job_id": "id-2",
                "lock_holder_span_id": span_id(2).hex(),
                "lock_holder_trace_id": "0" * 32,
                "lock_holder_thread": "worker-2",
                "lock_holder_pid": 31,
                "lock_holder_code": "hold, a.py:1",
                "lock_holder_certainty": "certain",
                "lock_cycle": ["a waits for B", "b waits for A"],
            },
            Evidence(
                lock=Lock(
                    holder_job_id="id-2",
                    holder_span_id=span_id(2),
                    holder_trace_id="0" * 32,
                    holder_thread="worker-2",
                    holder_pid=31,
                    holder_code="hold, a.py:1",
                    holder_certainty="certain",
                    cycle=("a waits for B", "b waits for A"),
                )
            ),
        ),
        (
            {"loop_lag": 1.5, "loop_culprit": True, "loop_task": "Task-3", "loop_code": "spin, b.py:2"},
            Evidence(loop=Loop(1_500_000_000, True, "Task-3", "spin, b.py:2")),
        ),
    ],
)
def test_evidence(values: dict[str, Any], evidence: Evidence | None) -> None:
    """What is common costs one structure; what is rare has structures of its own."""
    assert opened(**values).evidence == evidence


def test_what_a_job_owns() -> None:
    """Keys of locks, sessions of databases; a session in a form that we do not know is left out."""
    owned = opened(
        job_holds=["redis:h/0:x"], job_db_sessions=["postgresql db:5432 31 10.0.0.2:9", "mysql db:3306 7 -", "?", ""]
    ).owned
    assert owned is not None
    assert owned.locks == ("redis:h/0:x",)
    assert owned.sessions == (
        OwnSession("postgresql", "db:5432", "31", "10.0.0.2:9"),
        OwnSession("mysql", "db:3306", "7", ""),
    )


def test_children_and_oversleeping() -> None:
    """A list that is too short leaves the rest unknown; -1 is not a ratio."""
    told = state(
        process_child_pids=[1, 2, 3],
        process_child_states=["R", "S"],
        process_child_cpu_ratios=[0.5, -1.0],
        process_child_waits=["", "futex_wait_queue"],
        process_overslept=3.2,
        process_overslept_code="match, x.py:9",
    )
    assert told.children == {1: Child("R", 0.5, ""), 2: Child("S", None, "futex_wait_queue"), 3: Child("", None, "")}
    assert told.overslept == Overslept(3_200_000_000, "match, x.py:9")
    assert state().overslept is None


def test_a_call_that_was_seen() -> None:
    worker = Process()
    values = {a.JOB_NAME: "tasks.charge", a.SPAN_NAME: "GET", a.CODE_FILE: "pay.py", a.CODE_LINE: 7}
    values |= {a.WAIT_PEER: "api:443", a.CALL_UNBOUNDED: True}
    (signal,) = Decoder().logs(worker.body(worker.record(events.CALL_SEEN, values))).signals
    assert isinstance(signal, CallSeen)
    assert (signal.type.name, signal.span_name, signal.file, signal.line) == ("tasks.charge", "GET", "pay.py", 7)
    assert (signal.peer, signal.timeout_ns, signal.unbounded) == ("api:443", None, True)


@given(name=st.sampled_from(NAMES), value=st.one_of(st.none(), st.text(max_size=3), st.floats(), st.integers(-5, 5)))
def test_a_wrong_kind_costs_that_record_only(name: str, value: Any) -> None:
    """Whatever an attribute of evidence holds, the next record is read."""
    worker = Process()
    record = worker.job(1)
    if value is not None:
        record.attributes.add(key=name, value=any_value(value))
    batch = Decoder().logs(worker.body(record, worker.job(2)))
    assert [signal.key for signal in batch.signals if isinstance(signal, SpanOpen)][-1] == key(2)
    assert len(batch.signals) + sum(batch.rejected.values()) == 2


@pytest.mark.parametrize("name", ["wait_target", "lock_key", "lock_holder_code", "loop_code", "code_lines"])
def test_long_words_are_cut(name: str) -> None:
    """A name of a megabyte does not hide the job that it belongs to."""
    assert len(repr(opened(**{name: "x" * 1_000_000}).evidence)) < 1000


def test_long_lists_are_cut() -> None:
    told = opened(job_holds=["k" * 5000] * 5000, lock_cycle=["c" * 5000] * 5000)
    assert told.owned is not None
    assert told.evidence is not None
    assert told.evidence.lock is not None
    for found in (told.owned.locks, told.evidence.lock.cycle):
        assert (len(found), len(found[0])) == (MAX_LIST, MAX_BRIEF)


# --- who has what -------------------------------------------------------------------------------------------------


def test_who_holds_is_known_while_it_holds() -> None:
    """By key while the job's own record says so; a child's record that says nothing changes nothing."""
    held, worker = Held(), Process()
    owners = held.tracker.owners
    held.tell(worker, worker.job(1, job_holds=["flock:a", "flock:b"]), worker.job(3, job_holds=["flock:a"]))
    assert owners.of_lock("flock:a") == (row(held, 1), row(held, 3))
    held.tell(worker, worker.http(2, 1))
    assert owners.of_lock("flock:b") == (row(held, 1),)
    held.tell(worker, worker.job(1, job_holds=["flock:b"]))
    assert owners.of_lock("flock:a") == (row(held, 3),)
    held.tell(worker, worker.job(1))
    assert owners.of_lock("flock:b") == ()
    held.tell(worker, worker.closed(3))
    assert len(owners) == 0


def test_only_the_jobs_own_record_speaks_of_what_it_has() -> None:
    """A child's record, in whatever order it comes, neither adds nor takes away."""
    held, worker = Held(), Process()
    held.tell(worker, worker.http(2, 1, job_db_sessions=["postgresql db:5432 31 10.0.0.2:9"]))
    assert held.tracker.owners.of_session("db:5432", "31") == ()
    held.tell(worker, worker.job(1, job_db_sessions=["postgresql db:5432 32 10.0.0.2:9"]))
    held.tell(worker, worker.http(2, 1))
    assert held.tracker.owners.of_session("db:5432", "32") == (row(held, 1),)


def test_late_news_of_what_is_held_is_ignored() -> None:
    held, worker = Held(), Process()
    late = worker.job(1, job_holds=["flock:a"])
    held.tell(worker, worker.job(1))
    held.tell(worker, late)
    assert held.tracker.owners.of_lock("flock:a") == ()
