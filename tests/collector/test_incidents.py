"""Incidents: jobs that have the same thing in the way share one, and it keeps its name."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.collector.held import Held
from tests.collector.records import Process, sessions, span_id

from lastspan.collector.model.records import DatabaseSession

RULES = [{"match": {"job_name": "tasks.*"}, "allowed": "2m"}]
REDIS: dict[str, Any] = {"wait_kind": "redis_lock", "wait_peer": "cache:6379"}
PG: dict[str, Any] = {"db_system_name": "postgresql", "server_address": "db", "server_port": 5432}


class Floor:
    """Several processes, each with one late job."""

    def __init__(self) -> None:
        self.held = Held(rules=RULES)
        self.processes: dict[int, Process] = {}

    def job(self, number: int, *, process: int | None = None, age: float = 300.0, **values: Any) -> None:
        pid = 100 + (process or number)
        worker = self.processes.setdefault(pid, Process(id=f"{pid:016x}", pid=pid, worker_id=f"worker-{pid}"))
        self.held.tell(worker, worker.job(number, age=age, **values))

    def call(self, number: int, of: int, **values: Any) -> None:
        worker = self.processes[100 + of]
        self.held.tell(worker, worker.http(number, of, age=200.0, **values))

    def incidents(self, *numbers: int, after: float = 11.0) -> list[str | None]:
        """Return the incidents of jobs when all that waits for a second look has a name."""
        self.held.wait(after)
        return [self.held.job(f"id-{number}").incident for number in numbers]


@pytest.fixture
def floor() -> Floor:
    return Floor()


# --- holders ------------------------------------------------------------------------------------------------------


def test_two_holders_are_two_incidents_whatever_the_locks_are_called(floor: Floor) -> None:
    floor.job(1, age=10.0, job_holds=["a"])
    floor.job(2, age=10.0, job_holds=["b"])
    for number, lock_key in ((3, "a"), (4, "b"), (5, "a")):
        floor.job(number, lock_key=lock_key, lock_name="self.rows", **REDIS)
    third, fourth, fifth = floor.incidents(3, 4, 5)
    assert third == fifth != fourth


def test_one_holder_is_one_incident_whatever_it_holds(floor: Floor) -> None:
    """A lock in Redis, one on a file, and rows of a database."""
    floor.job(1, age=10.0, job_holds=["r"], **sessions(("postgresql", "db:5432", "31", "")))
    floor.job(2, lock_key="r", **REDIS)
    floor.job(3, wait_kind="file_lock", lock_name="/tmp/x", lock_holder_job_id="id-1")
    floor.job(4, db_session="30", wait_peer="db:5432", wait_kind="db")
    seen = [DatabaseSession("db:5432", "30", blocked_by=("31",), locks="orders"), DatabaseSession("db:5432", "31")]
    floor.held.pipeline.database_facts("db:5432", seen)
    found = floor.incidents(2, 3, 4)
    assert len(set(found)) == 1
    assert str(found[0]).startswith("holder-")


def test_all_in_a_queue_of_sessions_wait_for_the_one_at_its_head(floor: Floor) -> None:
    for number, session in ((1, "30"), (2, "31")):
        floor.job(number, db_session=session, wait_peer="db:5432", wait_kind="db")
    seen = [
        DatabaseSession("db:5432", "30", blocked_by=("31", "32"), locks="orders"),
        DatabaseSession("db:5432", "31", blocked_by=("32",), locks="orders"),
        DatabaseSession("db:5432", "32", state="idle in transaction"),
    ]
    floor.held.pipeline.database_facts("db:5432", seen)
    first, second = floor.incidents(1, 2)
    assert first == second


def test_a_lock_of_threads_is_another_one_in_each_process(floor: Floor) -> None:
    """`self._lock` here and `self._lock` there are two; a file of one host is one."""
    for number in (1, 2):
        floor.job(number, wait_kind="lock", lock_name="self._lock")
        floor.job(number + 2, process=number + 2, wait_kind="file_lock", lock_name="/var/lock/x")
    for number in (5, 6):
        floor.job(number, process=5, wait_kind="lock", lock_name="self._lock", lock_holder_thread="worker-3")
    first, second, third, fourth, fifth, sixth = floor.incidents(1, 2, 3, 4, 5, 6)
    assert len({first, second, third, fifth}) == 4
    assert (third, fifth) == (fourth, sixth)


# --- peers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        ("https://api/orders/17", "https://api/orders/18", True),
        ("https://api/orders/17", "https://api/users/17", False),
        ("https://api/orders", "https://other/orders", False),
        ("https://api/a/3f2504e0-4f89-11d3-9a0c-0305e82c3301", "https://api/a/{}".format("b" * 31 + "1"), True),
    ],
)
def test_a_peer_and_the_path_without_its_ids(floor: Floor, one: str, other: str, are_same: bool) -> None:
    for number, url in ((1, one), (3, other)):
        host = url.split("/")[2]
        floor.job(number)
        floor.call(number + 1, number, url_full=url, server_address=host)
    first, second = floor.incidents(1, 3)
    assert (first == second) is are_same


def test_a_guess_at_the_first_look_does_not_make_a_second_incident(floor: Floor) -> None:
    """Its call is announced five seconds after its start: what the first of two jobs was seen to do was to compute."""
    floor.job(1, age=2.0, span_expected_duration=1.0, thread_cpu_ratio=0.6)
    floor.job(3)
    floor.call(4, 3)
    floor.held.wait(4)
    assert floor.held.job("id-1").cause == "cpu_loop"
    floor.held.tell(floor.processes[101], floor.processes[101].http(2, 1, age=5.5, wait_kind="socket"))
    first, second = floor.incidents(1, 3, after=1.0)
    assert first == second


def _child(pid: int, *known: str) -> dict[str, Any]:
    """Tell that it waits for a process; *known*: its program and state."""
    names = ("wait_programs", "wait_process_states")
    return {"wait_pids": [pid], **{name: [word] for name, word in zip(names, known, strict=False)}}


@pytest.mark.parametrize(
    ("kind", "waits", "lines", "are_same"),
    [
        # Each has its own: what they share is the code.
        ("process", (_child(4711), _child(4712)), (7, 7), True),
        ("process", (_child(4711, "gzip", "S"), _child(4712, "gzip", "R")), (7, 7), True),
        ("process", (_child(4711), _child(4712)), (7, 8), False),
        ("task", ({"wait_target": "Task-9"}, {"wait_target": "Task-10"}), (7, 7), True),
        # One of its own name is the same for all, wherever it is waited for.
        ("thread", ({"wait_target": "uploader"}, {"wait_target": "uploader"}), (7, 8), True),
        ("thread", ({"wait_target": "uploader"}, {"wait_target": "flusher"}), (7, 7), False),
    ],
)
def test_what_each_job_has_of_its_own(
    floor: Floor, kind: str, waits: tuple[dict[str, Any], ...], lines: tuple[int, int], are_same: bool
) -> None:
    """A hundred jobs, each with a child of its own that hangs at one line, are one incident."""
    for number, wait, line in zip((1, 2), waits, lines, strict=True):
        floor.job(number, wait_kind=kind, **wait, code_file_path="a.py", code_line_number=line)
    first, second = floor.incidents(1, 2)
    assert (first == second) is are_same


@pytest.mark.parametrize("is_probed", [False, True])
def test_a_query_waits_for_no_probe_where_there_is_none(floor: Floor, is_probed: bool) -> None:
    """Ten seconds are ten seconds, at night: its page goes out at once if nobody will know more."""
    if is_probed:
        floor.held.pipeline.database_facts("other:5432", [])
    floor.job(1, age=30.0, span_expected_duration=20.0)
    floor.held.tell(floor.processes[101], floor.processes[101].span(2, 1, age=25.0, wait_kind="db", **PG))
    before, after = floor.incidents(1, after=1.0), floor.incidents(1)
    assert before == ([None] if is_probed else after)
    assert after != [None]


# --- jobs ---------------------------------------------------------------------------------------------------------


def test_jobs_that_wait_for_one_job_share_an_incident(floor: Floor) -> None:
    for number in (1, 2):
        floor.job(number, age=10.0)
    for number, awaited in ((3, "id-1"), (4, "id-1"), (5, "id-2")):
        floor.job(number, wait_kind="job", wait_job_id=awaited)
    third, fourth, fifth = floor.incidents(3, 4, 5)
    assert third == fourth != fifth


def test_who_waits_for_a_stuck_job_has_in_the_way_what_that_one_has(floor: Floor) -> None:
    """A hundred parents of children that hang at one host are one incident."""
    for number in (1, 3):
        floor.job(number)
        floor.call(number + 1, number)
        floor.job(number + 10, wait_kind="job", wait_job_id=f"id-{number}")
    assert len(set(floor.incidents(1, 3, 11, 13))) == 1


def test_a_job_that_waits_for_itself_has_an_incident(floor: Floor) -> None:
    floor.job(1, wait_kind="job", wait_job_id="id-2")
    floor.job(2, wait_kind="job", wait_job_id="id-1")
    first, second = floor.incidents(1, 2)
    assert first == second
    assert str(first).startswith("deadlock-")


# --- processes ----------------------------------------------------------------------------------------------------


def test_the_loss_of_a_process_is_an_incident_of_its_own(floor: Floor) -> None:
    """And when it speaks again it has the one that it had."""
    floor.job(1)
    floor.call(2, 1)
    (before,) = floor.incidents(1)
    assert floor.incidents(1, after=46) != [before]
    assert floor.held.job("id-1").state == "lost"
    worker = floor.processes[101]
    floor.held.tell(worker, worker.state(1, 2))
    assert (floor.held.job("id-1").state, floor.held.job("id-1").incident) == ("stuck", before)


# --- how often ----------------------------------------------------------------------------------------------------


def times_stuck(floor: Floor) -> int:
    counts = re.findall(r"^lastspan_jobs_stuck_total\{.*\} (\S+)$", floor.held.metrics(), re.MULTILINE)
    return int(sum(map(float, counts)))


def test_a_change_of_mind_is_no_recovery(floor: Floor) -> None:
    """It hangs, its cause is seen better, its process is silent for a while, it seems to move: one time."""
    floor.job(1, job_movement_age=200.0)
    floor.held.wait(11)
    assert times_stuck(floor) == 1
    floor.job(1, wait_kind="sleep", job_movement_age=200.0)
    floor.held.wait(50)
    assert floor.held.job("id-1").state == "lost"
    floor.job(1, age=365.0, wait_kind="sleep", job_movement_age=1.0)
    assert floor.held.job("id-1").state == "stuck"
    floor.held.wait(40)
    assert times_stuck(floor) == 1


def test_a_span_that_closes_is_a_recovery(floor: Floor) -> None:
    floor.job(1, age=100.0, span_expected_duration=9000.0)
    for number in (2, 3):
        floor.call(number, 1)
        assert floor.held.job("id-1").state == "stuck"
        floor.held.tell(floor.processes[101], floor.processes[101].closed(number))
        assert floor.held.job("id-1").state == "running"
    assert times_stuck(floor) == 2


def test_a_job_that_goes_on_and_ends_counts_once(floor: Floor) -> None:
    floor.job(1, wait_kind="sleep")
    assert floor.held.job("id-1").state == "stuck"
    floor.held.tell(floor.processes[101], floor.processes[101].closed(1))
    floor.job(2, wait_kind="sleep", span_parent_id=span_id(9).hex())
    assert floor.held.job("id-2").state == "stuck"
    assert times_stuck(floor) == 2
