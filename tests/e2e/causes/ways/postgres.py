"""PostgreSQL: locks and who holds them, queries that take long, servers that do not answer, pools that are empty."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from typing import Any

import requests
from tests.e2e.causes.place import here, ready
from tests.e2e.causes.way import DB, JOB, way

HOUR = 3600


def _connect(url: str | None = None) -> Any:
    import psycopg2  # type: ignore[import-untyped, unused-ignore]

    return psycopg2.connect(url or here().postgres)  # <- connecting_to_a_database_that_is_silent stops here


def _make_accounts(table: str) -> None:
    with _connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, balance int)")
        cursor.execute(f"INSERT INTO {table} SELECT id, 0 FROM generate_series(1, 9) AS id")


def _hold_row(table: str, row: int = 1) -> Any:
    """Return a transaction that holds a row: the job goes on to something else meanwhile."""
    connection = _connect()
    connection.cursor().execute(f"UPDATE {table} SET balance = balance - 1 WHERE id = {row}")
    return connection


# --- row locks -------------------------------------------------------------------------------------------------------


def bill_customer() -> None:
    """Idle in transaction: it calls a bank that does not answer."""
    _make_accounts("accounts")
    transaction = _hold_row("accounts")
    ready()
    requests.get(f"http://{here().silent}/charge")
    transaction.commit()


@way("db_lock", span=DB, beside=(bill_customer,), held_by="bill_customer", needs="postgres", in_test=True)
def row_lock_psycopg2() -> None:
    connection = _connect()
    cursor = connection.cursor()
    cursor.execute("UPDATE accounts SET balance = balance + 1 WHERE id = %s", (1,))  # <- stops here


def pay_out() -> None:
    _make_accounts("payouts")
    transaction = _hold_row("payouts")
    ready()
    time.sleep(HOUR)
    transaction.commit()


@way("db_lock", span=DB, beside=(pay_out,), where="process", held_by="pay_out", needs="postgres")
def row_lock_psycopg() -> None:
    """The holder is a job of another process."""
    import psycopg

    with psycopg.connect(here().postgres) as connection:
        connection.execute("SELECT balance FROM payouts WHERE id = 1 FOR UPDATE")  # <- stops here


def close_books() -> None:
    _make_accounts("books")
    transaction = _hold_row("books")
    ready()
    time.sleep(HOUR)
    transaction.commit()


@way("db_lock", span=DB, beside=(close_books,), held_by="close_books", needs="postgres")
async def row_lock_asyncpg() -> None:
    import asyncpg  # type: ignore[import-untyped, unused-ignore]

    connection = await asyncpg.connect(here().postgres)
    await connection.execute("UPDATE books SET balance = balance + 1 WHERE id = $1", 1)  # <- stops here


def move_stock() -> None:
    _make_accounts("stock")
    transaction = _hold_row("stock")
    ready()
    time.sleep(HOUR)
    transaction.commit()


@way("db_lock", span=DB, beside=(move_stock,), held_by="move_stock", needs="postgres")
def row_lock_sqlalchemy() -> None:
    from sqlalchemy import create_engine, text

    engine = create_engine(here().postgres.replace("postgresql://", "postgresql+psycopg2://", 1))
    with engine.begin() as connection:
        connection.execute(text("UPDATE stock SET balance = 0 WHERE id = :id"), {"id": 1})  # <- stops here


def book_seat() -> None:
    _make_accounts("seats")
    transaction = _hold_row("seats")
    ready()
    time.sleep(HOUR)
    transaction.commit()


@way("db_lock", span=DB, beside=(book_seat,), held_by="book_seat", needs="postgres")
async def row_lock_psycopg_async() -> None:
    import psycopg

    async with await psycopg.AsyncConnection.connect(here().postgres) as connection:
        await connection.execute("UPDATE seats SET balance = 1 WHERE id = 1")  # <- stops here


def hold_first() -> None:
    _make_accounts("chained")
    transaction = _hold_row("chained", 1)
    ready()
    time.sleep(HOUR)
    transaction.commit()


def hold_second() -> None:
    transaction = _hold_row("chained", 2)
    ready()
    transaction.cursor().execute("UPDATE chained SET balance = 5 WHERE id = 1")


@way("db_lock", span=DB, beside=(hold_first, hold_second), held_by="hold_first", needs="postgres")
def row_lock_chain_of_three() -> None:
    """Waits for the second, which waits for the first: that one is the root."""
    connection = _connect()
    connection.cursor().execute("UPDATE chained SET balance = 7 WHERE id = 2")  # <- stops here


def ship_order() -> None:
    _make_accounts("parcels")
    transaction = _hold_row("parcels")
    ready()
    time.sleep(HOUR)
    transaction.commit()


@way("db_lock", span=DB, beside=(ship_order,), where="process", held_by="ship_order", needs="postgres pgbouncer")
def row_lock_through_pgbouncer() -> None:
    connection = _connect(here().pgbouncer)
    connection.cursor().execute("UPDATE parcels SET balance = 1 WHERE id = 1")  # <- stops here


# --- other locks -----------------------------------------------------------------------------------------------------


def nightly_sync() -> None:
    connection = _connect()
    connection.cursor().execute("SELECT pg_advisory_lock(4711)")
    ready()
    time.sleep(HOUR)


@way(
    "db_lock", span=r"(db|lock) ", bare_span=r"(job|lock) ", beside=(nightly_sync,), held_by="nightly_sync",
    needs="postgres",
)  # fmt: skip
def advisory_lock() -> None:
    connection = _connect()
    connection.cursor().execute("SELECT pg_advisory_lock(4711)")  # <- stops here


def import_orders() -> None:
    _make_accounts("imported")
    transaction = _hold_row("imported")
    ready()
    time.sleep(HOUR)
    transaction.commit()


@way("db_lock", span=DB, beside=(import_orders,), where="process", held_by="import_orders", needs="postgres")
def index_that_waits_for_an_old_transaction() -> None:
    """Not for a lock on the table: for the end of whoever wrote to it before."""
    connection = _connect()
    connection.autocommit = True
    connection.cursor().execute("CREATE INDEX CONCURRENTLY by_balance ON imported (balance)")  # <- stops here


def close_day() -> None:
    _make_accounts("tills")
    transaction = _hold_row("tills", 1)
    ready()
    time.sleep(HOUR)
    transaction.commit()


@way("db_lock", span=DB, beside=(close_day,), where="process", held_by="close_day", needs="postgres")
def row_lock_behind_somebodys_psql() -> None:
    """A person's session has the row, and waits for another one itself: the job at the head is named."""
    psql = subprocess.Popen(["psql", "-q", here().postgres], stdin=subprocess.PIPE, start_new_session=True)
    assert psql.stdin is not None
    psql.stdin.write(b"begin; update tills set balance = 1 where id = 2; update tills set balance = 2 where id = 1;\n")
    psql.stdin.flush()
    time.sleep(1.5)
    connection = _connect()
    connection.cursor().execute("UPDATE tills SET balance = 3 WHERE id = 2")  # <- stops here


def long_reader() -> None:
    _make_accounts("ledgers")
    connection = _connect()
    connection.cursor().execute("SELECT count(*) FROM ledgers")
    ready()
    time.sleep(HOUR)  # the transaction stays open
    connection.commit()


@way("db_lock", span=DB, beside=(long_reader,), held_by="long_reader", needs="postgres")
def table_lock_of_a_migration() -> None:
    connection = _connect()
    connection.cursor().execute("ALTER TABLE ledgers ADD COLUMN note text")  # <- stops here


_till = threading.Lock()


def count_cash() -> None:
    """Holds the row, and wants the lock."""
    _make_accounts("cash")
    transaction = _hold_row("cash")
    ready()
    time.sleep(1)
    with _till:
        transaction.commit()


@way("deadlock", span=DB, beside=(count_cash,), held_by="count_cash", needs="postgres")
def deadlock_of_a_row_and_a_thread_lock() -> None:
    """Holds the lock, and wants the row: no database sees it."""
    with _till:
        connection = _connect()
        time.sleep(2)
        connection.cursor().execute("UPDATE cash SET balance = 3 WHERE id = 1")  # <- stops here


# --- queries ---------------------------------------------------------------------------------------------------------


@way("db_query", span=DB, needs="postgres", in_test=True)
def slow_query_psycopg2() -> None:
    cursor = _connect().cursor()
    cursor.execute("SELECT pg_sleep(3600)")  # <- stops here


@way("db_query", span=DB, needs="postgres")
async def slow_query_asyncpg() -> None:
    import asyncpg  # type: ignore[import-untyped, unused-ignore]

    connection = await asyncpg.connect(here().postgres)
    await connection.fetch("SELECT pg_sleep(3600)")  # <- stops here


@way("db_query", span=DB, needs="postgres")
def slow_query_psycopg() -> None:
    import psycopg

    with psycopg.connect(here().postgres) as connection:
        connection.execute("SELECT pg_sleep(1) FROM generate_series(1, 3600)")  # <- stops here


@way("db_query", span=DB, needs="postgres")
def stopped_backend() -> None:
    """The server's process for this session is stopped: nothing comes."""
    connection = _connect()
    cursor = connection.cursor()
    time.sleep(1)
    os.kill(connection.get_backend_pid(), signal.SIGSTOP)
    cursor.execute("SELECT 1")  # <- stops here


@way("db_query", span=r"(job|db) ", needs="postgres")
def commit_without_its_standby() -> None:
    """Of this session alone: the others commit without waiting for anybody."""
    connection = _connect()
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("ALTER SYSTEM SET synchronous_standby_names = 'absent'")
    cursor.execute("SELECT pg_reload_conf()")
    cursor.execute("CREATE TABLE replicated (id int)")
    time.sleep(1)
    connection.autocommit = False
    cursor.execute("SET synchronous_commit = on")
    cursor.execute("INSERT INTO replicated VALUES (1)")
    connection.commit()  # <- stops here


@way("waiting", span=JOB, needs="postgres")
def copy_from_a_pipe_that_never_ends() -> None:
    """The database waits for it, not it for the database."""
    _make_accounts("copied")
    reading, _ = os.pipe()
    with _connect() as connection, connection.cursor() as cursor, os.fdopen(reading) as source:
        cursor.copy_expert("COPY copied FROM STDIN", source)  # <- stops here


@way("db_query", span=JOB, bare_span=JOB, peer="silent")
def connecting_to_a_database_that_is_silent() -> None:
    _connect(f"postgresql://nobody@{here().silent}/nothing")


# --- pools -----------------------------------------------------------------------------------------------------------

POOL = "a pool is a queue of connections (waiting), and a resource that others hold (lock_wait)"
_engine: Any = None
_pool: Any = None


def forget_to_return() -> None:
    global _engine
    from sqlalchemy import create_engine

    url = here().postgres.replace("postgresql://", "postgresql+psycopg2://", 1)
    _engine = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=900)
    connection = _engine.connect()
    ready()
    time.sleep(HOUR)
    connection.close()


@way("waiting", "lock_wait", because=POOL, span=r"(job|lock|other|db) ", beside=(forget_to_return,), needs="postgres")
def empty_sqlalchemy_pool() -> None:
    with _engine.connect() as connection:  # <- stops here
        connection.commit()


def keep_connection() -> None:
    global _pool
    from psycopg_pool import ConnectionPool

    _pool = ConnectionPool(here().postgres, min_size=1, max_size=1, timeout=900, open=True)
    with _pool.connection():
        ready()
        time.sleep(HOUR)


@way("waiting", "lock_wait", because=POOL, span=r"(job|lock|other|db) ", beside=(keep_connection,), needs="postgres")
def empty_psycopg_pool() -> None:
    with _pool.connection() as connection:  # <- stops here
        connection.commit()


def borrow_and_keep() -> None:
    global _lent
    from psycopg_pool import ConnectionPool

    _lent = ConnectionPool(here().postgres, min_size=1, max_size=1, timeout=900, open=True)
    connection = _lent.getconn()
    ready()
    time.sleep(HOUR)
    _lent.putconn(connection)


_lent: Any = None


@way(
    "waiting", "lock_wait", because=POOL, span=r"(job|lock|other|db) ", beside=(borrow_and_keep,),
    held_by="borrow_and_keep", needs="postgres",
)  # fmt: skip
def connection_that_another_job_keeps() -> None:
    connection = _lent.getconn()  # <- stops here
    _lent.putconn(connection)


_async_pool: Any = None


async def keep_in_a_task() -> None:
    global _async_pool
    import asyncpg  # type: ignore[import-untyped, unused-ignore]

    _async_pool = await asyncpg.create_pool(here().postgres, min_size=1, max_size=1)
    async with _async_pool.acquire() as connection:
        await connection.execute("SELECT 1")
        ready()
        await asyncio.sleep(HOUR)


@way(
    "waiting", "lock_wait", because=POOL, span=r"(job|lock|other|db) ", beside=(keep_in_a_task,), where="task",
    held_by="keep_in_a_task", needs="postgres",
)  # fmt: skip
async def connection_that_another_task_keeps() -> None:
    async with _async_pool.acquire() as connection:  # <- stops here
        await connection.execute("SELECT 2")


_async_engine: Any = None


async def keep_of_an_engine() -> None:
    global _async_engine
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    url = here().postgres.replace("postgresql://", "postgresql+asyncpg://", 1)
    _async_engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=900)
    connection = await _async_engine.connect()
    await connection.execute(text("SELECT 1"))
    ready()
    await asyncio.sleep(HOUR)


@way(
    "waiting", "lock_wait", because=POOL, span=r"(job|lock|other|db) ", beside=(keep_of_an_engine,), where="task",
    held_by="keep_of_an_engine", needs="postgres",
)  # fmt: skip
async def empty_pool_of_an_async_engine() -> None:
    """SQLAlchemy's own code waits in a greenlet, which no coroutine shows."""
    from sqlalchemy import text

    async with _async_engine.begin() as connection:  # <- stops here
        await connection.execute(text("SELECT 1"))
