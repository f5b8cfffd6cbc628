"""From evidence to cause: which evidence outweighs which, and what is not concluded."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from tests.collector.held import Held
from tests.collector.records import Process, job_key
from tests.examples import examples

from lastspan.collector.publish.shapes import JobView
from lastspan.semconv.vocabulary import CAUSES, LOCK_WAITS, WAITS

HTTP: dict[str, Any] = {"http_request_method": "GET", "server_address": "api", "server_port": 443}
PG: dict[str, Any] = {"db_system_name": "postgresql", "server_address": "db", "server_port": 5432}
RULES = [{"match": {"job_name": "tasks.*"}, "allowed": "2m"}]


def judged(span: dict[str, Any] | None, **job: Any) -> JobView:
    """Return a job that is late, with a late span (None: without an open child)."""
    held, worker = Held(rules=RULES), Process()
    held.tell(worker, worker.job(1, age=300.0, **job))
    if span is not None:
        held.tell(worker, worker.span(2, 1, age=290.0, **span))
    return held.job("id-1")


@pytest.mark.parametrize(
    ("span", "cause"),
    [
        # Instrumented clients: the span alone is enough.
        (HTTP, "http_call"),
        (HTTP | {"call_unbounded": True}, "http_no_timeout"),
        (PG, "db_query"),
        ({"rpc_system": "grpc"}, "http_call"),
        # The wait alone is, too.
        ({"wait_kind": "http"}, "http_call"),
        ({"wait_kind": "http", "wait_unbounded": True}, "http_no_timeout"),
        ({"wait_kind": "db"}, "db_query"),
        # The system call says the same with fewer words: a socket inside a call is the call.
        (HTTP | {"wait_kind": "socket"}, "http_call"),
        (HTTP | {"wait_kind": "connect"}, "http_call"),
        (HTTP | {"wait_kind": "dns"}, "http_call"),
        (HTTP | {"wait_kind": "socket", "wait_unbounded": True}, "http_no_timeout"),
        (PG | {"wait_kind": "socket"}, "db_query"),
        (PG | {"wait_kind": "connect"}, "db_query"),
        # What an async client waits in says less than the span of the call.
        (HTTP | {"wait_kind": "future"}, "http_call"),
        (HTTP | {"wait_kind": "event"}, "http_call"),
        # A lock, a pool, another job inside a call is what is waited for.
        (HTTP | {"wait_kind": "lock"}, "lock_wait"),
        (HTTP | {"wait_kind": "pool"}, "waiting"),
        (PG | {"wait_kind": "pool"}, "waiting"),
        (PG | {"wait_kind": "lock", "lock_name": "self._lock"}, "lock_wait"),
        # A lock in the database.
        (PG | {"wait_kind": "db_lock"}, "db_lock"),
        ({"wait_kind": "db_lock", "lock_name": "advisory 1"}, "db_lock"),
        # SQLite has no server: who does not compute waits for the file.
        ({"db_system_name": "sqlite"}, "db_lock"),
        ({"db_system_name": "sqlite", "thread_cpu_ratio": 0.9}, "db_query"),
        ({"db_system_name": "sqlite", "wait_kind": "file_lock"}, "db_lock"),
        # It computes in a call: what came back, not the peer.
        (HTTP | {"thread_cpu_ratio": 0.95}, "cpu_loop"),
        (HTTP | {"thread_cpu_ratio": 0.1}, "http_call"),
        (PG | {"thread_cpu_ratio": 0.95}, "cpu_loop"),
        # Computing, by the thread's own clock; on a full machine its wait for a core counts.
        ({"thread_cpu_ratio": 0.9}, "cpu_loop"),
        ({"thread_cpu_ratio": 0.07, "thread_runqueue_ratio": 0.4}, "cpu_loop"),
        ({"thread_cpu_ratio": 0.03}, "unknown"),
        ({"thread_cpu_ratio": 0.03, "thread_runqueue_ratio": 0.03}, "cpu_loop"),
        ({"thread_cpu_ratio": 0.01, "thread_runqueue_ratio": 0.5}, "unknown"),
        # Polling is waiting.
        ({"thread_cpu_ratio": 0.04, "thread_runqueue_ratio": 0.1, "wait_kind": "sleep"}, "waiting"),
        # An event loop that does not run outweighs what the task seems to wait for.
        (HTTP | {"loop_lag": 10.0, "loop_culprit": False}, "event_loop_blocked"),
        ({"loop_lag": 10.0, "loop_culprit": True, "thread_cpu_ratio": 1.0}, "event_loop_blocked"),
        ({"loop_lag": 10.0, "loop_culprit": True, "wait_kind": "lock"}, "event_loop_blocked"),
        ({"loop_lag": 0.01, "wait_kind": "sleep"}, "waiting"),
        # The name of an object does not make its wait a lock.
        ({"wait_kind": "queue", "lock_name": "inbox"}, "waiting"),
        ({"wait_kind": "event", "lock_name": "done"}, "waiting"),
        ({"wait_kind": "queue", "lock_name": "inbox", "lock_cycle": ["a waits for b", "b waits for a"]}, "deadlock"),
        ({"lock_name": "self._lock"}, "lock_wait"),
        # A call of its own that is late is what keeps it, whatever the job repeated before.
        (HTTP | {"repeat_call": "GET", "repeat_count": 500, "repeat_window": 200.0}, "http_call"),
        # Another job.
        ({"wait_kind": "job"}, "waiting_for_job"),
        ({"wait_job_id": "x"}, "waiting_for_job"),
        # Nothing is known, or it is in words that we do not know.
        ({}, "unknown"),
        ({"wait_kind": "something new"}, "unknown"),
        ({"stack_unseen": "a free-threaded build"}, "unknown"),
    ],
)
def test_what_outweighs_what(span: dict[str, Any], cause: str) -> None:
    assert judged(span).cause == cause


@pytest.mark.parametrize(
    ("evidence", "is_sure"),
    [
        ({"wait_kind": "http", "wait_timeout": 900.0}, True),
        ({"wait_kind": "http", "call_timeout": 900.0}, True),
        ({"wait_kind": "http", "wait_unbounded": True}, True),
        ({"wait_kind": "http"}, False),  # a client in C: it may have a timeout, or none
        ({}, False),
    ],
)
def test_a_call_whose_timeout_is_not_seen_is_told_with_doubt(evidence: dict[str, Any], is_sure: bool) -> None:
    job = judged(HTTP | evidence)
    assert job.confidence is not None
    assert (job.confidence >= 0.9) is is_sure
    assert ("could not see" in (job.cause_text or "")) is not is_sure


@pytest.mark.parametrize("kind", WAITS)
def test_with_and_without_a_span(kind: str) -> None:
    """A wait is understood on a span made for it and on the job itself: client instrumentation is no condition."""
    alone, inside = judged(None, wait_kind=kind), judged({"name": "step", "wait_kind": kind})
    assert alone.cause == inside.cause != "unknown"
    assert (inside.last_span.kind == "lock") == (kind in LOCK_WAITS)


REPEAT: dict[str, Any] = {"repeat_call": "GET api/orders", "repeat_count": 600, "repeat_window": 60.0}


@pytest.mark.parametrize(
    ("evidence", "cause"),
    [
        (REPEAT, "call_loop"),
        # The call that it happens to be in, the sleep between two, the core that it uses: each is but a part of it.
        (REPEAT | {"wait_kind": "http", "wait_unbounded": True, "stack_age": 0.1}, "call_loop"),
        (REPEAT | {"wait_kind": "sleep", "stack_age": 0.1}, "call_loop"),
        (REPEAT | {"thread_cpu_ratio": 0.04, "thread_runqueue_ratio": 0.1}, "call_loop"),
        # Its own thread stands where it stands for many turns: somebody beside it makes the calls.
        (REPEAT | {"wait_kind": "lock", "stack_age": 250.0}, "lock_wait"),
        (REPEAT | {"wait_kind": "queue", "stack_age": 4.0}, "waiting"),
        # A library that asks again and again: what for is known.
        (REPEAT | {"wait_kind": "job", "stack_age": 0.1}, "waiting_for_job"),
        (REPEAT | {"wait_kind": "redis_lock", "stack_age": 0.1}, "lock_wait"),
        # One that polls twice a minute sleeps for long.
        (REPEAT | {"repeat_count": 8, "repeat_window": 240.0, "wait_kind": "sleep", "stack_age": 29.0}, "call_loop"),
        # A circle, or a blocked loop, is so whatever else goes on.
        (REPEAT | {"lock_cycle": ["a waits for b", "b waits for a"]}, "deadlock"),
        (REPEAT | {"loop_lag": 10.0, "loop_culprit": True}, "event_loop_blocked"),
    ],
)
def test_a_loop_of_calls(evidence: dict[str, Any], cause: str) -> None:
    assert judged(None, **evidence).cause == cause


def test_what_a_worker_says_of_a_loop_is_not_believed_blindly() -> None:
    """Counts that make no sense, texts of any length: a sentence comes out."""
    for count, window, errors in ((0, 0.0, 0), (1, 1e9, 5), (2**62, 0.0, 2**62)):
        job = judged(None, repeat_call="x" * 5000, repeat_count=count, repeat_window=window, repeat_errors=errors)
        assert job.cause == "call_loop"
        assert len(job.cause_text or "") < 400


EVIDENCE = st.fixed_dictionaries(
    {},
    optional={
        "wait_kind": st.sampled_from([*WAITS, "?"]),
        "wait_unbounded": st.booleans(),
        "wait_peer": st.sampled_from(["db:5432", "", ":", "api"]),
        "wait_job_id": st.sampled_from(["id-1", "id-2", "nobody"]),
        "wait_target": st.sampled_from(["31", "x"]),
        "wait_pids": st.sampled_from([[], [31], [31, 32]]),
        "wait_programs": st.sampled_from([[], ["gzip"]]),
        "wait_purpose": st.sampled_from(["broker", "result_backend", "tls_handshake", "notification", "?"]),
        "wait_idle": st.floats(0, 1e9),
        "lock_name": st.just("x"),
        "lock_key": st.sampled_from(["a", "b"]),
        "lock_holder_job_id": st.sampled_from(["id-1", "id-2", "nobody"]),
        "lock_holder_trace_id": st.sampled_from(["", "zz", "0" * 32]),
        "lock_holder_span_id": st.sampled_from(["0" * 15 + "1", "0" * 15 + "2"]),
        "lock_holder_certainty": st.sampled_from(["certain", "likely", "nobody", "unknown", "?"]),
        "lock_cycle": st.lists(st.text(max_size=3), max_size=3),
        "job_holds": st.lists(st.sampled_from(["a", "b"]), max_size=2),
        "loop_lag": st.floats(0, 100),
        "loop_culprit": st.booleans(),
        "thread_cpu_ratio": st.floats(-1, 2),
        "thread_runqueue_ratio": st.floats(-1, 2),
        "db_session": st.sampled_from(["31", ""]),
        "db_system_name": st.sampled_from(["postgresql", "sqlite"]),
        "http_request_method": st.just("GET"),
        "repeat_call": st.sampled_from(["", "GET", "GET /…"]),
        "repeat_varies": st.booleans(),
        "repeat_count": st.integers(0, 1000),
        "repeat_errors": st.integers(0, 1000),
        "repeat_window": st.floats(0, 1e9),
        "stack_age": st.floats(0, 300),
        "job_redelivery_after": st.floats(0, 500),
        "job_acks_late": st.booleans(),
        "code_file_path": st.sampled_from(["", "/", "a.py", "a\\b\\c.py"]),
        "code_line_number": st.integers(-1, 3),
    },
)


@examples(150)
@given(first=EVIDENCE, second=EVIDENCE, data=st.data())
def test_whatever_is_told_there_is_an_answer_and_order_does_not_matter(
    first: dict[str, Any], second: dict[str, Any], data: st.DataObject
) -> None:
    """Any evidence, of jobs that may wait for each other: a declared cause, a sentence, a step, in any order."""

    def records() -> list[tuple[Process, LogRecord]]:
        a, b = Process(), Process(id="00000000000000bb", pid=200, worker_id="worker-2")
        return [
            (a, a.job(1, age=300.0)),
            (a, a.span(3, 1, age=290.0, **first)),
            (b, b.job(2, age=280.0, **second)),
        ]

    told = []
    for order in (range(3), data.draw(st.permutations(range(3)))):
        held, sent = Held(rules=RULES), records()
        for index in order:
            held.tell(*sent[index])
        told.append([_said(held.job(job_key(number))) for number in (1, 2)])
        assert held.metrics()
    assert told[0] == told[1]


def _said(job: JobView) -> tuple[object, ...]:
    assert job.cause in CAUSES
    assert job.confidence is not None
    assert 0 <= job.confidence <= 1
    assert (job.cause == "unknown") == (job.confidence == 0)
    assert job.cause_text
    assert job.advice
    return job.cause, job.confidence, job.cause_text, job.advice, job.severity


# --- whom it wakes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span", "severity"),
    [
        # Late by a default alone wakes nobody …
        (HTTP, "warning"),
        ({"wait_kind": "lock", "lock_name": "x"}, "warning"),
        # A database that computes is silent, for however long.
        (PG | {"wait_kind": "socket", "wait_unbounded": True, "wait_idle": 690.0}, "warning"),
        # … unless the evidence alone is proof: a circle, a holder that is dead, a peer silent for five minutes.
        ({"wait_kind": "lock", "lock_cycle": ["a waits for b", "b waits for a"]}, "page"),
        ({"wait_kind": "lock", "lock_holder_certainty": "nobody"}, "page"),
        (HTTP | {"wait_kind": "socket", "wait_unbounded": True, "wait_idle": 301.0}, "page"),
        # The peer has sent something: slow, not silent.
        (HTTP | {"wait_kind": "socket", "wait_unbounded": True, "wait_idle": 1.0}, "warning"),
        # A timeout is in force: it will end by itself.
        (HTTP | {"wait_kind": "socket", "wait_timeout": 900.0, "wait_idle": 600.0}, "warning"),
    ],
)
def test_evidence_that_proves_itself(span: dict[str, Any], severity: str) -> None:
    held, worker = Held(), Process()
    held.tell(worker, worker.job(1, age=700.0), worker.span(2, 1, age=690.0, **span))
    job = held.job("id-1")
    assert (job.state, job.basis, job.severity) == ("stuck", "default", severity)
    held.wait(11)
    assert f'severity="{severity}"' in held.metrics()


def test_a_lock_whose_holder_is_stuck_wakes_somebody() -> None:
    """As soon as the holder is; and it stays a page until it is over."""
    held, worker, other = Held(), Process(), Process(id="00000000000000bb", pid=200, worker_id="worker-2")
    held.tell(worker, worker.job(1, age=70.0), worker.span(2, 1, age=60.0, wait_kind="redis_lock", lock_key="r"))
    held.tell(other, other.job(3, age=65.0, job_holds=["r"]))
    assert held.job("id-1").severity == "warning"
    held.tell(other, other.http(4, 3, age=61.0))
    assert held.job("id-3").state == "stuck"
    assert held.job("id-1").severity == "page"
    held.tell(other, other.closed(4))
    held.tell(worker, worker.state(1, 2))
    assert held.job("id-3").state == "running"
    assert held.job("id-1").severity == "page"


def test_a_job_that_moves_is_not_accused() -> None:
    """Overdue is not stuck: whatever its code does, nothing keeps it."""
    held, worker = Held(rules=RULES), Process()
    held.tell(worker, worker.job(1, age=300.0, job_movement_age=1.0, thread_cpu_ratio=0.99))
    job = held.job("id-1")
    assert (job.state, job.cause, job.confidence) == ("overdue", "unknown", 0)
    assert "still active" in (job.cause_text or "")


# --- incidents ----------------------------------------------------------------------------------------------------


def test_the_culprit_and_its_victims_are_one_incident() -> None:
    held, worker = Held(rules=RULES), Process()
    held.tell(
        worker,
        worker.job(1, age=300.0, loop_lag=50.0, loop_culprit=True),
        worker.job(2, age=300.0, loop_lag=50.0, wait_kind="loop", loop_job_id="id-1", loop_job_name="tasks.charge"),
    )
    assert held.job("id-1").incident == held.job("id-2").incident
    assert "job tasks.charge id-1 blocks its event loop" in (held.job("id-2").cause_text or "")


def test_an_incident_waits_for_a_second_look() -> None:
    """What is seen first may be a guess: the incident is named when it is plain, and never anew."""
    held, worker = Held(rules=RULES), Process()
    held.tell(worker, worker.job(1, age=300.0, thread_cpu_ratio=0.9))
    job = held.job("id-1")
    assert (job.state, job.cause, job.incident) == ("stuck", "cpu_loop", None)
    assert "lastspan_job_stuck{" not in held.metrics()
    held.wait(5)
    held.tell(worker, worker.span(2, 1, age=5.0, **HTTP | {"wait_timeout": 900.0}))
    named = held.job("id-1").incident
    assert named is not None
    assert named.startswith("http-")
    assert f'incident="{named}"' in held.metrics()
    held.tell(worker, worker.closed(2), worker.job(1, age=306.0, wait_kind="queue"))
    assert (held.job("id-1").cause, held.job("id-1").incident) == ("waiting", named)


@pytest.mark.parametrize("interval", [15.0, 1.0])
def test_a_guess_is_good_enough_after_a_moment(interval: float) -> None:
    """Ten seconds, or two reports; what is seen later does not name it anew."""
    held, worker = Held(rules=RULES), Process(interval=interval)
    held.tell(worker, worker.job(1, age=300.0))
    bound = min(10.0, 2 * interval)
    held.wait(bound - 0.5)
    assert held.job("id-1").incident is None
    held.wait(1)
    held.tell(worker, worker.state(1))
    unnamed = held.job("id-1").incident
    assert unnamed is not None
    held.tell(worker, worker.job(1, age=313.0, wait_kind="sleep"))
    job = held.job("id-1")
    assert (job.cause, job.incident) == ("waiting", unnamed)
    assert 'lastspan_jobs_stuck_total{cause="unknown"' in held.metrics()


# --- redelivery ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "spoken", "cause"),
    [
        # The same attempt in two processes that both go on speaking.
        ({}, True, "redelivered"),
        # The first process has not been heard since: its end may be under way.
        ({}, False, "unknown"),
        # Another attempt is a retry.
        ({"job_attempt": 2}, True, "unknown"),
        # Another framework's job has the same id by chance.
        ({"job_system": "rq"}, True, "unknown"),
    ],
)
def test_the_same_job_twice(values: dict[str, Any], spoken: bool, cause: str) -> None:
    held, first, second = Held(rules=RULES), Process(), Process(id="00000000000000bb", pid=200, worker_id="worker-2")
    held.tell(first, first.job(1, age=300.0))
    held.tell(second, second.job(2, age=1.0, job_id="id-1", **values))
    for _ in range(2):
        held.wait(10)
        held.tell(second, second.state(2))
        if spoken:
            held.tell(first, first.state(1))
    assert held.job(job_key(1)).cause == cause


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        # Two threads or greenlets of one worker have it.
        ({}, "redelivered"),
        # Plain code may well call several of its jobs the same.
        ({"job_system": "python"}, "unknown"),
        # A job inside of a job: one of them is part of the other.
        ({"job_outer_span_id": job_key(1)[33:]}, "unknown"),
        # A retry.
        ({"job_attempt": 2}, "unknown"),
    ],
)
def test_the_same_job_twice_in_one_process(values: dict[str, Any], cause: str) -> None:
    held, process = Held(rules=RULES), Process()
    system = {key: values[key] for key in values if key == "job_system"}
    held.tell(process, process.job(1, age=300.0, **system))
    held.tell(process, process.job(2, age=1.0, job_id="id-1", **values))
    for _ in range(2):
        held.wait(10)
        held.tell(process, process.state(1, 2))
    assert held.job(job_key(1)).cause == cause
