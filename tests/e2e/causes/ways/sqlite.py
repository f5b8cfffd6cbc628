"""SQLite: the whole file is locked."""

from __future__ import annotations

import sqlite3
import time

from tests.e2e.causes.place import here, ready
from tests.e2e.causes.way import way

FILE = r"(db|lock) "
"""The statement's span: a call of a database that waits for a lock is allowed what a lock is allowed."""
OWN = r"(job|lock) "


def _open() -> sqlite3.Connection:
    return sqlite3.connect(here().path("app.db"), timeout=900, isolation_level=None)


def vacuum_nightly() -> None:
    connection = _open()
    connection.execute("CREATE TABLE IF NOT EXISTS notes (text)")
    connection.execute("BEGIN EXCLUSIVE")
    ready()
    time.sleep(3600)


@way("db_lock", span=FILE, bare_span=OWN, beside=(vacuum_nightly,), where="process", held_by="vacuum_nightly")
def sqlite_locked_by_another_process() -> None:
    cursor = _open().cursor()
    cursor.execute("INSERT INTO notes VALUES ('hello')")  # <- stops here


def import_notes() -> None:
    connection = _open()
    connection.execute("CREATE TABLE notes (text)")
    connection.execute("BEGIN IMMEDIATE")
    ready()
    time.sleep(3600)


@way("db_lock", span=FILE, bare_span=OWN, beside=(import_notes,))
def sqlite_locked_by_another_thread() -> None:
    cursor = _open().cursor()
    cursor.execute("DELETE FROM notes")  # <- stops here


def list_notes() -> None:
    connection = _open()
    connection.execute("CREATE TABLE notes (text)")
    connection.executemany("INSERT INTO notes VALUES (?)", [("x" * 3000,)] * 200)
    rows = connection.execute("SELECT * FROM notes")
    rows.fetchone()
    ready()
    time.sleep(3600)
    rows.fetchall()


@way("db_lock", span=OWN, beside=(list_notes,), where="process", held_by="list_notes")
def sqlite_commit_behind_a_reader() -> None:
    """Its own process has locked the file too: for the commit that waits until the last reader goes."""
    connection = sqlite3.connect(here().path("app.db"), timeout=900)
    connection.execute("INSERT INTO notes VALUES ('new')")
    connection.commit()  # <- stops here


def tidy_up() -> None:
    vacuum_nightly()


@way("db_lock", span=OWN, beside=(tidy_up,), where="process", held_by="tidy_up")
async def sqlite_behind_asyncio() -> None:
    """A thread of aiosqlite's own waits."""
    import aiosqlite

    async with aiosqlite.connect(here().path("app.db"), timeout=900) as connection:
        await connection.execute("INSERT INTO notes VALUES ('hello')")  # <- stops here
