"""The database sessions of a job, with real servers: whoever is idle in a transaction has no span that tells of it."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import asyncpg
import psycopg
import psycopg2
import pymysql
import pytest
import sqlalchemy
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.dbapi import CursorTracer
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.instrumentation.psycopg2 import Psycopg2Instrumentor
from opentelemetry.instrumentation.pymysql import PyMySQLInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
from sqlalchemy.ext.asyncio import create_async_engine
from tests.instrumentation.live import Live, instrumented
from tests.instrumentation.live import live as live
from tests.servers import MariaDB, Postgres

from lastspan.instrumentation import job
from lastspan.instrumentation.agent import agent as loaded
from lastspan.instrumentation.announce.db_sessions import DbSessions, of_sockets
from lastspan.instrumentation.evidence.kernel.descriptors import Descriptor
from lastspan.instrumentation.libraries.db_sessions import DbSessionsInstrumentor
from lastspan.instrumentation.registry.connections import connections
from lastspan.instrumentation.registry.current import current_run
from lastspan.instrumentation.registry.run import Run
from lastspan.instrumentation.registry.session import Session


@pytest.fixture(autouse=True)
def hooked(live: Live) -> Iterator[Any]:
    yield from instrumented(DbSessionsInstrumentor())


@contextmanager
def official(*instrumentors: BaseInstrumentor) -> Iterator[None]:
    for one in instrumentors:
        one.instrument(skip_dep_check=True)  # newer libraries than it says will do
    try:
        yield
    finally:
        for one in instrumentors:
            one.uninstrument()


def this_run() -> Run:
    run = current_run()
    assert run is not None
    return run


def used() -> list[Any]:
    return connections(this_run())


def told() -> list[Session]:
    agent = loaded()
    assert agent is not None
    return DbSessions(agent.spans).of(this_run())


# --- which connections -------------------------------------------------------------------------------------------


def test_a_query_of_a_job_tells_its_connection(postgres: Postgres) -> None:
    """The driver's own object; of queries outside of the job nothing is known; a job inside of it has its own."""
    with (
        official(Psycopg2Instrumentor()),
        closing(psycopg2.connect(postgres.dsn)) as outside,
        closing(psycopg2.connect(postgres.dsn)) as one,
    ):
        outside.cursor().execute("select 1")
        with job("nightly"):
            assert used() == []
            one.cursor().execute("select 1")
            one.cursor().execute("select 2")
            assert used() == [one]
            with job("inner"):
                outside.cursor().execute("select 1")
                assert used() == [outside]
            assert used() == [one]


def test_a_connection_is_the_jobs_that_used_it_last(postgres: Postgres) -> None:
    """A pool gives it to one after the other."""
    with official(Psycopg2Instrumentor()), closing(psycopg2.connect(postgres.dsn)) as pooled:
        with job("first"):
            first = this_run()
            pooled.cursor().execute("select 1")
            with job("second"):
                pooled.cursor().execute("select 1")
                assert used() == [pooled]
            assert connections(first) == []


def test_a_connection_that_is_gone_is_forgotten(postgres: Postgres) -> None:
    """It is not kept alive, and another in its place is another."""
    with official(PsycopgInstrumentor()), job("nightly"):
        for _ in range(20):
            connection = psycopg.connect(postgres.dsn)
            connection.execute("select 1")
            assert used() == [connection]
            connection.close()
            del connection
            gc.collect()
            assert used() == []


def test_an_asyncio_job_has_its_connections(postgres: Postgres) -> None:
    """asyncpg: whatever method is called."""

    async def query(number: int) -> None:
        with job(f"job {number}"):
            connection = await asyncpg.connect(postgres.dsn)
            await connection.fetchval("select 1")
            assert used() == [connection]
            async with connection.transaction():
                async for _ in connection.cursor("select generate_series(1, 3)"):
                    assert used() == [connection]
            await connection.close()

    async def both() -> None:
        await asyncio.gather(query(1), query(2))

    with official(AsyncPGInstrumentor()):
        asyncio.run(both())


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_sqlalchemy_alone_tells_them_too(postgres: Postgres, driver: str) -> None:
    """Its own instrumentation, without the driver's."""
    with official(SQLAlchemyInstrumentor()):
        engine = sqlalchemy.create_engine(postgres.dsn.replace("postgresql", f"postgresql+{driver}", 1))
        with job("nightly"), engine.connect() as connection:
            connection.execute(sqlalchemy.text("select 1"))
            assert used() == [connection.connection.driver_connection]
        engine.dispose()


def test_sqlalchemy_with_asyncio(postgres: Postgres) -> None:
    """The asyncio driver's connection, not the one that SQLAlchemy puts before it."""

    async def nightly() -> None:
        engine = create_async_engine(postgres.dsn.replace("postgresql", "postgresql+asyncpg", 1))
        SQLAlchemyInstrumentor().instrument(engine=engine.sync_engine, skip_dep_check=True)
        with job("nightly"):
            async with engine.connect() as connection:
                await connection.execute(sqlalchemy.text("select 1"))
                raw = (await connection.get_raw_connection()).driver_connection
                assert used() == [raw]
        await engine.dispose()

    try:
        asyncio.run(nightly())
    finally:
        SQLAlchemyInstrumentor().uninstrument()


def test_a_connection_without_weak_references_is_left_alone() -> None:
    """sqlite3's: its queries go on as ever."""
    with official(SQLite3Instrumentor()), job("nightly"):
        connection = sqlite3.connect(":memory:")
        for _ in range(2):
            assert connection.cursor().execute("select 1").fetchall() == [(1,)]
        assert used() == []
        connection.close()


def test_afterwards_the_official_instrumentation_is_its_own_again() -> None:
    """Loaded twice acts once."""
    DbSessionsInstrumentor().uninstrument()
    own = CursorTracer._populate_span
    DbSessionsInstrumentor().instrument()
    ours = CursorTracer._populate_span
    assert ours.__wrapped__ is own
    DbSessionsInstrumentor()._instrument()
    assert CursorTracer._populate_span is ours
    DbSessionsInstrumentor().uninstrument()
    assert CursorTracer._populate_span is own
    DbSessionsInstrumentor().instrument()


# --- what is told of them ----------------------------------------------------------------------------------------


def test_the_session_of_who_blocks_others(postgres: Postgres) -> None:
    """Idle in a transaction, or with an advisory lock: the server's own id for it, and the address it knows it by."""
    with official(Psycopg2Instrumentor()), closing(psycopg2.connect(postgres.dsn)) as holder, job("nightly"):
        holder.cursor().execute("select pg_advisory_lock(42)")
        ((pid, port),) = postgres.execute(
            "select pid, client_port from pg_locks join pg_stat_activity using (pid) where locktype = 'advisory'"
        )
        assert told() == [Session("postgresql", str(pid), postgres.address, f"127.0.0.1:{port}")]


def test_a_session_of_mysql(mariadb: MariaDB) -> None:
    """Its connection id."""
    with official(PyMySQLInstrumentor()), job("nightly"):
        connection = pymysql.connect(
            host=mariadb.host, port=mariadb.port, user=mariadb.user, password=mariadb.password, database="shop"
        )
        with connection.cursor() as cursor:
            cursor.execute("select connection_id()")
            ((id,),) = cursor.fetchall()
        (only,) = told()
        assert (only.system, only.server, only.id) == ("mysql", mariadb.address, str(id))
        connection.close()


POSTGRES = Session("postgresql", server="10.0.0.7:5432", local="10.0.0.9:40312")


@pytest.mark.parametrize(
    ("only_databases", "expected"),
    [
        (True, [POSTGRES]),
        # nothing was noted: whichever it is, its address is known at the server too; ports of databases come first
        (False, [POSTGRES, Session("", server="10.0.0.7:25432", local="10.0.0.9:40311")]),
    ],
)
def test_the_connections_of_the_process(only_databases: bool, expected: list[Session]) -> None:
    """Known by their addresses alone; neither sockets of other kinds nor listening ones."""
    seen = [
        Descriptor(3, "tcp", "10.0.0.7:25432", "10.0.0.9:40311"),
        Descriptor(4, "tcp", "10.0.0.7:5432", "10.0.0.9:40312"),
        Descriptor(5, "unix", "/run/postgresql/.s.PGSQL.5432"),
        Descriptor(6, "tcp", "", ""),
    ]
    assert list(of_sockets(seen, only_databases=only_databases)) == expected
