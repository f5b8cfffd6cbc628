"""MySQL Connector/Python, in Python and in C, of threads and of asyncio: the server's greeting is kept.

A cursor has but a proxy of its connection, which would answer by the connection's own means: it is passed by.
"""

from __future__ import annotations

from typing import Final

from ...registry.session import Session
from ..objects import paths, transports, values
from ..objects.reads import read
from .driver import connection_of, mysql
from .page import Page


def _session(thing: object) -> Session | None:
    connection = connection_of(thing, "mysql", "_connection")
    server, local = transports.socket_addresses(read(paths.follow(connection, "_socket.sock"), "fileno"))
    host, port = values.attribute(connection, "_host"), values.attribute(connection, "_port")
    if not server and type(host) is str and type(port) is int:
        server = f"{host}:{port}"
    thread_id = paths.follow(connection, "_handshake.server_threadid")
    return mysql(thread_id, values.attribute(connection, "_server_status"), (server, local))


PAGE: Final = Page(packages={"mysql": "db"}, sessions={"mysql": _session})
