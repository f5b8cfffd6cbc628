"""The probe beside a real MariaDB, and beside what answers like a MySQL: who blocks whom up to the root; no secret."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any, TypeAlias

import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.probing import Told, in_background, look, silent_server, target, until
from tests.servers import MariaDB

from lastspan.collector.model.records import DatabaseWait
from lastspan.collector.probe import Target
from lastspan.collector.probe.metadata_locks import MetadataLock, blockers
from lastspan.collector.probe.mysql import connect
from lastspan.collector.probe.target import ProbeError

Connection: TypeAlias = "pymysql.connections.Connection[Any]"

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03"


@pytest.fixture
def table(mariadb: MariaDB) -> Iterator[str]:
    mariadb.execute("create table accounts (id int primary key, balance int, note text)")
    mariadb.execute("insert into accounts values (1, 0, ''), (2, 0, ''), (3, 0, '')")
    yield "accounts"
    mariadb.execute("drop table accounts")


@pytest.fixture
def probe(mariadb: MariaDB) -> Target:
    return target("mysql", mariadb.probe_dsn)


@pytest.fixture
def three(mariadb: MariaDB) -> Iterator[list[Connection]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connected(mariadb)) for _ in range(3)]


@contextlib.contextmanager
def connected(mariadb: MariaDB) -> Iterator[Connection]:
    connection = mariadb.connect()
    yield connection
    if connection.open:  # a test may have ended it
        connection.close()


def run(connection: Connection, statement: str, *values: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)


def id_of(connection: Connection) -> str:
    return str(connection.thread_id())


def end_of(connection: Connection) -> str:
    host, port = connection._sock.getsockname()[:2]  # type: ignore[attr-defined]
    return f"{host}:{port}"


@contextlib.contextmanager
def blocked(mariadb: MariaDB, connection: Connection, statement: str) -> Iterator[str]:
    """Run a statement that waits for a lock while the block runs; yield its session's id."""
    id = id_of(connection)
    with in_background(lambda: run(connection, statement), cancel=lambda: mariadb.execute(f"kill query {id}")):
        # InnoDB's tables are a copy, which is not renewed for those who look more often than each 0.1 s.
        until(lambda: waits(mariadb, id), f"{id} waits", pause_s=0.15)
        yield id


def waits(mariadb: MariaDB, id: str) -> bool:
    return bool(
        mariadb.execute(
            f"select 1 from information_schema.processlist where id = {id} and state rlike 'lock|Waiting'"
            f" union select 1 from information_schema.innodb_trx"
            f" where trx_mysql_thread_id = {id} and trx_state = 'LOCK WAIT'"
        )
    )


def test_nobody_waits(probe: Target) -> None:
    assert look(probe) == {}


def test_a_chain_of_row_locks_up_to_its_idle_root(
    mariadb: MariaDB, table: str, probe: Target, three: list[Connection]
) -> None:
    """C waits for B, B for A; A holds its row in a transaction in which it does nothing."""
    a, b, c = three
    run(a, "update accounts set balance = 1 where id = 1")
    run(b, "update accounts set balance = 1 where id = 2")
    with (
        blocked(mariadb, b, f"update accounts set balance = 7 where id = 1 /* traceparent='{TRACE}' */"),
        blocked(mariadb, c, "update accounts set balance = 8 where id = 2"),
    ):
        found = look(probe)
    root, middle, last = (found[id_of(connection)] for connection in (a, b, c))
    assert set(found) == {root.id, middle.id, last.id}
    assert (last.blocked_by, middle.blocked_by, root.blocked_by) == ((middle.id,), (root.id,), ())
    assert (root.state, middle.state, last.state) == ("idle in transaction", "active", "active")
    assert (middle.locks, root.locks) == ("row of shop.accounts (X)", "")
    assert middle.query == "update accounts set balance = ? where id = ?"
    assert middle.traceparent == TRACE
    assert middle.client == end_of(b)
    for session in (root, middle, last):
        assert session.since_xact_s is not None
        assert session.since_state_s is not None
        assert 0 <= session.since_state_s < 60
    assert (middle.since_query_s is None, root.since_query_s is None) == (False, True)


@pytest.mark.parametrize(
    ("take", "want", "words", "state"),
    [
        (
            "select * from accounts",
            "alter table accounts add x int",
            "table shop.accounts (EXCLUSIVE)",
            "idle in transaction",
        ),
        ("lock table accounts write", "select * from accounts", "table shop.accounts (SHARED_READ)", ""),
        ("select get_lock('nightly', 1)", "select get_lock('nightly', 60)", "GET_LOCK nightly (SHARED_NO_WRITE)", ""),
        (
            "flush tables with read lock",
            "update accounts set balance = 1",
            "the whole server (BACKUP_TRANS_DML)",
            "",
        ),
        (
            "select * from accounts where id = 1 for update",
            "delete from accounts where id = 1",
            "row of shop.accounts (X)",
            "idle in transaction",
        ),
    ],
)
def test_the_lock_that_is_waited_for_is_named(
    mariadb: MariaDB,
    table: str,
    probe: Target,
    three: list[Connection],
    take: str,
    want: str,
    words: str,
    state: str,
) -> None:
    holder, waiter, bystander = three
    run(bystander, "select 1")
    run(holder, take)
    with blocked(mariadb, waiter, want) as id:
        found = look(probe)
    assert (found[id].locks, found[id].blocked_by) == (words, (id_of(holder),))
    assert found[id_of(holder)].state in ({state} if state else {"idle", "idle in transaction"})
    assert id_of(bystander) not in found


def test_who_queues_behind_one_that_waits_is_blocked_by_that_one(
    mariadb: MariaDB, table: str, probe: Target, three: list[Connection]
) -> None:
    """ALTER TABLE waits for a SELECT's transaction; a new SELECT, which the first would not hinder, waits for ALTER."""
    reader, alter, late = three
    run(reader, "select * from accounts")
    with (
        blocked(mariadb, alter, "alter table accounts add x int") as middle,
        blocked(mariadb, late, "select * from accounts") as last,
    ):
        found = look(probe)
    assert found[last].blocked_by == (middle,)
    assert found[middle].blocked_by == (id_of(reader),)


def test_a_prepared_transaction_that_was_forgotten(
    mariadb: MariaDB, table: str, probe: Target, three: list[Connection]
) -> None:
    """Its session has ended, its locks have not: nobody's id, and said so."""
    holder, waiter, _ = three
    for statement in (
        "xa start 'transfer'",
        "update accounts set balance = 1 where id = 1",
        "xa end 'transfer'",
        "xa prepare 'transfer'",
    ):
        run(holder, statement)
    holder.close()
    try:
        with blocked(mariadb, waiter, "update accounts set balance = 2 where id = 1") as id:
            found = look(probe)
    finally:
        mariadb.execute("xa rollback 'transfer'")
    assert found[id].blocked_by == ("prepared",)


def test_a_slow_query_is_told_by_its_id_or_its_end(mariadb: MariaDB, probe: Target, three: list[Connection]) -> None:
    """Late sessions are told also if nobody blocks them: the server is at work, or it has answered long ago."""
    slow, idle, _ = three
    with in_background(
        lambda: run(slow, "select sleep(60)"), cancel=lambda: mariadb.execute(f"kill query {id_of(slow)}")
    ):
        by_id = until(lambda: look(probe, DatabaseWait("", id_of(slow), "")), "seen")
        by_end = look(probe, DatabaseWait("", "", end_of(slow)), DatabaseWait("", "", end_of(idle)))
    assert by_id[id_of(slow)].blocked_by == ()
    assert (by_end[id_of(slow)].state, by_end[id_of(slow)].query) == ("active", "select sleep(?)")
    assert by_end[id_of(idle)].state == "idle"


def looked_at_by(mariadb: MariaDB, dsn: str) -> Told:
    """Return what a probe of that address tells, after three looks."""
    told = Told(target("mysql", dsn))
    told.waits = [DatabaseWait(mariadb.address, "", "")]

    async def look_thrice() -> None:
        await told.until(lambda: told.looks >= 3)
        await told.probes.stop()

    asyncio.run(look_thrice())
    return told


def test_a_role_that_sees_little_tells_what_it_lacks(
    mariadb: MariaDB, table: str, three: list[Connection], caplog: pytest.LogCaptureFixture
) -> None:
    mariadb.execute("create user weak identified by 'weak'")
    holder, waiter, _ = three
    run(holder, "update accounts set balance = 1 where id = 1")
    with (
        blocked(mariadb, waiter, "update accounts set balance = 2 where id = 1"),
        caplog.at_level(logging.WARNING),
    ):
        told = looked_at_by(mariadb, mariadb.dsn_of("weak", "weak"))
    mariadb.execute("drop user weak")
    assert told.failures == {("orders-db", "privilege"): 1}
    assert [record.getMessage() for record in caplog.records if record.name.startswith("lastspan")] == [
        "probe orders-db may not see all sessions: grant process on *.* to its role;"
        " grant select on performance_schema.* to its role"
    ]


def test_without_process_who_blocks_whom_is_still_told(mariadb: MariaDB, table: str, three: list[Connection]) -> None:
    """By performance_schema alone: the ids, and that the rest is hidden."""
    mariadb.execute("create user weak identified by 'weak'")
    mariadb.execute("grant select on performance_schema.* to weak")
    holder, waiter, _ = three
    run(holder, "select * from accounts")
    with blocked(mariadb, waiter, "alter table accounts add x int") as id:
        found = look(target("mysql", mariadb.dsn_of("weak", "weak")))
        root = id_of(holder)
    mariadb.execute("drop user weak")
    assert set(found) == {id, root}
    assert found[id].blocked_by == (root,)
    assert found[root].state == "hidden: grant process on *.* to its role"


def test_without_performance_schema_rows_are_told_and_the_rest_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """As MariaDB is shipped."""
    with MariaDB(performance_schema=False) as server, caplog.at_level(logging.WARNING):
        server.execute("create table accounts (id int primary key, balance int)")
        server.execute("insert into accounts values (1, 0)")
        with connected(server) as holder, connected(server) as waiter:
            run(holder, "update accounts set balance = 1 where id = 1")
            with blocked(server, waiter, "update accounts set balance = 2 where id = 1") as id:
                told = looked_at_by(server, server.probe_dsn)
            (found,) = (session for session in told.facts[server.address] if session.id == id)
            assert (found.blocked_by, found.locks) == ((id_of(holder),), "row of shop.accounts (X)")
    assert [record.getMessage() for record in caplog.records if record.name.startswith("lastspan")] == [
        "probe orders-db may not see all sessions:"
        " locks on tables and by GET_LOCK are not known: performance_schema is off"
    ]


def test_a_wrong_password_is_counted_said_once_and_never_shown(
    mariadb: MariaDB, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told(target("mysql", mariadb.dsn_of("lastspan_probe", "swordfish")))
    told.waits = [DatabaseWait("", "", "")]

    async def fail_thrice() -> None:
        await told.until(lambda: told.failures["orders-db", "authentication"] >= 3, step_ns=60_000_000_000)
        await told.probes.stop()

    with caplog.at_level(logging.DEBUG):
        asyncio.run(fail_thrice())
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("lastspan")]
    assert len(ours) == 1
    assert ours[0].startswith("probe orders-db failed (authentication): Access denied for user 'lastspan_probe'")
    assert "swordfish" not in caplog.text
    assert told.facts == {}


def test_a_server_that_never_answers_costs_a_timeout() -> None:
    async def meet_silence(address: str) -> Told:
        told = Told(target("mysql", f"mysql://u:p@{address}/d", timeout_s=0.5))
        told.waits = [DatabaseWait(address, "", "")]
        await told.until(lambda: told.failures.total() == 2)
        await told.probes.stop()
        return told

    with silent_server() as (address, taken):
        told = asyncio.run(meet_silence(address))
        until(lambda: len(taken) == 2, "each look had its own connection")
    assert told.failures == {("orders-db", "timeout"): 2}


def test_a_server_that_is_restarted_is_found_again() -> None:
    with MariaDB() as server:
        told = Told(target("mysql", server.probe_dsn))
        told.waits = [DatabaseWait(server.address, "", "")]

        async def live_through_a_restart() -> None:
            await told.until(lambda: told.looks)
            await asyncio.to_thread(server.stop)
            await told.until(lambda: told.failures.total() >= 2, step_ns=60_000_000_000)
            await asyncio.to_thread(server.start)
            looks = told.looks
            await told.until(lambda: told.looks > looks, step_ns=60_000_000_000)
            await told.probes.stop()

        asyncio.run(live_through_a_restart())
    assert set(told.failures) == {("orders-db", "connection")}


def test_tls_that_is_asked_for_and_not_there_is_refused(mariadb: MariaDB) -> None:
    with pytest.raises(ProbeError) as problem:
        look(target("mysql", f"{mariadb.probe_dsn}?ssl-mode=REQUIRED"))
    assert (problem.value.reason, str(problem.value)) == ("tls", "the server offers no TLS, and ssl-mode asks for it")


SECRETS = ("4929-1111", "hunter2", "s3cr3t", "pw-of-the")


def test_no_secret_is_told(mariadb: MariaDB, table: str, probe: Target, three: list[Connection]) -> None:
    """Neither literals nor bound values nor what comments or the locked rows say."""
    holder, waiter, other = three
    run(holder, "update accounts set note = %s where id = 1", "s3cr3t")
    run(other, "set @token = 'hunter2' /* s3cr3t */")
    with blocked(mariadb, waiter, "update accounts set note = '4929-1111' /* hunter2 */ where id = 1"):
        found = look(probe, DatabaseWait("", id_of(other), ""))
    assert len(found) == 3
    for session in found.values():
        assert not any(secret in repr(session) for secret in SECRETS)


def test_the_probe_changes_nothing_and_waits_for_nothing(mariadb: MariaDB, table: str) -> None:
    async def settings() -> Any:
        source = await connect(target("mysql", mariadb.dsn, timeout_s=1.5))
        rows = await source._rows("select @@tx_read_only, @@max_statement_time, @@lock_wait_timeout")
        with pytest.raises(pymysql.Error, match="READ ONLY"):
            await source._rows("delete from shop.accounts")
        await source.close()
        return list(rows[0].values())

    assert asyncio.run(settings()) == [1, 1.5, 1]


# --- who is in whose way --------------------------------------------------------------------------------------------


def lock(owner: str, kind: str, *, granted: bool = True, name: str = "t", object_type: str = "TABLE") -> MetadataLock:
    return MetadataLock(owner, object_type, "shop", name, kind, granted)


@pytest.mark.parametrize(
    ("locks", "expected"),
    [
        ([lock("1", "SHARED_READ"), lock("2", "EXCLUSIVE", granted=False)], {"2": ["1"]}),
        # of two holders, the one that is in the way
        (
            [lock("1", "SHARED_READ"), lock("2", "SHARED_WRITE"), lock("3", "SHARED_READ_ONLY", granted=False)],
            {"3": ["2"]},
        ),
        # another table
        ([lock("1", "SHARED_READ", name="u"), lock("2", "EXCLUSIVE", granted=False)], {"2": []}),
        # its own weaker lock
        (
            [lock("1", "SHARED_UPGRADABLE"), lock("1", "EXCLUSIVE", granted=False), lock("2", "SHARED_READ")],
            {"1": ["2"]},
        ),
        # nobody who has it is in the way: who waits before is
        (
            [
                lock("1", "SHARED_READ"),
                lock("2", "EXCLUSIVE", granted=False),
                lock("3", "SHARED_WRITE", granted=False),
                lock("4", "SHARED_READ", granted=False),
            ],
            {"2": ["1"], "3": ["2"], "4": ["2"]},
        ),
        # MySQL's GET_LOCK
        (
            [
                lock("1", "EXCLUSIVE", object_type="USER LEVEL LOCK"),
                lock("2", "EXCLUSIVE", object_type="USER LEVEL LOCK", granted=False),
            ],
            {"2": ["1"]},
        ),
        # FLUSH TABLES WITH READ LOCK in MySQL
        (
            [
                lock("1", "SHARED", object_type="GLOBAL"),
                lock("2", "INTENTION_EXCLUSIVE", object_type="GLOBAL"),
                lock("3", "INTENTION_EXCLUSIVE", object_type="GLOBAL", granted=False),
            ],
            {"3": ["1"]},
        ),
        # and in MariaDB
        (
            [
                lock("1", "BACKUP_FTWRL2", object_type="BACKUP"),
                lock("2", "BACKUP_DML", object_type="BACKUP"),
                lock("3", "BACKUP_TRANS_DML", object_type="BACKUP", granted=False),
            ],
            {"3": ["1"]},
        ),
        # a kind of tomorrow
        ([lock("1", "SHARED_READ"), lock("2", "QUANTUM", granted=False)], {"2": ["1"]}),
    ],
)
def test_only_who_is_in_the_way_blocks(locks: list[MetadataLock], expected: dict[str, list[str]]) -> None:
    assert {waiter: holders for waiter, (_, holders) in blockers(locks).items()} == expected


KINDS = st.sampled_from(
    ["SHARED", "SHARED_HIGH_PRIO", "SHARED_READ", "SHARED_WRITE", "SHARED_UPGRADABLE", "SHARED_NO_WRITE", "EXCLUSIVE"]
)


@given(st.lists(st.tuples(st.sampled_from("1234"), KINDS, st.booleans()), max_size=8))
def test_nobody_blocks_itself_and_order_does_not_matter(rows: list[tuple[str, str, bool]]) -> None:
    locks = list({(owner, granted): lock(owner, kind, granted=granted) for owner, kind, granted in rows}.values())
    found = blockers(locks)
    assert set(found) == {one.owner for one in locks if not one.is_granted}
    assert all(waiter not in holders for waiter, (_, holders) in found.items())
    again = blockers(reversed(locks))
    assert {waiter: set(holders) for waiter, (_, holders) in found.items()} == {
        waiter: set(holders) for waiter, (_, holders) in again.items()
    }
