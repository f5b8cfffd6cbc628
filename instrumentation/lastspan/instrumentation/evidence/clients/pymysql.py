"""PyMySQL, and aiomysql, which keeps what it knows in the same fields."""

from __future__ import annotations

from typing import Final

from ...registry.session import Session
from ..objects import paths, transports, values
from ..objects.reads import read
from .driver import connection_of, mysql
from .page import KnownCall, Page, TimeoutSource, each


def _session(thing: object) -> Session | None:
    return _of(connection_of(thing, "pymysql", "connection", "_connection", "_conn"))


def _session_of_aiomysql(thing: object) -> Session | None:
    return _of(connection_of(thing, "aiomysql", "connection", "_connection", "_conn"))


def _of(connection: object) -> Session | None:
    connected = read(values.attribute(connection, "_sock"), "fileno")
    if connected is not values.MISSING:
        addresses = transports.socket_addresses(connected)
    else:
        addresses = transports.addresses(paths.follow(connection, "_writer._transport"))
    thread_id = paths.follow(connection, "server_thread_id.0")
    return mysql(thread_id, values.attribute(connection, "server_status"), addresses)


PAGE: Final = Page(
    calls={
        "pymysql.connections": each(
            "Connection.connect Connection.__init__", KnownCall("db", peer="{self.host}:{self.port}")
        ),
        "aiomysql.connection": each("_connect Connection._connect", KnownCall("db", peer="{self._host}:{self._port}")),
        "aiomysql.pool": {"Pool._acquire": KnownCall("pool", is_final=True)},
    },
    packages=each("pymysql aiomysql", "db"),
    timeouts={
        "pymysql.connections": {
            "_read_bytes": TimeoutSource(("self._read_timeout",), "{self.host}:{self.port}"),
        },
        "aiomysql.connection": {
            "_read_bytes": TimeoutSource((), "{self._host}:{self._port}", "self._writer._transport"),
        },
    },
    sessions={"pymysql": _session, "aiomysql": _session_of_aiomysql},
)
