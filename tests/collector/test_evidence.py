"""What a worker saw of its code: every attribute lands where it belongs, and none of them can do harm."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.held import Held
from tests.collector.records import Process, any_value, at, key, sessions, span_id

from lastspan.collector.decode.decoder import Decoder
from lastspan.collector.decode.layout import DETAILS, EVIDENCE, FIELDS
from lastspan.collector.decode.values import MAX_BRIEF, MAX_LIST
from lastspan.collector.model.evidence import CodeLine, Evidence, JobSession, Lock, Loop, Wait, WaitedProcess
from lastspan.collector.model.records import CallSeen, Child, ProcessStall, ProcessState, SpanOpen
from lastspan.collector.track import JobRow
from lastspan.semconv import attributes as a
from lastspan.semconv import events
from lastspan.semconv.vocabulary import Certainty, WaitKind, WaitPurpose

GROUPS = (EVIDENCE, DETAILS)
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
        ({"code_first_line": 97, "code_last_line": 109}, Evidence(first_line=97, last_line=109)),
        (
            {"thread_syscall": "futex", "thread_runqueue_ratio": 0.25, "evidence_unseen": "no /proc"},
            Evidence(syscall="futex", runqueue_ratio=0.25, unseen="no /proc"),
        ),
        (
            {"wait_kind": "socket", "wait_call": "socket.recv", "wait_peer": "10.0.0.1:80", "wait_local": "10.0.0.2:9"},
            Evidence(wait=Wait(WaitKind.SOCKET, "socket.recv", None, "10.0.0.1:80", "10.0.0.2:9")),
        ),
        (
            {"wait_idle": 2.5, "wait_timeout": 60.0, "wait_unbounded": True, "wait_job_id": "x", "wait_target": "q"},
            Evidence(wait=Wait(idle_ns=2_500_000_000, timeout_ns=60 * 10**9, unbounded=True, job_id="x", name="q")),
        ),
        (
            {"wait_kind": "job", "wait_job_id": "x", "wait_job_ids": ["x", "y"], "wait_purpose": "broker"},
            Evidence(wait=Wait(WaitKind.JOB, purpose=WaitPurpose.BROKER, job_id="x", job_ids=("x", "y"))),
        ),
        (
            {"wait_pids": [31, 32], "wait_programs": ["gzip"], "wait_process_states": ["S", "R", "X"]},
            Evidence(wait=Wait(processes=(WaitedProcess(31, "gzip", "S"), WaitedProcess(32, "", "R")))),
        ),
        ({"wait_kind": "a word of a later version", "wait_peer": "x"}, Evidence(wait=Wait(peer="x"))),
        ({"db_session": "31"}, Evidence(wait=Wait(session="31"))),
        (
            {"lock_name": "self._lock", "lock_kind": "threading.Lock", "lock_key": "lock:aa:1"},
            Evidence(lock=Lock("self._lock", "threading.Lock", "lock:aa:1")),
        ),
        (
            {"lock_file": "a.py", "lock_line": 7},
            Evidence(lock=Lock(place=CodeLine(None, "a.py", 7))),
        ),
        (
            {
                "lock_holder_job_id": "id-2",
                "lock_holder_span_id": span_id(2).hex(),
                "lock_holder_trace_id": "0" * 32,
                "lock_holder_thread": "worker-2",
                "lock_holder_pid": 31,
                **at("lock_holder", "hold", "a.py", 1),
                "lock_holder_certainty": "certain",
                "lock_cycle": ["a waits for B", "b waits for A"],
            },
            Evidence(
                lock=Lock(
                    holder_job_id="id-2",
                    holder_span_id=span_id(2),
                    holder_trace=bytes(16),
                    holder_thread="worker-2",
                    holder_pid=31,
                    certainty=Certainty.CERTAIN,
                    cycle=("a waits for B", "b waits for A"),
                    holder_place=CodeLine("hold", "a.py", 1),
                )
            ),
        ),
        (
            {"loop_lag": 1.5, "loop_culprit": True, "loop_task": "Task-3", **at("loop", "spin", "b.py", 2)},
            Evidence(loop=Loop(1_500_000_000, True, task="Task-3", place=CodeLine("spin", "b.py", 2))),
        ),
        (
            {"loop_lag": 1.5, "loop_job_id": "x", "loop_job_name": "tasks.y"},
            Evidence(loop=Loop(1_500_000_000, job_id="x", job_name="tasks.y")),
        ),
    ],
)
def test_evidence(values: dict[str, Any], evidence: Evidence | None) -> None:
    """What is common costs one structure; what is rare has structures of its own."""
    assert opened(**values).evidence == evidence


def test_what_a_job_owns() -> None:
    """Keys of locks, sessions of databases; of a list that is shorter the rest is not known."""
    told = sessions(("postgresql", "db:5432", "31", "10.0.0.2:9"), ("mysql", "db:3306", "7", ""))
    owned = opened(job_holds=["redis:h/0:x"], **(told | {"job_db_locals": ["10.0.0.2:9"]})).owned
    assert owned is not None
    assert owned.locks == ("redis:h/0:x",)
    assert owned.sessions == (
        JobSession("postgresql", "db:5432", "31", "10.0.0.2:9"),
        JobSession("mysql", "db:3306", "7", ""),
    )


def test_children_and_oversleeping() -> None:
    """A list that is too short leaves the rest unknown; -1 is not a ratio."""
    told = state(
        process_child_pids=[1, 2, 3],
        process_child_states=["R", "S"],
        process_child_cpu_ratios=[0.5, -1.0],
        process_child_waits=["", "futex_wait_queue"],
        process_overslept=3.2,
        **at("process_overslept", "match", "x.py", 9),
    )
    assert told.children == {1: Child("R", 0.5, ""), 2: Child("S", None, "futex_wait_queue"), 3: Child("", None, "")}
    assert told.stall == ProcessStall(3_200_000_000, CodeLine("match", "x.py", 9))
    assert state().stall is None


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


@pytest.mark.parametrize("name", ["wait_target", "lock_key", "lock_holder_function", "loop_file", "loop_task"])
def test_long_words_are_cut(name: str) -> None:
    """A name of a megabyte does not hide the job that it belongs to."""
    assert len(repr(opened(**{name: "x" * 1_000_000}).evidence)) < 1500


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
    held.tell(worker, worker.http(2, 1, **sessions(("postgresql", "db:5432", "31", "10.0.0.2:9"))))
    assert held.tracker.owners.of_session("db:5432", "31") == ()
    held.tell(worker, worker.job(1, **sessions(("postgresql", "db:5432", "32", "10.0.0.2:9"))))
    held.tell(worker, worker.http(2, 1))
    assert held.tracker.owners.of_session("db:5432", "32") == (row(held, 1),)


def test_late_news_of_what_is_held_is_ignored() -> None:
    held, worker = Held(), Process()
    late = worker.job(1, job_holds=["flock:a"])
    held.tell(worker, worker.job(1))
    held.tell(worker, late)
    assert held.tracker.owners.of_lock("flock:a") == ()
