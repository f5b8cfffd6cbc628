"""asyncpg."""

from __future__ import annotations

from typing import Final

from ...registry.session import Session
from ..objects import transports, values
from ..objects.reads import read
from .driver import connection_of
from .page import KnownCall, Page, TimeoutSource, each


def _session(thing: object) -> Session | None:
    connection = connection_of(thing, "asyncpg", "_con", "_connection")
    protocol = values.attribute(connection, "_protocol")
    pid = read(protocol, "get_server_pid")
    if type(pid) is not int:
        return None
    server, local = transports.addresses(values.attribute(connection, "_transport"))
    state = "in transaction" if read(protocol, "is_in_transaction") is True else ""
    return Session("postgresql", str(pid), server, local, state)


_CONNECT: Final = KnownCall("db", "timeout")

PAGE: Final = Page(
    calls={
        "asyncpg.connect_utils": each("_connect _connect_addr", _CONNECT),
        "asyncpg.connection": {"connect": _CONNECT},
        "asyncpg.pool": {
            "Pool._acquire": KnownCall("pool", "timeout", is_final=True),
            "Pool._acquire.<locals>._acquire_impl": KnownCall("pool", is_final=True),
        },
    },
    packages={"asyncpg": "db"},
    timeouts={
        "asyncpg.connection": each(
            "_do_execute _execute execute executemany _executemany",
            TimeoutSource(("timeout", "self._config.command_timeout"), transport="self._transport"),
        ),
    },
    sessions={"asyncpg": _session},
    pooled={"asyncpg.PoolConnectionProxy": "_holder._pool"},
)
