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
