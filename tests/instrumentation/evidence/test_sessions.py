"""Which database session a job waits in, or holds: read while it is blocked, without asking the server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.instrumentation.evidence.standing import Silent, soon, standing
from tests.servers import MariaDB, Postgres

from lastspan.instrumentation.evidence.stack.frames import live
from lastspan.instrumentation.evidence.waits import sessions
from lastspan.instrumentation.evidence.waits.known_calls import wait
from lastspan.instrumentation.evidence.waits.sessions import session_of, sessions_in_reach
from lastspan.instrumentation.registry.session import Session

BLOCKED = "select pid from pg_stat_activity where query = 'select pg_advisory_lock(42)' and wait_event = 'advisory'"


@pytest.fixture
def held(postgres: Postgres) -> Iterator[Callable[[], None]]:
    """Hold an advisory lock; yield what lets it go."""
    connection = postgres.connect(autocommit=True)
    connection.execute("select pg_advisory_lock(42)")
    yield connection.close
    connection.close()


def by_psycopg2(dsn: str) -> None:
    psycopg2 = pytest.importorskip("psycopg2")
    with contextlib.closing(psycopg2.connect(dsn)) as connection:
        cursor = connection.cursor()
        cursor.execute("select pg_advisory_lock(42)")


def by_psycopg2_in_one_line(dsn: str) -> None:
    psycopg2 = pytest.importorskip("psycopg2")
    connection = psycopg2.connect(dsn)
    connection.cursor().execute("select pg_advisory_lock(42)")
    connection.close()


def by_psycopg(dsn: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(dsn) as connection:
        connection.execute("select pg_advisory_lock(42)")


def by_sqlalchemy(dsn: str) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine(dsn.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("select pg_advisory_lock(42)"))
    engine.dispose()


def by_sqlalchemy_and_psycopg(dsn: str) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("select pg_advisory_lock(42)"))
    engine.dispose()


def in_a_loop(body: Callable[[str], Coroutine[Any, Any, None]]) -> Callable[[str], None]:
    def run(dsn: str) -> None:
        asyncio.run(body(dsn))

    run.__name__ = body.__name__
    return run


@in_a_loop
async def by_psycopg_async(dsn: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("select pg_advisory_lock(42)")


@in_a_loop
async def by_asyncpg(dsn: str) -> None:
    connection = await pytest.importorskip("asyncpg").connect(dsn)
    await connection.execute("select pg_advisory_lock(42)")
    await connection.close()


@in_a_loop
async def by_a_pool_of_asyncpg(dsn: str) -> None:
    async with pytest.importorskip("asyncpg").create_pool(dsn, min_size=1, max_size=1) as pool:
        await pool.fetch("select pg_advisory_lock(42)")


@in_a_loop
async def by_sqlalchemy_and_asyncpg(dsn: str) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy.ext.asyncio")
    engine = sqlalchemy.create_async_engine(dsn.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as connection:
        await connection.exec_driver_sql("select pg_advisory_lock(42)")
    await engine.dispose()


def by_pg8000(dsn: str) -> None:
    pg8000 = pytest.importorskip("pg8000.dbapi")
    url = urlsplit(dsn)
    user, password, database = url.username, url.password, url.path.strip("/")
    connection = pg8000.connect(user, url.hostname, database, url.port, password)
    connection.cursor().execute("select pg_advisory_lock(42)")
    connection.close()


CLIENTS = [
    by_pg8000,
    by_psycopg2,
    by_psycopg2_in_one_line,
    by_psycopg,
    by_sqlalchemy,
    by_sqlalchemy_and_psycopg,
    by_psycopg_async,
    by_asyncpg,
    by_a_pool_of_asyncpg,
    by_sqlalchemy_and_asyncpg,
]


@pytest.mark.parametrize("client", CLIENTS, ids=[client.__name__ for client in CLIENTS])
def test_the_session_that_is_blocked(
    client: Callable[[str], None], postgres: Postgres, held: Callable[[], None]
) -> None:
    """Its backend's pid is the server's own; it waits for the database; both ends of the connection are known."""
    with standing(lambda: client(postgres.dsn), held) as where:
        pids = soon(lambda: [row[0] for row in postgres.execute(BLOCKED)], bool)
        found = sessions.session(live(where))
        assert found is not None
        assert (found.system, [found.id], found.server) == ("postgresql", [str(pid) for pid in pids], postgres.address)
        seen = wait(live(where))
        assert seen is not None
        assert seen.kind == "db"
        ports = postgres.execute(
            f"select client_addr || ':' || client_port from pg_stat_activity where pid = {pids[0]}"
        )
        assert found.local == ports[0][0].replace("/32", "")


def test_the_other_side(postgres: Postgres) -> None:
    """A session that holds locks is idle in a transaction: its state is told from outside."""
    psycopg2 = pytest.importorskip("psycopg2")
    with contextlib.closing(psycopg2.connect(postgres.dsn)) as connection:
        idle = session_of(connection)
        assert idle is not None
        assert idle.state == "idle"
        cursor = connection.cursor()
        cursor.execute("select 1")
        holding = session_of(cursor)
        assert holding is not None
        assert (holding.id, holding.state) == (idle.id, "in transaction")
        with pytest.raises(psycopg2.Error):
            cursor.execute("select 1/0")
        failed = session_of(connection)
        assert failed is not None
        assert failed.state == "in failed transaction"
    assert session_of(connection) is None


def test_a_connection_of_psycopg(postgres: Postgres) -> None:
    with postgres.connect() as connection:
        cursor = connection.execute("select pg_backend_pid()")
        row = cursor.fetchone()
        assert row is not None
        for thing in (connection, cursor):
            found = session_of(thing)
            assert found is not None
            assert (found.id, found.state) == (str(row[0]), "in transaction")
    assert session_of(connection) is None


def test_mysql(mariadb: MariaDB) -> None:
    """The connection's id at the server, of a query that sleeps there."""
    connection = mariadb.connect(autocommit=True)
    expected = str(connection.thread_id())

    def block() -> None:
        with connection.cursor() as cursor:
            cursor.execute("select sleep(100)")

    def leave() -> None:
        mariadb.execute(f"kill {expected}")

    with standing(block, leave) as where:
        found = soon(lambda: sessions.session(live(where)), lambda one: one is not None)
        assert found is not None
        assert (found.system, found.id, found.server) == ("mysql", expected, mariadb.address)
        assert found.local.startswith("127.0.0.1:")
        seen = soon(lambda: wait(live(where)), lambda one: one is not None and one.kind == "db")
        assert seen is not None
        assert seen.kind == "db"


def test_mysql_in_a_transaction(mariadb: MariaDB) -> None:
    connection = mariadb.connect()
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("start transaction")
        found = session_of(cursor)
        assert found is not None
        assert found.state == "in transaction"


def test_mysql_of_asyncio(mariadb: MariaDB) -> None:
    """aiomysql keeps the same fields."""
    aiomysql = pytest.importorskip("aiomysql")

    async def body() -> tuple[str, Session | None]:
        connection = await aiomysql.connect(
            host=mariadb.host, port=mariadb.port, user=mariadb.user, password=mariadb.password
        )
        cursor = await connection.cursor()
        found = session_of(cursor)
        expected = str(connection.thread_id())
        await cursor.close()
        connection.close()
        return expected, found

    expected, found = asyncio.run(body())
    assert found is not None
    assert (found.id, found.server) == (expected, mariadb.address)


def test_mysql_of_asyncio_in_c(mariadb: MariaDB) -> None:
    """asyncmy keeps the same fields, some of them in C."""
    asyncmy = pytest.importorskip("asyncmy")

    async def body() -> tuple[str, Session | None]:
        connection = await asyncmy.connect(
            host=mariadb.host, port=mariadb.port, user=mariadb.user, password=mariadb.password
        )
        async with connection.cursor() as cursor:
            await cursor.execute("start transaction")
            found = session_of(cursor)
        expected = str(connection.thread_id())
        connection.close()
        return expected, found

    expected, found = asyncio.run(body())
    assert found is not None
    assert (found.id, found.server, found.state) == (expected, mariadb.address, "in transaction")


def test_psycopg_in_python(postgres: Postgres) -> None:
    """Without its part in C it knows a pointer of libpq's."""
    pytest.importorskip("psycopg")
    libpq = pytest.importorskip("psycopg.pq.pq_ctypes", exc_type=ImportError)

    class Connection:
        pgconn = libpq.PGconn.connect(postgres.dsn.encode())

    Connection.__module__ = "psycopg"
    pid = Connection.pgconn.backend_pid
    found = session_of(Connection())
    assert found is not None
    assert (found.id, found.server, found.state) == (str(pid), postgres.address, "idle")
    Connection.pgconn.finish()
    assert session_of(Connection()) is None


def test_mysql_by_its_own_connector(mariadb: MariaDB) -> None:
    """It keeps the server's greeting; its cursors have but a proxy of it, which is not asked. Of the same form."""

    class MySQLConnection:
        def __init__(self, connected: socket.socket) -> None:
            self._handshake = {"server_threadid": 31}
            self._server_status = 1
            self._socket = SimpleNamespace(sock=connected)

    class MySQLCursor:
        def __init__(self, connection: MySQLConnection) -> None:
            self._connection = weakref.proxy(connection)

    MySQLConnection.__module__ = MySQLCursor.__module__ = "mysql.connector.connection"
    with socket.create_connection((mariadb.host, mariadb.port)) as connected:
        connection = MySQLConnection(connected)
        host, port = connected.getsockname()
        expected = Session("mysql", "31", mariadb.address, f"{host}:{port}", "in transaction")
        assert session_of(connection) == expected
        assert session_of(MySQLCursor(connection)) is None


def test_sqlite(tmp_path: Path) -> None:
    """It has no session; that it is SQLite is known. Not its state: to be asked for it may wait for its statement."""
    path = tmp_path / "app.db"
    with contextlib.closing(sqlite3.connect(path)) as holder:
        holder.execute("create table t (n)")
        holder.commit()
        holder.execute("begin exclusive")
        assert session_of(holder) == Session("sqlite")

        def block() -> None:
            with contextlib.closing(sqlite3.connect(path, timeout=100)) as connection:
                cursor = connection.cursor()
                cursor.execute("insert into t values (1)")

        with standing(block, holder.rollback) as where:
            found = soon(lambda: sessions.session(live(where)), lambda one: one is not None)
            assert found is not None
            assert found.system == "sqlite"
            seen = wait(live(where))
            assert seen is not None
            assert (seen.kind, seen.call) == ("db", "Cursor.execute")


def test_what_is_no_connection() -> None:
    """Nothing is read of what is not a driver's, and nothing of it runs."""

    class Trap:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

        @property
        def connection(self) -> Any:
            raise AssertionError("asked")

    for thing in (None, 1, "text", object(), Trap(), Silent, {"connection": 1}):
        assert session_of(thing) is None
    assert sessions.session(()) is None


def test_a_subclass_with_properties_of_its_own(postgres: Postgres) -> None:
    """The driver's own fields are read, not what the application made of them."""
    extensions: Any = pytest.importorskip("psycopg2.extensions")

    class Own(extensions.connection):
        @property
        def info(self) -> Any:
            raise AssertionError("asked")

    with contextlib.closing(Own(postgres.dsn)) as connection:
        found = session_of(connection)
        assert found is not None
        assert found.system == "postgresql"


def test_a_wrapped_cursor(postgres: Postgres) -> None:
    """As the official instrumentations wrap them."""
    wrapt = pytest.importorskip("wrapt")
    with postgres.connect() as connection:
        found = session_of(wrapt.ObjectProxy(connection.cursor()))
        assert found is not None
        assert found.id == str(connection.info.backend_pid)


# --- at hand ----------------------------------------------------------------------------------------------------------

_shared: Any = None


class Ledger:
    """Keeps its connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def waits(self, arrived: threading.Event, go_on: threading.Event) -> None:
        arrived.set()
        go_on.wait(20)
        self.connection.rollback()


def in_a_local(connection: Any, arrived: threading.Event, go_on: threading.Event) -> None:
    with contextlib.closing(connection.cursor()) as cursor:
        arrived.set()
        go_on.wait(20)
        del cursor


def in_self(connection: Any, arrived: threading.Event, go_on: threading.Event) -> None:
    Ledger(connection).waits(arrived, go_on)


def in_a_global(connection: Any, arrived: threading.Event, go_on: threading.Event) -> None:
    global _shared
    _shared = connection
    _use_shared(arrived, go_on)
    _shared = None


def _use_shared(arrived: threading.Event, go_on: threading.Event) -> None:
    arrived.set()
    go_on.wait(20)
    _shared.rollback()


@pytest.mark.parametrize("holds", [in_a_local, in_self, in_a_global])
@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_who_idles_in_a_transaction_has_its_session_at_hand(
    postgres: Postgres, holds: Callable[..., None], driver: str
) -> None:
    """Its code waits for something else, and no instrumentation has seen its queries."""
    connection = pytest.importorskip(driver).connect(postgres.dsn)
    number = connection.info.backend_pid
    cursor = connection.cursor()
    cursor.execute("select 1")
    arrived, go_on = threading.Event(), threading.Event()
    with standing(lambda: holds(connection, arrived, go_on), go_on.set) as where:
        assert arrived.wait(20)
        found = sessions_in_reach(live(where))
    connection.close()
    assert [(one.system, one.id, one.state) for one in found] == [("postgresql", str(number), "in transaction")]


def test_nothing_is_at_hand(postgres: Postgres) -> None:
    """Neither objects of other kinds, nor a connection that is closed; nobody's property is called."""

    class Trap:
        @property
        def connection(self) -> object:
            raise AssertionError("somebody's code was run")

        def __getattr__(self, name: str) -> object:
            raise AssertionError(name)

    closed = pytest.importorskip("psycopg2").connect(postgres.dsn)
    closed.close()
    arrived, go_on = threading.Event(), threading.Event()

    def body() -> None:
        kept = (Trap(), closed, {"connection": closed})
        trap, gone = kept[0], kept[1]
        arrived.set()
        go_on.wait(20)
        del trap, gone

    with standing(body, go_on.set) as where:
        assert arrived.wait(20)
        assert sessions_in_reach(live(where)) == ()
