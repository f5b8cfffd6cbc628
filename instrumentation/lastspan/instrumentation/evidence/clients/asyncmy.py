"""asyncmy: the fields of PyMySQL; those that are in C by their own means."""

from __future__ import annotations

from typing import Final

from ...registry.session import Session
from ..objects import paths, transports
from ..objects.reads import read
from .driver import asked_for_connection, mysql
from .page import Page


def _session(thing: object) -> Session | None:
    connection = asked_for_connection(thing)
    addresses = transports.addresses(read(connection, "_transport"))
    return mysql(paths.follow(connection, "server_thread_id.0"), read(connection, "server_status"), addresses)


PAGE: Final = Page(packages={"asyncmy": "db"}, sessions={"asyncmy": _session})
