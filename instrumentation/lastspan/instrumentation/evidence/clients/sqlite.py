"""sqlite3, and aiosqlite, whose connections have each a thread of its own."""

from __future__ import annotations

import sqlite3
from typing import Final

from ...registry.session import Session
from ..objects import values
from .driver import asked_for_connection
from .page import Page, each


def _session(thing: object) -> Session | None:
    """That it is one is all that can be known: each of its getters may wait for the statement that runs."""
    return Session("sqlite") if values.is_kind(asked_for_connection(thing), sqlite3.Connection) else None


PAGE: Final = Page(
    packages=each("sqlite3 aiosqlite", "db"),
    sessions={"sqlite3": _session},
    wraps={"aiosqlite": ("_conn", "_connection", "_cursor")},
    threads={("aiosqlite.core", "_execute"): "self._thread|self"},  # until 0.21 a connection was a thread
)
