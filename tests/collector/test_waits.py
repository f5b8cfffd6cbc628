"""Who waits for whom: locks, sessions, jobs, and the way from each to the one that holds up all."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.held import SECOND, Held
from tests.collector.records import Process, job_key, sessions, span_id

from lastspan.collector.judge.graph import components
from lastspan.collector.model.records import DatabaseSession, DatabaseWait
from lastspan.collector.track.databases import KEPT_NS, DatabaseFacts

PG: dict[str, Any] = {"db_system_name": "postgresql", "server_address": "db", "server_port": 5432}
RULES = [{"match": {"job_name": "tasks.*"}, "allowed": "2m"}]


class Yard:
    """Processes with one job each: job *n* is `id-n` in process *n*, pid 100 + n."""

    def __init__(self, **settings: Any) -> None:
        self.held = Held(rules=RULES, **settings)
        self._processes: dict[int, Process] = {}

    def job(self, number: int, *, age: float = 300.0, **values: Any) -> None:
        process = self._processes.setdefault(number, _process(number))
        self.held.tell(process, process.job(number, age=age, **values))

    def span(self, number: int, of: int, **values: Any) -> None:
        process = self._processes[of]
        self.held.tell(process, process.span(number, of, age=200.0, **values))

    def closed(self, number: int) -> None:
        self.held.tell(self._processes[number], self._processes[number].closed(number))


def _process(number: int) -> Process:
    return Process(id=f"{number:016x}", pid=100 + number, worker_id=f"worker-{number}")


@pytest.fixture
def yard() -> Yard:
    return Yard()


def lock(key: str) -> dict[str, Any]:
    return {"wait_kind": "redis_lock", "lock_key": key, "lock_name": key}


# --- the chain ----------------------------------------------------------------------------------------------------


def test_the_way_to_the_one_that_holds_up_all(yard: Yard) -> None:
    """1 waits for a lock of 2, which waits for job 3, which talks to a peer."""
    yard.job(1, **lock("a"))
    yard.job(2, job_holds=["a"], wait_kind="job", wait_job_id="id-3")
    yard.job(3, age=5.0)
    yard.span(4, 3, http_request_method="GET", server_address="api", server_port=443)
    blocked = yard.held.job("id-1").blocked_by
    assert blocked is not None
    assert [(step.kind, step.holder_job_id, step.peer) for step in blocked.chain] == [
        ("redis_lock", "id-2", None),
        ("job", "id-3", None),
        (None, None, "api:443"),
    ]
    assert (blocked.holder_job_key, blocked.holder_pid, blocked.holder_state) == (job_key(2), 102, "stuck")
    assert (blocked.lock, blocked.certainty, blocked.is_circle) == ("a", "certain", False)
    yard.closed(2)
    blocked = yard.held.job("id-1").blocked_by
    assert blocked is not None
    assert (blocked.holder_job_id, len(blocked.chain)) == (None, 1)


def test_a_circle_is_followed_once(yard: Yard) -> None:
    """Three that wait for each other, and one that waits for them but is in no circle itself."""
    for number, (holds, wants) in enumerate([("a", "b"), ("b", "c"), ("c", "a")], start=1):
        yard.job(number, job_holds=[holds], **lock(wants))
    yard.job(4, **lock("a"))
    for number in (1, 2, 3):
        job = yard.held.job(f"id-{number}")
        assert job.cause == "deadlock"
        assert job.blocked_by is not None
        assert (job.blocked_by.is_circle, len(job.blocked_by.chain)) == (True, 3)
    assert len({yard.held.job(f"id-{number}").incident for number in (1, 2, 3)}) == 1
    outside = yard.held.job("id-4")
    assert (outside.cause, outside.severity) == ("lock_wait", "page")
    assert outside.blocked_by is not None
    assert not outside.blocked_by.is_circle


@pytest.mark.parametrize(
    ("told", "holder", "certainty"),
    [
        # By span, in the same trace.
        ({"lock_holder_span_id": span_id(2).hex(), "lock_holder_certainty": "certain"}, "id-2", "certain"),
        # By id.
        ({"lock_holder_job_id": "id-2", "lock_holder_certainty": "likely"}, "id-2", "likely"),
        # By what the holder says of itself.
        ({"lock_key": "a"}, "id-2", "certain"),
        # By its process, which runs this job alone; a process that nobody knows.
        ({"lock_holder_pid": 102, "lock_holder_certainty": "certain"}, "id-2", "certain"),
        ({"lock_holder_pid": 999, "lock_holder_certainty": "certain"}, None, "certain"),
        # A span that is not known, an id that is not known: what was told is told on.
        ({"lock_holder_job_id": "gone", "lock_holder_certainty": "certain"}, "gone", "certain"),
        # Nobody says that it holds this one.
        ({"lock_key": "other"}, None, "unknown"),
        # Not a trace id: our own trace is looked in.
        ({"lock_holder_span_id": span_id(2).hex(), "lock_holder_trace_id": "…"}, "id-2", "likely"),
    ],
)
def test_the_holder_of_a_lock(yard: Yard, told: dict[str, Any], holder: str | None, certainty: str) -> None:
    yard.job(2, age=5.0, job_holds=["a"])
    yard.job(1, wait_kind="lock", **told)
    blocked = yard.held.job("id-1").blocked_by
    assert blocked is not None
    assert (blocked.holder_job_id, blocked.certainty) == (holder, certainty)


def test_a_pool_that_all_want_more_of_is_no_deadlock(yard: Yard) -> None:
    """Each keeps a connection and waits for another one: somebody else may give one back. Who keeps one is said."""
    pool: dict[str, Any] = {
        "wait_kind": "pool",
        "lock_kind": "psycopg_pool.ConnectionPool",
        "lock_holder_certainty": "likely",
    }
    yard.job(1, **pool, lock_holder_job_id="id-2")
    yard.job(2, **pool, lock_holder_job_id="id-1")
    told = yard.held.job("id-1")
    assert told.cause == "waiting"
    assert "One of its connections is held by job id-2" in (told.cause_text or "")
    assert told.blocked_by is not None
    assert told.blocked_by.holder_job_id == "id-2"


def test_a_holder_that_has_ended_holds_nothing(yard: Yard) -> None:
    yard.job(2, job_holds=["a"])
    yard.job(1, **lock("a"))
    yard.closed(2)
    assert "its holder is not known" in (yard.held.job("id-1").cause_text or "")


# --- databases ----------------------------------------------------------------------------------------------------


def facts(yard: Yard, *, server: str = "db:5432", holder: dict[str, Any] | None = None, **waits: Any) -> None:
    waiting = DatabaseSession(server, "30", blocked_by=("31",), locks="orders (row)", **waits)
    holding = DatabaseSession(server, "31", state="idle in transaction", since_xact_s=840.0, **(holder or {}))
    yard.held.pipeline.database_facts(server, [waiting, holding])


@pytest.mark.parametrize(
    ("span", "waits", "server"),
    [
        # By the id of the session.
        ({"db_session": "30"}, {}, "db:5432"),
        # The server goes by another name here than there: the id is enough if only one server has it.
        ({"db_session": "30"}, {}, "10.0.0.5:5432"),
        # By the worker's end of the connection.
        ({"wait_local": "10.0.0.2:9001"}, {"client": "10.0.0.2:9001"}, "elsewhere:1"),
        # Behind a pooler that tells the worker's end.
        (
            {"wait_local": "10.0.0.2:9001"},
            {"client": "10.0.0.7:6432", "application_name": "worker - 10.0.0.2:9001"},
            "db:5432",
        ),
        # By what the job has used.
        (sessions(("postgresql", "db:5432", "30", "")), {}, "db:5432"),
        (sessions(("postgresql", "pooler:6432", "", "10.0.0.2:9001")), {"client": "10.0.0.2:9001"}, "db:5432"),
        # By the trace in a comment.
        ({}, {"traceparent": "00-000102030405060708090a0b0c0d0e0f-0000000000000002-03"}, "db:5432"),
    ],
)
def test_the_waiting_session_is_found(yard: Yard, span: dict[str, Any], waits: dict[str, Any], server: str) -> None:
    yard.job(1, **{name: value for name, value in span.items() if name.startswith("job_")})
    yard.span(2, 1, **PG, **span)
    facts(yard, server=server, **waits)
    assert yard.held.job("id-1").cause == "db_lock"


@pytest.mark.parametrize(
    ("owned", "holder"),
    [
        ([("postgresql", "db:5432", "31", "")], {}),
        ([("postgresql", "pooler:6432", "", "10.0.0.3:9002")], {"client": "10.0.0.3:9002"}),
        (
            [("postgresql", "pooler:6432", "", "10.0.0.3:9002")],
            {"client": "10.0.0.7:1", "application_name": "x - 10.0.0.3:9002"},
        ),
        ([], {"traceparent": "00-000102030405060708090a0b0c0d0e0f-0000000000000003-00"}),
    ],
)
def test_the_holding_session_leads_to_its_job(
    yard: Yard, owned: list[tuple[str, str, str, str]], holder: dict[str, Any]
) -> None:
    """Though it has no call open: it idles in its transaction."""
    yard.job(1)
    yard.span(2, 1, **PG, db_session="30")
    yard.job(3, age=20.0, **sessions(*owned), code_file_path="/srv/app/billing/sync.py", code_line_number=88)
    facts(yard, holder=holder)
    text = yard.held.job("id-1").cause_text or ""
    assert "held by job id-3 (pid 103, idle in transaction for 14 min, billing/sync.py:88)" in text


def test_a_chain_of_sessions(yard: Yard) -> None:
    """1 waits for 2, which waits for 3, which idles: each found by what its own evidence says."""
    for number in (1, 2):
        yard.job(number)
        yard.span(10 + number, number, **PG, db_session=str(number))
    yard.job(3, age=20.0, **sessions(("postgresql", "db:5432", "3", "")))
    seen = [
        DatabaseSession("db:5432", "1", blocked_by=("2",)),
        DatabaseSession("db:5432", "2", blocked_by=("3",)),
        DatabaseSession("db:5432", "3", state="idle in transaction"),
    ]
    yard.held.pipeline.database_facts("db:5432", seen)
    blocked = yard.held.job("id-1").blocked_by
    assert blocked is not None
    assert [step.holder_job_id for step in blocked.chain] == ["id-2", "id-3"]
    assert yard.held.job("id-1").severity == "page"


def test_a_chain_through_a_session_that_is_no_job(yard: Yard) -> None:
    """1 waits for somebody's psql, which waits for 3: that one is found behind it, and drawn."""
    yard.job(1)
    yard.span(11, 1, **PG, db_session="1")
    yard.job(3, age=20.0, **sessions(("postgresql", "db:5432", "3", "")))
    seen = [
        DatabaseSession("db:5432", "1", blocked_by=("2",)),
        DatabaseSession("db:5432", "2", blocked_by=("3",), application_name="psql"),
        DatabaseSession("db:5432", "3", state="idle in transaction"),
    ]
    yard.held.pipeline.database_facts("db:5432", seen)
    blocked = yard.held.job("id-1").blocked_by
    assert blocked is not None
    assert [(step.holder_thread, step.holder_job_id) for step in blocked.chain] == [
        ("session 2", None),
        ("session 3", "id-3"),
    ]
    drawn = yard.held.view.graph()
    jobs = {job: f"job:{job_key(job).replace('-', '')}" for job in (1, 3)}
    assert {(edge.source, edge.target, edge.kind) for edge in drawn.edges} == {
        (jobs[1], "session:db:5432 2", "db_lock"),
        ("session:db:5432 2", "session:db:5432 3", "db_lock"),
        ("session:db:5432 3", jobs[3], "held by"),
    }


def test_sessions_that_wait_for_each_other_are_followed_once(yard: Yard) -> None:
    """As long as the server has not ended one of them."""
    yard.job(1)
    yard.span(11, 1, **PG, db_session="1")
    seen = [
        DatabaseSession("db:5432", "1", blocked_by=("2",)),
        DatabaseSession("db:5432", "2", blocked_by=("3",)),
        DatabaseSession("db:5432", "3", blocked_by=("2",)),
    ]
    yard.held.pipeline.database_facts("db:5432", seen)
    blocked = yard.held.job("id-1").blocked_by
    assert blocked is not None
    assert [step.holder_thread for step in blocked.chain] == ["session 2", "session 3", "session 2"]


def test_a_deadlock_of_a_row_and_a_lock_without_instrumentation(yard: Yard) -> None:
    """1 waits in a driver that no span tells of; 2 has that row, and waits for 1's lock."""
    yard.job(1, wait_kind="db", db_session="30", wait_peer="db:5432")
    yard.job(2, **sessions(("postgresql", "db:5432", "31", "")), wait_kind="lock", lock_name="till")
    yard.span(3, 2, span_kind="INTERNAL", wait_kind="lock", lock_name="till", lock_holder_job_id="id-1")
    facts(yard)
    assert yard.held.job("id-1").cause == "deadlock"
    assert yard.held.job("id-2").cause == "deadlock"


def test_a_query_may_wait_for_a_lock(yard: Yard) -> None:
    """Before a probe has seen its session, nobody knows; a probe that sees it unblocked makes it sure."""
    yard.job(1)
    yard.span(2, 1, **PG, db_session="30")
    assert (yard.held.job("id-1").cause, yard.held.job("id-1").confidence) == ("db_query", 0.55)
    yard.held.pipeline.database_facts("db:5432", [DatabaseSession("db:5432", "30", state="active")])
    assert (yard.held.job("id-1").cause, yard.held.job("id-1").confidence) == ("db_query", 0.9)


def test_facts_are_forgotten(yard: Yard) -> None:
    """A probe that has died proves nothing."""
    yard.job(1)
    yard.span(2, 1, **PG, db_session="30")
    facts(yard)
    assert yard.held.job("id-1").cause == "db_lock"
    yard.held.wait(31)
    assert yard.held.job("id-1").cause == "db_query"


def test_a_probe_is_told_where_to_look(yard: Yard) -> None:
    """While a call of a database is late, and no longer."""
    assert yard.held.pipeline.late_database_waits() == []
    yard.job(1, age=30.0)
    yard.span(2, 1, **PG, db_session="30", wait_local="10.0.0.2:9001")
    yard.job(3, wait_kind="sleep")
    yard.job(4, wait_kind="db", wait_peer="10.0.0.5:3306")
    yard.held.tick()
    assert yard.held.pipeline.late_database_waits() == [
        DatabaseWait("db:5432", "30", "10.0.0.2:9001"),
        DatabaseWait("10.0.0.5:3306", "", ""),
    ]
    yard.closed(1)
    yard.closed(4)
    yard.held.tick()
    assert yard.held.pipeline.late_database_waits() == []


def test_facts_are_bounded() -> None:
    """However many servers there are, and sessions at one."""
    known = DatabaseFacts()
    for server in range(200):
        known.take(f"{server}:1", [DatabaseSession(f"{server}:1", str(number)) for number in range(60)], 0)
    known.take("0:1", [DatabaseSession("0:1", str(number)) for number in range(100_000)], 0)
    assert len(known) <= 100 * 60 + 5000
    known.take("0:1", [], 1)
    assert known.session("0:1", "1") is None
    known.forget(KEPT_NS + SECOND)
    assert len(known) == 0


def test_two_servers_with_one_port_are_not_confused() -> None:
    """A session is found under another name of its server only if no other server has that id."""
    known = DatabaseFacts()
    known.take("a:5432", [DatabaseSession("a:5432", "7")], 0)
    assert known.session("alias:5432", "7") == DatabaseSession("a:5432", "7")
    assert known.session("alias:3306", "7") is None
    known.take("b:5432", [DatabaseSession("b:5432", "7")], 0)
    assert known.session("alias:5432", "7") is None


# --- the graph ----------------------------------------------------------------------------------------------------


def test_the_graph(yard: Yard) -> None:
    """Two wait for a lock, its holder for a peer: the peer holds up three."""
    yard.job(1, **lock("a"))
    yard.job(2, **lock("a"))
    yard.job(3, job_holds=["a"], wait_kind="socket", wait_peer="10.0.0.9:7000")
    yard.job(4, age=5.0)  # healthy, and in nobody's way
    yard.held.tick()
    drawn = yard.held.view.graph()
    jobs = {job: f"job:{job_key(job).replace('-', '')}" for job in (1, 2, 3)}
    assert set(drawn.nodes) == {*jobs.values(), "lock:a", "peer:10.0.0.9:7000"}
    assert {(edge.source, edge.target, edge.kind) for edge in drawn.edges} == {
        (jobs[1], "lock:a", "redis_lock"),
        (jobs[2], "lock:a", "redis_lock"),
        ("lock:a", jobs[3], "held by"),
        (jobs[3], "peer:10.0.0.9:7000", "socket"),
    }
    assert drawn.roots == ("peer:10.0.0.9:7000",)
    assert drawn.waiting == {"peer:10.0.0.9:7000": 3}
    assert drawn.cycles == ()


def test_circles_in_the_graph(yard: Yard) -> None:
    yard.job(1, job_holds=["a"], **lock("b"))
    yard.job(2, job_holds=["b"], **lock("a"))
    yard.job(3, wait_kind="job", wait_job_id="id-3")
    yard.held.tick()
    drawn = yard.held.view.graph()
    assert sorted(len(cycle) for cycle in drawn.cycles) == [1, 4]
    assert drawn.roots == ()


def test_the_graph_is_bounded(yard: Yard) -> None:
    """A limit cuts it off: every edge that is left has both its ends."""
    for number in range(1, 60):
        yard.job(number, job_holds=[f"lock-{number}"], **lock(f"lock-{number + 1}"))
    yard.held.tick()
    drawn = yard.held.view.graph(20)
    assert len(drawn.nodes) == 20
    assert all(edge.source in drawn.nodes and edge.target in drawn.nodes for edge in drawn.edges)
    page = yard.held.metrics()
    assert page.count("lastspan_wait_node{") == 59 + 59
    assert 'root="true"' in page


def test_the_graph_at_metrics(yard: Yard) -> None:
    """Grafana's node graph needs ids, sources, targets, titles; every edge's ends are nodes."""
    for number in range(1, 150):
        yard.job(number, job_holds=[f"lock-{number}"], **lock(f"lock-{number + 1}"))
    page = yard.held.metrics()
    nodes = set(re.findall(r'lastspan_wait_node{id="([^"]*)"', page))
    ends = re.findall(
        r'lastspan_wait_edge{certainty="[^"]*",id="\d+",kind="[^"]*",source="([^"]*)",target="([^"]*)"', page
    )
    assert len(nodes) == 200
    assert len(ends) > 100
    assert {end for edge in ends for end in edge} <= nodes


@given(st.dictionaries(st.integers(0, 8).map(str), st.lists(st.integers(0, 8).map(str), max_size=4)))
def test_components_are_those_that_reach_each_other(edges: dict[str, list[str]]) -> None:
    """Two nodes are in one component exactly if each can be reached from the other."""
    following = {node: [other for other in others if other in edges] for node, others in edges.items()}

    def reached(start: str) -> set[str]:
        seen, work = {start}, [start]
        while work:
            fresh = set(following[work.pop()]) - seen
            seen |= fresh
            work.extend(fresh)
        return seen

    found = components(following)
    assert sorted(node for part in found for node in part) == sorted(following)
    for part in found:
        for node in part:
            assert {other for other in reached(node) if node in reached(other)} == set(part)


def test_a_chain_of_ten_thousand_is_no_recursion() -> None:
    following = {str(number): [str(number + 1)] for number in range(10_000)} | {"10000": ["0"]}
    assert [len(part) for part in components(following)] == [10_001]
