"""mysqlclient."""

from __future__ import annotations

from typing import Final

from ...registry.session import Session
from ..objects.reads import read
from .driver import connection_of, mysql
from .page import Page


def _session(thing: object) -> Session | None:
    return mysql(read(connection_of(thing, "MySQLdb", "connection"), "thread_id"), None, ("", ""))


PAGE: Final = Page(packages={"MySQLdb": "db"}, sessions={"MySQLdb": _session})
