"""The probe beside a real PostgreSQL: who blocks whom up to the root, and nothing that is secret."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import psycopg
import pytest
from tests.collector.probing import Told, in_background, look, silent_server, target, until
from tests.servers import PgBouncer, Postgres

from lastspan.collector.model.records import DatabaseSession, DatabaseWait
from lastspan.collector.probe import Target
from lastspan.collector.probe.postgres import connect
from lastspan.collector.probe.target import ProbeError, traceparent

Connection = psycopg.Connection[Any]

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03"


@pytest.fixture
def table(postgres: Postgres) -> Iterator[str]:
    postgres.execute("create table accounts (id int primary key, balance int, note text)")
    postgres.execute("insert into accounts values (1, 0, ''), (2, 0, ''), (3, 0, '')")
    yield "accounts"
    postgres.execute("drop table accounts")


@pytest.fixture
def probe(postgres: Postgres) -> Target:
    return target("postgres", postgres.probe_dsn)


@contextlib.contextmanager
def blocked(postgres: Postgres, connection: Connection, statement: str) -> Iterator[str]:
    """Run a statement that waits for a lock while the block runs; yield its session's id."""
    pid = connection.info.backend_pid
    with in_background(lambda: connection.execute(statement.encode()), cancel=connection.cancel):
        with in_psql(postgres) as look_on:
            until(lambda: waits(look_on, pid), f"session {pid} waits for a lock")
        yield str(pid)


@contextlib.contextmanager
def in_psql(postgres: Postgres) -> Iterator[Connection]:
    with contextlib.closing(postgres.connect(autocommit=True)) as connection:
        yield connection


def waits(connection: Connection, pid: int) -> bool:
    return connection.execute("select 1 from pg_locks where not granted and pid = %s", [pid]).fetchone() is not None


def id_of(connection: Connection) -> str:
    return str(connection.info.backend_pid)


def end_of(connection: Connection) -> str:
    """host:port of the client's end, as the worker's own evidence tells it."""
    with socket.socket(fileno=os.dup(connection.fileno())) as sock:
        host, port = sock.getsockname()[:2]
    return f"{host}:{port}"


@pytest.fixture
def three(postgres: Postgres) -> Iterator[list[Connection]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(contextlib.closing(postgres.connect(application_name=f"worker-{index}")))
            for index in range(3)
        ]


def test_nobody_waits(probe: Target) -> None:
    assert look(probe) == {}


def test_a_chain_of_row_locks_up_to_its_idle_root(
    postgres: Postgres, table: str, probe: Target, three: list[Connection]
) -> None:
    """C waits for B, B for A; A holds its row in a transaction in which it does nothing."""
    a, b, c = three
    a.execute("update accounts set balance = 1 where id = 1")
    b.execute("update accounts set balance = 1 where id = 2")
    with (
        blocked(postgres, b, f"/* traceparent='{TRACE}' */ update accounts set balance = 7 where id = 1"),
        blocked(postgres, c, "update accounts set balance = 8 where id = 2"),
    ):
        found = look(probe)
    root, middle, last = (found[id_of(connection)] for connection in (a, b, c))
    assert set(found) == {root.id, middle.id, last.id}
    assert (last.blocked_by, middle.blocked_by, root.blocked_by) == ((middle.id,), (root.id,), ())
    assert (root.state, middle.state, last.state) == ("idle in transaction", "active", "active")
    assert root.query == "update accounts set balance = ? where id = ?"
    assert (root.locks, root.wait) == ("", "Client/ClientRead")
    assert (middle.locks, middle.wait) == ("row of public.accounts (ShareLock)", "Lock/transactionid")
    assert middle.query == "update accounts set balance = ? where id = ?"
    assert middle.traceparent == TRACE
    assert middle.client == end_of(b)
    assert middle.application_name == "worker-1"
    for session in (root, middle, last):
        assert session.server == "db:1"
        assert session.since_xact_s is not None
        assert session.since_state_s is not None
        assert session.since_query_s is not None
        assert 0 <= session.since_state_s <= session.since_query_s <= session.since_xact_s < 60


@pytest.mark.parametrize(
    ("take", "want", "words"),
    [
        ("select pg_advisory_lock(42)", "select pg_advisory_lock(42)", "advisory lock 42 (ExclusiveLock)"),
        ("select pg_advisory_lock(-7)", "select pg_advisory_lock_shared(-7)", "advisory lock -7 (ShareLock)"),
        ("select pg_advisory_lock(3, -4)", "select pg_advisory_lock(3, -4)", "advisory lock 3, -4 (ExclusiveLock)"),
        ("select * from accounts", "alter table accounts add x int", "table public.accounts (AccessExclusiveLock)"),
        ("lock table accounts", "select * from accounts", "table public.accounts (AccessShareLock)"),
        (
            "insert into accounts values (9, 0, '')",
            "insert into accounts values (9, 1, '')",  # the same key: it waits for the transaction's end
            "row (ShareLock)",
        ),
    ],
)
def test_the_lock_that_is_waited_for_is_named(
    postgres: Postgres, table: str, probe: Target, three: list[Connection], take: str, want: str, words: str
) -> None:
    holder, waiter, _ = three
    holder.execute(take.encode())
    with blocked(postgres, waiter, want) as id:
        found = look(probe)
    assert (found[id].locks, found[id].blocked_by) == (words, (id_of(holder),))
    assert found[id_of(holder)].state == "idle in transaction"


def test_who_queues_behind_one_that_waits_is_blocked_by_that_one(
    postgres: Postgres, table: str, probe: Target, three: list[Connection]
) -> None:
    """ALTER TABLE waits for a SELECT's transaction; a new SELECT, which the first would not hinder, waits for ALTER."""
    reader, alter, late = three
    reader.execute("select * from accounts")
    with (
        blocked(postgres, alter, "alter table accounts add x int") as middle,
        blocked(postgres, late, "select * from accounts") as last,
    ):
        found = look(probe)
    assert found[last].blocked_by == (middle,)
    assert found[middle].blocked_by == (id_of(reader),)


def test_a_prepared_transaction_that_was_forgotten(
    postgres: Postgres, table: str, probe: Target, three: list[Connection]
) -> None:
    """It holds its locks in no session: named by its id, with what it is."""
    holder, waiter, _ = three
    holder.execute("update accounts set balance = 1 where id = 1")
    holder.execute("prepare transaction 'transfer 77'")
    try:
        with blocked(postgres, waiter, "update accounts set balance = 2 where id = 1") as id:
            found = look(probe)
    finally:
        postgres.execute("rollback prepared 'transfer 77'")
    assert found[id].blocked_by == ("prepared transfer 77",)
    assert set(found) == {id, "prepared transfer 77"}
    assert found["prepared transfer 77"].state == "prepared transaction"


def test_a_slow_query_is_told_by_its_id_or_its_end(postgres: Postgres, probe: Target, three: list[Connection]) -> None:
    """Late sessions are told also if nobody blocks them: the server is at work, or it has answered long ago."""
    slow, idle, _ = three
    idle.execute("select 'answered'")
    with in_background(lambda: slow.execute("select pg_sleep(60)"), cancel=slow.cancel):
        by_id = until(lambda: look(probe, DatabaseWait("", id_of(slow), "")), "seen")
        by_end = look(probe, DatabaseWait("", "", end_of(slow)), DatabaseWait("", "", end_of(idle)))
        assert look(probe) == {}
    assert by_id[id_of(slow)].blocked_by == ()
    assert (by_end[id_of(slow)].state, by_end[id_of(slow)].query) == ("active", "select pg_sleep(?)")
    assert (by_end[id_of(idle)].state, by_end[id_of(idle)].query) == ("idle in transaction", "select ?")


def test_through_pgbouncer_the_workers_own_end_is_in_the_application_name(
    postgres: Postgres, pgbouncer: PgBouncer, table: str, probe: Target, three: list[Connection]
) -> None:
    """The pooler's session ids are not the server's; the client's address joins."""
    holder, *_ = three
    holder.execute("update accounts set balance = 1 where id = 1")
    with contextlib.closing(pgbouncer.connect(application_name="job")) as client:
        end = end_of(client)
        statement = b"update accounts set balance = 2 where id = 1"
        with in_background(lambda: client.execute(statement), cancel=client.cancel):
            found = until(
                lambda: {id: session for id, session in look(probe).items() if session.blocked_by}, "it waits"
            )
            idle_end = look(probe, DatabaseWait("", "", end))
    ((_, session),) = found.items()
    assert session.application_name == f"job - {end}"
    assert session.client != end
    assert session.blocked_by == (id_of(holder),)
    assert session.id in idle_end


def test_a_probe_can_itself_go_through_the_pooler(
    postgres: Postgres, pgbouncer: PgBouncer, table: str, three: list[Connection]
) -> None:
    holder, waiter, _ = three
    holder.execute("select pg_advisory_lock(1)")
    with blocked(postgres, waiter, "select pg_advisory_lock(1)") as id:
        assert look(target("postgres", pgbouncer.dsn))[id].blocked_by == (id_of(holder),)


def test_a_role_that_sees_little_tells_who_blocks_whom_and_what_it_lacks(
    postgres: Postgres, table: str, three: list[Connection], caplog: pytest.LogCaptureFixture
) -> None:
    postgres.execute("create role lastspan_weak login password 'weak'")
    weak = target("postgres", postgres.dsn_of("lastspan_weak", "weak"))
    told = Told(weak)
    told.waits = [DatabaseWait(postgres.address, "", "")]
    holder, waiter, _ = three
    holder.execute("update accounts set balance = 1 where id = 1")

    async def look_thrice() -> None:
        await told.until(lambda: told.looks >= 3)
        await told.probes.stop()

    with (
        blocked(postgres, waiter, "update accounts set balance = 2 where id = 1") as id,
        caplog.at_level(logging.WARNING),
    ):
        asyncio.run(look_thrice())
    postgres.execute("drop role lastspan_weak")
    found = {session.id: session for session in told.facts[postgres.address]}
    assert found[id].blocked_by == (id_of(holder),)
    assert found[id].locks == "row of public.accounts (ShareLock)"
    assert found[id].query == ""
    assert found[id_of(holder)].state == "hidden: grant pg_read_all_stats to its role"
    assert told.failures == {("orders-db", "privilege"): 1}
    assert [record.getMessage() for record in caplog.records] == [
        "probe orders-db may not see all sessions: grant pg_read_all_stats to its role"
    ]


def test_a_wrong_password_is_counted_said_once_and_never_shown(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told(target("postgres", postgres.dsn_of("lastspan_probe", "swordfish")))
    told.waits = [DatabaseWait("", "", "")]

    async def fail_thrice() -> None:
        await told.until(lambda: told.failures["orders-db", "authentication"] >= 3, step_ns=60_000_000_000)
        await told.probes.stop()

    with caplog.at_level(logging.DEBUG):
        asyncio.run(fail_thrice())
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("lastspan")]
    assert ours == ['probe orders-db failed (authentication): password authentication failed for user "lastspan_probe"']
    assert "swordfish" not in caplog.text
    assert told.facts == {}


def test_a_server_that_never_answers_costs_a_timeout_and_no_tick(caplog: pytest.LogCaptureFixture) -> None:
    """Ticks go on meanwhile, and each failure doubles the time to the next look."""

    async def meet_silence(address: str) -> tuple[int, Told]:
        told = Told(target("postgres", f"postgresql://u:p@{address}/d", timeout_s=0.5))
        told.waits = [DatabaseWait(address, "", "")]
        ticks = 0
        told.probes.poll()
        while not told.failures:
            told.probes.poll()
            ticks += 1
            await asyncio.sleep(0)
        for _ in range(100):  # the clock stands still: it is not time yet
            told.probes.poll()
            await asyncio.sleep(0)
        assert told.failures.total() == 1
        await told.until(lambda: told.failures.total() == 2, step_ns=1_000_000)
        await told.probes.stop()
        return ticks, told

    with silent_server() as (address, taken):
        ticks, told = asyncio.run(meet_silence(address))
        assert ticks > 10
        assert told.failures == {("orders-db", "timeout"): 2}
        until(lambda: len(taken) == 2, "each look had its own connection")
        for connection in taken:
            until(partial(ended, connection), "our end is closed")


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(4096) == b""
    except ConnectionError:
        return True


def test_a_server_that_hangs_in_the_middle_of_a_look_is_given_up(postgres: Postgres) -> None:
    """The connection is there, the server is stopped: the look ends by its timeout, and works again afterwards."""
    with Postgres() as server:
        told = Told(target("postgres", server.probe_dsn, timeout_s=0.5))
        told.waits = [DatabaseWait(server.address, "", "")]

        async def hang_and_recover() -> None:
            await told.until(lambda: told.looks)
            with contextlib.closing(server.connect(autocommit=True)) as connection:
                pids = connection.execute(
                    "select pid from pg_stat_activity where application_name = 'lastspan'"
                ).fetchall()
            (pid,) = (row[0] for row in pids)
            os.kill(pid, signal.SIGSTOP)
            await told.until(lambda: told.failures["orders-db", "timeout"])
            os.kill(pid, signal.SIGCONT)
            looks = told.looks
            await told.until(lambda: told.looks > looks, step_ns=60_000_000_000)
            await told.probes.stop()

        asyncio.run(hang_and_recover())


def test_a_server_that_is_restarted_is_found_again(caplog: pytest.LogCaptureFixture) -> None:
    with Postgres() as server, caplog.at_level(logging.INFO):
        told = Told(target("postgres", server.probe_dsn))
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
    assert set(told.failures) <= {("orders-db", "connection"), ("orders-db", "unavailable")}
    ours = [record for record in caplog.records if record.name.startswith("lastspan")]
    assert [record.levelname for record in ours] == ["WARNING", "INFO"]
    assert ours[-1].getMessage() == "probe orders-db works again"


def test_nothing_is_asked_while_nothing_is_late_and_the_connection_ends(postgres: Postgres) -> None:
    """No connection without a reason; one that is kept while it is needed; none a minute later."""
    told = Told(target("postgres", postgres.probe_dsn))

    def connections() -> int:
        query = "select count(*) from pg_stat_activity where application_name = 'lastspan'"
        return int(postgres.execute(query)[0][0])

    async def sessions() -> None:
        for _ in range(10):
            await told.tick(60_000_000_000)
        assert (told.looks, connections()) == (0, 0)
        told.waits = [DatabaseWait(postgres.address, "", "")]
        await told.until(lambda: told.looks >= 3, step_ns=1_000_000_000)
        assert connections() == 1
        told.waits = []
        await told.until(lambda: connections() == 0, step_ns=1_000_000_000)
        assert not told.failures

    asyncio.run(sessions())


@pytest.mark.parametrize(
    ("server", "is_asked"),
    [
        ("", True),  # the worker does not know: it may be this one
        ("{host}:{port}", True),
        ("localhost:{port}", True),
        ("pooler.internal:6432", True),  # by `servers`
        ("10.9.9.9:{port}", False),
        ("{host}:1", False),
    ],
)
def test_only_the_server_that_is_waited_for_is_asked(postgres: Postgres, server: str, is_asked: bool) -> None:
    """And what it says is told under the name by which the worker knows it."""
    name = server.format(host=postgres.host, port=postgres.port)
    told = Told(target("postgres", postgres.probe_dsn, servers=["orders.internal:5432", "pooler.internal:6432"]))

    async def ask() -> None:
        told.waits = [DatabaseWait(postgres.address, "", "")]
        await told.until(lambda: told.looks)  # from now on it is known which addresses it has
        told.waits, looks = [DatabaseWait(name, "", "")], told.looks
        for _ in range(10):
            await told.tick()
        assert (told.looks > looks) == is_asked
        await told.probes.stop()

    asyncio.run(ask())
    if server and is_asked:
        assert name in told.facts


SECRETS = ("4929-1111", "hunter2", "s3cr3t", "pw-of-the")


def test_no_secret_is_told(postgres: Postgres, table: str, probe: Target, three: list[Connection]) -> None:
    """Neither literals nor bound values nor what comments or passwords say."""
    holder, waiter, other = three
    holder.execute("update accounts set note = %s where id = 1", ["s3cr3t"], prepare=True)
    other.execute("select set_config('app.token', 'hunter2', false) /* s3cr3t */")
    with blocked(postgres, waiter, "update accounts set note = '4929-1111' -- hunter2\n where id = 1"):
        found = look(probe, DatabaseWait("", id_of(other), ""))
    assert len(found) == 3
    for session in found.values():
        assert session.query
        assert not any(secret in repr(session) for secret in SECRETS)
        assert len(session.query) <= 1024


def test_the_probe_changes_nothing_and_waits_for_nothing(postgres: Postgres) -> None:
    """Its transactions are read-only and bounded, also for a role that may do everything."""

    async def settings() -> Any:
        source = await connect(target("postgres", postgres.dsn, timeout_s=1.5))
        await source._connection.execute(source._begin)
        row = await source._connection.fetchrow(
            "select current_setting('transaction_read_only'), current_setting('statement_timeout'),"
            " current_setting('lock_timeout'), current_setting('application_name')"
        )
        await source.close()
        return tuple(row)

    assert asyncio.run(settings()) == ("on", "1500ms", "500ms", "lastspan")


def test_a_lock_on_the_catalog_stops_the_look_and_not_for_long(postgres: Postgres) -> None:
    probe = target("postgres", postgres.probe_dsn, timeout_s=0.7)
    with contextlib.closing(postgres.connect()) as connection:
        connection.execute("lock table pg_class")
        with pytest.raises(ProbeError) as problem:
            look(probe)
    assert problem.value.reason == "timeout"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (f"select 1 /*traceparent='{TRACE}'*/", TRACE),
        (f"select 1 /* a='b',traceparent='{TRACE[:-2]}01',z='' */", TRACE[:-2] + "01"),
        (f"-- traceparent = {TRACE}\nselect 1", TRACE),
        (f"select '{TRACE}'", ""),
        (f"select 1 /*traceparent='{TRACE[:40]}", ""),  # cut off by track_activity_query_size
        ("select 1", ""),
    ],
)
def test_traceparent_in_a_comment(query: str, found: str) -> None:
    assert traceparent(query) == found


def test_many_waiters_are_cut_and_their_roots_stay(postgres: Postgres, table: str, probe: Target) -> None:
    """The limit is for rows of one look: who holds comes first, then what is late, then the rest."""

    async def look_narrowly(ours: str) -> list[DatabaseSession]:
        source = await connect(probe, limit=3)
        try:
            return await source.sessions([DatabaseWait("", ours, "")], server="db:1")
        finally:
            await source.close()

    with contextlib.ExitStack() as stack:
        holder, *waiters = (stack.enter_context(contextlib.closing(postgres.connect())) for _ in range(7))
        holder.execute("update accounts set balance = 1 where id = 1")
        ids = [
            stack.enter_context(blocked(postgres, waiter, "update accounts set balance = 2 where id = 1"))
            for waiter in waiters
        ]
        root = id_of(holder)
        found = {session.id: session for session in asyncio.run(look_narrowly(ids[-1]))}
    assert len(found) == 3
    assert {root, ids[-1]} <= set(found)
    assert found[ids[-1]].blocked_by
