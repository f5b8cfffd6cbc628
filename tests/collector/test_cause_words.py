"""What a person reads at three in the morning: each cause's sentence and its first step, word for word.

`python -m tests.collector.test_cause_words` writes the file of sentences anew; read the diff before it is committed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.collector.held import Held
from tests.collector.records import Process, at, job_key, sessions, span_id

from lastspan.collector.judge.cause import Brief
from lastspan.collector.judge.cause.brief import NAME, WHY
from lastspan.collector.model.records import DatabaseSession
from lastspan.collector.publish.shapes import JobView
from lastspan.semconv.vocabulary import CAUSES, WAITS

WORDS = Path(__file__).with_name("cause_words.json")

CODE: dict[str, Any] = {
    "code_function_name": "sync",
    "code_file_path": "/srv/app/billing/sync.py",
    "code_line_number": 88,
    "stack_age": 240.0,
    "thread_cpu_ratio": 0.0,
}
COUNTS = {"stack_age", "wait_idle", "loop_lag", "repeat_window"}
RULES = [{"match": {"job_name": "tasks.*"}, "allowed": "2m"}]
PG: dict[str, Any] = {"db_system_name": "postgresql", "server_address": "db", "server_port": 5432}


class Scene:
    """Jobs that are late, and what else there is; *later*: the same, seen a while later."""

    def __init__(self, *, later: bool = False, copies: int = 1, process: type[Process] = Process) -> None:
        self.held = Held(rules=RULES, silent_after=3)
        self.later = later
        self.numbers = [1 + 100 * copy for copy in range(copies)]
        """Of the jobs that are late, the oldest first."""
        self.worker = process(pid=31)
        self.other = process(id="00000000000000bb", pid=77, host="host-2", worker_id="worker-2")

    def job(self, **values: Any) -> None:
        """The job itself is late: it has no open child."""
        line = {"code_line_number": 88 + self.later} if "thread_cpu_ratio" in values else {}
        values = self.seen(CODE | line | values)
        for nth, number in enumerate(self.numbers):
            record = self.worker.job(number, name="tasks.sync", age=self.age(250.0 - nth), **values)
            self.held.tell(self.worker, record)

    def call(self, name: str, **values: Any) -> None:
        """A span of the job is late."""
        values = self.seen(CODE | values)
        for nth, number in enumerate(self.numbers):
            job = self.worker.job(number, name="tasks.sync", age=self.age(250.0 - nth))
            call = self.worker.span(number + 1, number, name=name, age=self.age(240.0 - nth), **values)
            self.held.tell(self.worker, job, call)

    def holder(self, **values: Any) -> None:
        """Another job, in another process, that runs and is late for nothing."""
        line = 12 + self.later  # it is elsewhere at each look
        code = {"code_function_name": "close", "code_file_path": "/srv/app/billing/month.py", "code_line_number": line}
        record = self.other.job(9, name="tasks.month", age=self.age(70.0), **(code | values))
        self.held.tell(self.other, record)

    def age(self, seconds: float) -> float:
        return seconds + 17 * self.later

    def seen(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return evidence as it is now: what counts has gone on."""
        if not self.later:
            return values
        more = {name: value + 1.7 for name, value in values.items() if name in COUNTS}
        more |= {name: 2 * value for name, value in values.items() if name in ("repeat_count", "repeat_errors")}
        more |= {name: value + 2 for name, value in values.items() if name == "loop_line"}
        more |= {name: ["R"] * len(value) for name, value in values.items() if name == "wait_process_states"}
        return values | more | {name: value * 0.97 for name, value in values.items() if name.endswith("_ratio")}


Make = Callable[[Scene], None]
CASES: dict[str, Make] = {}


def case(make: Make) -> Make:
    CASES[make.__name__] = make
    return make


@cache
def told(make: Make, *, later: bool = False, process: type[Process] = Process) -> JobView:
    scene = Scene(later=later, process=process)
    make(scene)
    return scene.held.job(job_key(1))


# --- network ------------------------------------------------------------------------------------------------------


@case
def http_call(scene: Scene) -> None:
    scene.call("GET", http_request_method="GET", server_address="api.example", server_port=443, call_timeout=900.0)


@case
def http_call_without_timeout(scene: Scene) -> None:
    scene.call(
        "GET",
        http_request_method="GET",
        server_address="api.example",
        server_port=443,
        wait_kind="http",
        wait_unbounded=True,
        wait_idle=239.0,
    )


@case
def http_without_client_instrumentation(scene: Scene) -> None:
    scene.job(wait_kind="http", wait_peer="10.0.0.9:443", wait_unbounded=True, wait_idle=239.0)


@case
def rpc_call(scene: Scene) -> None:
    scene.call("/shop.Cart/Get", rpc_system="grpc", rpc_method="Get", server_address="cart", server_port=50051)


@case
def socket_that_is_silent(scene: Scene) -> None:
    scene.job(wait_kind="socket", wait_call="socket.recv", wait_peer="10.0.0.9:7000", wait_idle=238.0)


@case
def socket_without_timeout(scene: Scene) -> None:
    scene.job(wait_kind="socket", wait_peer="10.0.0.9:7000", wait_unbounded=True)


@case
def connection_that_is_not_made(scene: Scene) -> None:
    scene.job(wait_kind="connect", wait_peer="10.255.0.1:443", wait_timeout=600.0)


@case
def name_that_is_not_resolved(scene: Scene) -> None:
    scene.job(wait_kind="dns", wait_target="db.internal")


@case
def tls_handshake(scene: Scene) -> None:
    scene.job(
        wait_kind="connect", wait_call="SSLSocket.do_handshake", wait_purpose="tls_handshake", wait_peer="10.0.0.9:443"
    )


@case
def http_call_whose_name_is_not_resolved(scene: Scene) -> None:
    scene.call("GET", http_request_method="GET", server_address="api.example", server_port=443, wait_kind="dns")


@case
def nobody_connects(scene: Scene) -> None:
    scene.job(wait_kind="accept", wait_call="socket.accept", wait_local="127.0.0.1:7000")


@case
def broker_that_does_not_answer(scene: Scene) -> None:
    redis = {"db_system_name": "redis", "server_address": "queue", "server_port": 6379}
    scene.call("PING", **redis, wait_kind="socket", wait_call="Producer.publish", wait_purpose="broker")


@case
def result_backend_that_does_not_answer(scene: Scene) -> None:
    where = {"code_function_name": "Backend.mark_as_done", "code_file_path": "/app/celery/backends/base.py"}
    scene.job(wait_kind="socket", wait_peer="10.0.0.9:6379", wait_purpose="result_backend", **where)


# --- loops of calls -----------------------------------------------------------------------------------------------

REPEAT: dict[str, Any] = {
    "stack_age": 0.1,
    "repeat_call": "GET api.example/orders",
    "repeat_peer": "api.example:443",
    "repeat_count": 2412,
    "repeat_window": 241.0,
    "repeat_errors": 0,
}


@case
def endless_pagination(scene: Scene) -> None:
    scene.job(thread_cpu_ratio=0.04, **REPEAT)


@case
def pages_of_many_things(scene: Scene) -> None:
    scene.job(**(REPEAT | {"repeat_call": "GET api.example/orders/…", "repeat_varies": True}))


@case
def retries_that_all_fail(scene: Scene) -> None:
    scene.job(**(REPEAT | {"repeat_errors": 2412, "repeat_error": "503"}))


@case
def retries_around_a_lock_timeout(scene: Scene) -> None:
    failing = {"repeat_call": "SELECT", "repeat_peer": "db:5432", "repeat_count": 80, "repeat_errors": 78}
    scene.job(**(REPEAT | failing | {"repeat_error": "LockNotAvailable", "wait_kind": "sleep"}))


@case
def calls_that_looks_alone_tell(scene: Scene) -> None:
    scene.job(stack_age=0.1, wait_kind="http", repeat_call="requests.get", repeat_peer="10.0.0.9:443")


@case
def calls_from_nowhere(scene: Scene) -> None:
    """No code line, no peer."""
    scene.held.tell(scene.worker, scene.worker.job(1, name="tasks.sync", age=250.0, repeat_call="GET", repeat_count=9))


@case
def batch_that_moves(scene: Scene) -> None:
    scene.job(job_movement_age=2.0, **REPEAT)


# --- databases ----------------------------------------------------------------------------------------------------


@case
def query(scene: Scene) -> None:
    scene.call("SELECT", **PG, db_query_summary="SELECT orders", wait_kind="db")


@case
def query_without_client_instrumentation(scene: Scene) -> None:
    scene.job(wait_kind="db", wait_peer="10.0.0.5:5432", wait_unbounded=True)


@case
def listening(scene: Scene) -> None:
    waits = {"wait_kind": "db", "wait_call": "psycopg.notifies", "wait_purpose": "notification"}
    scene.job(**waits, wait_peer="db:5432", db_session="30")
    scene.held.pipeline.database_facts(
        "db:5432", [DatabaseSession("db:5432", "30", state="idle", since_state_s=scene.age(200.0))]
    )


@case
def blocking_command(scene: Scene) -> None:
    scene.call("BRPOP", db_system_name="redis", db_operation_name="BRPOP", server_address="queue", server_port=6379)


@case
def row_lock_behind_a_queue(scene: Scene) -> None:
    """The next one in the queue waits too: the one at its head is what matters."""
    scene.call("SELECT", **PG, wait_kind="db", db_session="30")
    scene.holder(**sessions(("postgresql", "db:5432", "32", "")))
    seen = [
        DatabaseSession("db:5432", "30", since_query_s=scene.age(238.0), blocked_by=("31",), locks="orders (table)"),
        DatabaseSession(
            "db:5432", "31", "migration", "10.0.0.4:9003", "active", since_state_s=scene.age(400.0), blocked_by=("32",)
        ),
        DatabaseSession("db:5432", "32", "web", "10.0.0.3:9002", "idle in transaction", since_xact_s=scene.age(840.0)),
    ]
    scene.held.pipeline.database_facts("db:5432", seen)


@case
def row_lock_seen_by_a_probe(scene: Scene) -> None:
    scene.call("UPDATE", **PG, wait_kind="db", db_session="30", wait_local="10.0.0.2:9001")
    scene.holder(**sessions(("postgresql", "db:5432", "31", "10.0.0.3:9002")))
    _row_lock(scene)


@case
def row_lock_held_by_a_stranger(scene: Scene) -> None:
    scene.call("UPDATE", **PG, wait_local="10.0.0.2:9001")
    _row_lock(scene)


def _row_lock(scene: Scene) -> None:
    waits = DatabaseSession(
        "db:5432",
        "30",
        client="10.0.0.2:9001",
        since_query_s=scene.age(238.0),
        blocked_by=("31",),
        locks="orders (row)",
    )
    holds = DatabaseSession(
        "db:5432",
        "31",
        "psql",
        "10.0.0.3:9002",
        "idle in transaction",
        since_xact_s=scene.age(840.0),
        since_state_s=scene.age(800.0),
    )
    scene.held.pipeline.database_facts("db:5432", [waits, holds])


@case
def advisory_lock(scene: Scene) -> None:
    scene.call("pg_advisory_lock", **PG, wait_kind="db_lock", lock_name="advisory 42", lock_key="pg:db:5432:42")


@case
def advisory_lock_of_a_job(scene: Scene) -> None:
    scene.call("pg_advisory_lock", **PG, wait_kind="db_lock", lock_name="advisory 42", lock_key="pg:db:5432:42")
    scene.holder(job_holds=["pg:db:5432:42"])


@case
def sqlite_file(scene: Scene) -> None:
    scene.call("INSERT", db_system_name="sqlite", db_namespace="/srv/app/jobs.db", wait_kind="sleep")


@case
def sqlite_query(scene: Scene) -> None:
    scene.call("SELECT", db_system_name="sqlite", db_namespace="/srv/app/jobs.db", thread_cpu_ratio=0.98)


# --- locks --------------------------------------------------------------------------------------------------------


@case
def lock_of_an_unknown_holder(scene: Scene) -> None:
    scene.call("self._lock in billing/pool.py:41", wait_kind="lock", lock_name="self._lock", lock_kind="threading.Lock")


@case
def lock_of_a_thread(scene: Scene) -> None:
    scene.call(
        "self._lock in billing/pool.py:41",
        wait_kind="lock",
        lock_name="self._lock",
        lock_holder_thread="flusher",
        **at("lock_holder", "flush", "/srv/app/billing/pool.py", 60),
        lock_holder_certainty="certain",
    )


@case
def lock_without_a_name(scene: Scene) -> None:
    """The source names no lock: its place stands for it."""
    scene.call("lock in billing/pool.py:41", wait_kind="lock", lock_file="/srv/app/billing/pool.py", lock_line=41)


@case
def semaphore_with_its_place(scene: Scene) -> None:
    at_line = {"lock_file": "/srv/app/billing/pool.py", "lock_line": 41}
    scene.call("self._slots in billing/pool.py:41", wait_kind="semaphore", lock_name="self._slots", **at_line)


@case
def lock_of_a_job(scene: Scene) -> None:
    scene.call(
        "self._lock in billing/pool.py:41",
        wait_kind="lock",
        lock_name="self._lock",
        lock_holder_job_id="id-9",
        **at("lock_holder", "close", "/srv/app/billing/month.py", 12),
        lock_holder_certainty="likely",
    )
    scene.holder()


@case
def lock_that_was_leaked(scene: Scene) -> None:
    scene.call(
        "self._lock in billing/pool.py:41",
        wait_kind="lock",
        lock_name="self._lock",
        lock_holder_certainty="nobody",
    )


@case
def redis_lock_of_another_process(scene: Scene) -> None:
    scene.call("redis lock nightly", wait_kind="redis_lock", lock_name="nightly", lock_key="redis:cache:6379/0:nightly")
    scene.holder(job_holds=["redis:cache:6379/0:nightly"])


@case
def file_lock_of_a_process(scene: Scene) -> None:
    scene.job(wait_kind="file_lock", wait_peer="/var/lock/nightly", lock_key="flock:host-1:1:2", lock_holder_pid=4711)


@case
def deadlock_in_a_process(scene: Scene) -> None:
    scene.call(
        "B in billing/sync.py:88",
        wait_kind="lock",
        lock_name="B",
        lock_holder_job_id="month-1",
        lock_holder_certainty="certain",
        lock_cycle=["job sync-1 holds A, waits for B", "job month-1 holds B, waits for A"],
    )


@case
def deadlock_across_processes(scene: Scene) -> None:
    scene.call("lock b", wait_kind="redis_lock", lock_name="b", lock_key="redis:c:6379/0:b")
    scene.held.tell(scene.worker, scene.worker.job(1, name="tasks.sync", age=251.0, job_holds=["redis:c:6379/0:a"]))
    scene.holder(wait_kind="redis_lock", lock_name="a", lock_key="redis:c:6379/0:a", job_holds=["redis:c:6379/0:b"])


# --- the interpreter, the loop, the processor ---------------------------------------------------------------------


@case
def endless_loop(scene: Scene) -> None:
    scene.job(thread_cpu_ratio=0.99, code_first_line=86, code_last_line=91)


@case
def endless_loop_on_a_full_machine(scene: Scene) -> None:
    scene.job(thread_cpu_ratio=0.08, thread_runqueue_ratio=0.45)


BLOCKED: dict[str, Any] = {"loop_lag": 42.0, "loop_culprit": False, "wait_kind": "loop"}


@case
def event_loop_culprit(scene: Scene) -> None:
    scene.job(loop_lag=42.0, loop_culprit=True, thread_cpu_ratio=0.99)


@case
def event_loop_victim(scene: Scene) -> None:
    scene.job(**BLOCKED, loop_task="Task-7", **at("loop", "crunch", "/srv/app/billing/pdf.py", 9))


@case
def event_loop_victim_of_a_job(scene: Scene) -> None:
    scene.job(**BLOCKED, loop_job_id="id-9", loop_job_name="tasks.month", **at("loop", "crunch", "/srv/app/pdf.py", 9))


@case
def overslept(scene: Scene) -> None:
    scene.job(thread_cpu_ratio=0.97, code_line_number=88)
    stood = at("process_overslept", "sync", "/srv/app/billing/sync.py", 88)
    scene.held.tell(scene.worker, scene.worker.state(1, process_overslept=scene.age(61.0), **stood))


# --- processes ----------------------------------------------------------------------------------------------------


def _silent(scene: Scene, state: str | None, cpu: float = -1.0, wait: str = "") -> None:
    parent = Process(id="00000000000000cc", pid=1)
    scene.job()
    for _ in range(5):
        children: dict[str, Any] = (
            {} if state is None else {"process_child_pids": [31], "process_child_states": [state]}
        )
        if state is not None:
            children |= {"process_child_cpu_ratios": [cpu], "process_child_waits": [wait]}
        scene.held.tell(parent, parent.state(**children))
        scene.held.wait(10)


@case
def killed(scene: Scene) -> None:
    scene.job(job_acks_late=False)
    parent = Process(id="00000000000000a0", pid=30)
    scene.held.tell(parent, parent.job_ended(1, pid=31, exit_signal=9, reason="its process was killed by signal 9"))


def _killed(scene: Scene, **values: Any) -> None:
    scene.job(job_redelivery_after=3600.0, job_broker="redis", **values)
    parent = Process(id="00000000000000a0", pid=30)
    scene.held.tell(parent, parent.job_ended(1, pid=31, exit_signal=9, reason="its process was killed by signal 9"))


@case
def killed_and_acked_late_all_the_same(scene: Scene) -> None:
    _killed(scene, job_acks_late=True, job_on_lost="ack")


@case
def killed_and_given_back(scene: Scene) -> None:
    _killed(scene, job_acks_late=True, job_on_lost="requeue")


@case
def killed_and_rejected(scene: Scene) -> None:
    _killed(scene, job_acks_late=True, job_on_lost="reject")


@case
def killed_and_retried(scene: Scene) -> None:
    _killed(scene, job_acks_late=False, job_on_lost="retry")


@case
def killed_by_an_older_worker(scene: Scene) -> None:
    _killed(scene, job_acks_late=True)


@case
def lost_with_rabbitmq(scene: Scene) -> None:
    scene.job(job_acks_late=True, job_on_lost="ack", job_broker="amqp")
    scene.held.wait(50)


@case
def lost(scene: Scene) -> None:
    scene.job(job_acks_late=False)
    scene.held.wait(50)


@case
def lost_and_given_out_again(scene: Scene) -> None:
    scene.job(job_acks_late=True, job_redelivery_after=3600.0)
    scene.held.wait(50)


@case
def lost_to_its_parent(scene: Scene) -> None:
    _silent(scene, None)


@case
def stopped(scene: Scene) -> None:
    _silent(scene, "T", 0.0, "do_signal_stop")


@case
def frozen_by_a_control_group(scene: Scene) -> None:
    _silent(scene, "S", 0.0, "cgroup_frozen")


@case
def waits_in_the_kernel(scene: Scene) -> None:
    _silent(scene, "D", 0.0, "nfs_wait_bit_killable")


@case
def native_code_computes(scene: Scene) -> None:
    _silent(scene, "R", 0.99)


@case
def native_code_waits(scene: Scene) -> None:
    _silent(scene, "S", 0.0, "futex_wait_queue")


@case
def silent_and_alive(scene: Scene) -> None:
    _silent(scene, "S")


# --- jobs ---------------------------------------------------------------------------------------------------------


@case
def job_that_nobody_started(scene: Scene) -> None:
    scene.job(wait_kind="job", wait_job_id="sync-43", wait_call="AsyncResult.get")


@case
def job_that_runs(scene: Scene) -> None:
    scene.job(wait_kind="job", wait_job_id="id-9")
    scene.holder()


@case
def job_that_is_stuck(scene: Scene) -> None:
    scene.job(wait_kind="job", wait_job_id="id-9")
    scene.holder()
    scene.held.wait(20)
    scene.held.tell(scene.other, scene.other.job(9, name="tasks.month", age=300.0, wait_kind="sleep"))
    scene.held.tell(scene.worker, scene.worker.state(1))


@case
def job_that_failed(scene: Scene) -> None:
    scene.job(wait_kind="job", wait_job_id="id-9")
    scene.holder()
    scene.held.tell(scene.other, scene.other.closed(9, "error"))
    scene.held.wait(20)
    scene.held.tell(scene.worker, scene.worker.state(1))


@case
def job_that_waits_for_itself(scene: Scene) -> None:
    scene.job(wait_kind="job", wait_job_id="id-1")


@case
def redelivered(scene: Scene) -> None:
    scene.job(wait_kind="sleep", job_redelivery_after=200.0)
    twins = {number + 10: f"id-{number}" for number in scene.numbers}
    for number, job_id in twins.items():
        scene.held.tell(scene.other, scene.other.job(number, name="tasks.sync", age=40.0, job_id=job_id, **CODE))
    for _ in range(3):
        scene.held.wait(10)
        scene.held.tell(scene.worker, scene.worker.state(*scene.numbers))
        scene.held.tell(scene.other, scene.other.state(*twins))


@case
def older_than_its_visibility_timeout(scene: Scene) -> None:
    scene.job(job_redelivery_after=200.0, job_acks_late=True)


@case
def stuck_elsewhere_and_older_than_that(scene: Scene) -> None:
    scene.job(wait_kind="socket", wait_peer="10.0.0.9:7000", job_redelivery_after=200.0, job_acks_late=True)


# --- other waits --------------------------------------------------------------------------------------------------

OTHERS: dict[str, dict[str, Any]] = {
    "sleep": {"wait_call": "time.sleep", "code_first_line": 86, "code_last_line": 91},
    "queue": {"wait_call": "Queue.get", "lock_name": "self.inbox"},
    "event": {"wait_call": "Event.wait", "lock_name": "done"},
    "condition": {"wait_call": "Condition.wait"},
    "barrier": {"wait_call": "Barrier.wait"},
    "thread": {"wait_call": "Thread.join", "wait_target": "uploader"},
    "task": {"wait_target": "Task-9"},
    "future": {"wait_call": "Future.result"},
    "process": {"wait_call": "Popen.wait", "wait_pids": [4711]},
    "pipe": {"wait_pids": [4711], "wait_programs": ["gzip"], "wait_process_states": ["S"]},
    "pool": {"wait_call": "ConnectionPool.getconn", "wait_timeout": 3600.0},
    "signal": {"wait_call": "signal.pause", "wait_unbounded": True},
    "input": {"wait_call": "input"},
    "disk": {"wait_target": "/mnt/share"},
}


def _wait(kind: str, values: dict[str, Any]) -> Make:
    return lambda scene: scene.job(wait_kind=kind, **values)


CASES |= {f"wait_for_{kind}": _wait(kind, values) for kind, values in OTHERS.items()}


@case
def unknown(scene: Scene) -> None:
    scene.job()


@case
def unknown_span(scene: Scene) -> None:
    scene.call("render", span_expected_duration=60.0)


@case
def unseen(scene: Scene) -> None:
    scene.held.tell(
        scene.worker, scene.worker.job(1, name="tasks.sync", age=250.0, stack_unseen="a free-threaded build")
    )


# --- the tests ----------------------------------------------------------------------------------------------------


def as_words(job: JobView) -> dict[str, Any]:
    return {
        "cause": job.cause,
        "confidence": job.confidence,
        "text": job.cause_text,
        "advice": job.advice,
        "brief": {name: text for name, text in msgspec.structs.asdict(brief(job)).items() if text},
    }


def brief(job: JobView) -> Brief:
    assert job.brief is not None
    return job.brief


@pytest.mark.parametrize("name", CASES)
def test_words(name: str) -> None:
    """The sentence names the thing, since when, who and where; the advice is one first step."""
    assert as_words(told(CASES[name])) == json.loads(WORDS.read_text(encoding="utf-8"))[name]


@pytest.mark.parametrize("name", CASES)
def test_labels_do_not_change_while_nothing_but_time_goes_on(name: str) -> None:
    """A label that changes is another series: ages, shares, and lines of code that runs are not in it."""
    first, later = told(CASES[name]), told(CASES[name], later=True)
    assert brief(first) == brief(later)


@pytest.mark.parametrize(
    "name", ["http_call", "redis_lock_of_another_process", "row_lock_seen_by_a_probe", "endless_loop"]
)
def test_what_is_read_on_the_page_of_the_job_goes_on(name: str) -> None:
    """The control: the same two moments differ in what the job's own page says."""
    assert told(CASES[name]).cause_text != told(CASES[name], later=True).cause_text


@pytest.mark.parametrize("value", ['"} or vector(1) #', "a\nb\\n\r\x00\x1b[31m", "\u202e\u200b 🦄 é", "x" * 4000])
def test_labels_are_one_bounded_line_that_can_be_seen(value: str) -> None:
    scene = Scene()
    facts = {
        "lock_name": value,
        "lock_holder_thread": value,
        "wait_target": value,
        **at("lock_holder", value, value, 1),
    }
    scene.call(value or "x", wait_kind="lock", **facts, code_function_name=value, code_file_path=f"/srv/{value}.py")
    found = brief(scene.held.job(job_key(1)))
    for text in (found.why, found.first_step, found.stopped_at, found.lock_holder):
        assert text.isprintable()
        assert text.encode()
    assert len(found.why) <= WHY
    assert len(found.first_step) <= WHY
    assert max(map(len, (found.stopped_at, found.lock_holder))) <= NAME


def test_every_cause_and_every_wait_has_its_words() -> None:
    """What is declared can come out, and what workers may tell is understood."""
    assert {told(make).cause for make in CASES.values()} == set(CAUSES)
    understood = [told(_wait(kind, {})) for kind in WAITS]
    assert [kind for kind, job in zip(WAITS, understood, strict=True) if job.cause == "unknown"] == []


def test_no_sentence_is_long() -> None:
    """It is read on a telephone."""
    assert {
        name: len(job.cause_text or "")
        for name, make in CASES.items()
        if len((job := told(make)).cause_text or "") > 400
    } == {}


def test_span_ids_are_those_of_the_scene() -> None:
    """The scene's job is the one that is asked about."""
    assert told(unknown).span_id == span_id(1).hex()


if __name__ == "__main__":
    words = {name: as_words(told(make)) for name, make in CASES.items()}
    WORDS.write_text(json.dumps(words, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
