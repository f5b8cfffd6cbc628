"""MariaDB: row, metadata and named locks; a query that takes long."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.causes.place import here, ready
from tests.e2e.causes.way import DB, JOB, way

HOUR = 3600


def _connect() -> Any:
    import pymysql

    url = urlsplit(here().mariadb)
    return pymysql.connect(
        host=url.hostname or "",
        port=url.port or 0,
        user=url.username,
        password=url.password or "",
        database=url.path.strip("/"),
    )


def _make_orders(table: str) -> None:
    connection = _connect()
    cursor = connection.cursor()
    cursor.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, state int) ENGINE=InnoDB")
    cursor.execute(f"INSERT INTO {table} VALUES (1, 0), (2, 0)")
    connection.commit()


def pick_order() -> None:
    _make_orders("orders")
    connection = _connect()
    connection.cursor().execute("UPDATE orders SET state = 1 WHERE id = 1")
    ready()
    time.sleep(HOUR)
    connection.commit()


@way("db_lock", span=DB, beside=(pick_order,), held_by="pick_order", needs="mariadb")
def mariadb_row_lock() -> None:
    cursor = _connect().cursor()
    cursor.execute("SET innodb_lock_wait_timeout = 3600")
    cursor.execute("UPDATE orders SET state = 2 WHERE id = %s", (1,))  # <- stops here


def reserve_numbers() -> None:
    _make_orders("numbers")
    connection = _connect()
    connection.cursor().execute("SELECT * FROM numbers WHERE id BETWEEN 5 AND 8 FOR UPDATE")
    ready()
    time.sleep(HOUR)
    connection.commit()


@way("db_lock", span=DB, beside=(reserve_numbers,), where="process", held_by="reserve_numbers", needs="mariadb")
def mariadb_gap_lock() -> None:
    """On rows that do not exist."""
    cursor = _connect().cursor()
    cursor.execute("SET innodb_lock_wait_timeout = 3600")
    cursor.execute("INSERT INTO numbers VALUES (7, 1)")  # <- stops here


def pack_order() -> None:
    _make_orders("packed")
    connection = _connect()
    connection.cursor().execute("UPDATE packed SET state = 1 WHERE id = 1")
    ready()
    time.sleep(HOUR)
    connection.commit()


@way("db_lock", span=JOB, beside=(pack_order,), held_by="pack_order", needs="mariadb")
async def mariadb_row_lock_of_a_compiled_client() -> None:
    """Nothing instruments asyncmy, and its coroutines have no frames."""
    import asyncmy

    url = urlsplit(here().mariadb)
    connection = await asyncmy.connect(
        host=url.hostname, port=url.port, user=url.username, password=url.password, db=url.path.strip("/")
    )
    async with connection.cursor() as cursor:
        await cursor.execute("SET innodb_lock_wait_timeout = 3600")
        await cursor.execute("UPDATE packed SET state = 7 WHERE id = 1")  # <- stops here


def read_invoices() -> None:
    _make_orders("invoices")
    connection = _connect()
    connection.cursor().execute("SELECT * FROM invoices")
    ready()
    time.sleep(HOUR)
    connection.commit()


@way("db_lock", span=DB, beside=(read_invoices,), held_by="read_invoices", needs="mariadb")
def mariadb_metadata_lock() -> None:
    cursor = _connect().cursor()
    cursor.execute("ALTER TABLE invoices ADD COLUMN note int")  # <- stops here


def rotate_keys() -> None:
    cursor = _connect().cursor()
    cursor.execute("SELECT GET_LOCK('keys', 10)")
    ready()
    time.sleep(HOUR)


@way(
    "db_lock",
    span=r"(db|lock) ",
    bare_span=r"(job|lock) ",
    beside=(rotate_keys,),
    where="process",
    held_by="rotate_keys",
    needs="mariadb",
)
def mariadb_named_lock() -> None:
    cursor = _connect().cursor()
    cursor.execute("SELECT GET_LOCK('keys', 3600)")  # <- stops here


@way("db_query", span=DB, needs="mariadb")
def mariadb_slow_query() -> None:
    cursor = _connect().cursor()
    cursor.execute("SELECT SLEEP(3600)")  # <- stops here
