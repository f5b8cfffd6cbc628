"""psycopg 3 and its pool."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

from ...registry.session import Session
from ..objects import values
from .driver import LIBPQ, connection_of, postgres
from .page import KnownCall, Page, each


def _session(thing: object) -> Session | None:
    pgconn = values.attribute(connection_of(thing, "psycopg", "_conn", "connection"), "pgconn")
    return postgres(pgconn, _by_pointer(pgconn))


def _by_pointer(pgconn: object) -> tuple[object, ...] | None:
    """Ask libpq for psycopg in Python, with the interpreter kept; by its own properties it would be let go of first.

    Who closes the connection takes the pointer away, and then frees it: what was read meanwhile is thrown away.
    """
    if values.class_name(type(pgconn)) != "psycopg.pq.pq_ctypes.PGconn":
        return None
    library = vars(sys.modules["psycopg.pq._pq_ctypes"])
    places = [ctypes.cast(library[name], ctypes.c_void_p).value or 0 for name in LIBPQ.values()]
    pointer = values.attribute(pgconn, "_pgconn_ptr")
    if not isinstance(pointer, ctypes._Pointer):
        return None
    found = tuple(_ASK(place)(pointer) for place in places)
    return found if values.attribute(pgconn, "_pgconn_ptr") is pointer else None


_ASK: Final = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)

_GETCONN: Final = KnownCall("pool", "timeout", "{self.name}", is_final=True)
_WAIT: Final = KnownCall("pool", "timeout", is_final=True)

PAGE: Final = Page(
    calls={
        "psycopg.connection": {"Connection.connect": KnownCall("db")},
        "psycopg.connection_async": {"AsyncConnection.connect": KnownCall("db")},
        "psycopg_pool.pool": {
            **each("ConnectionPool.getconn ConnectionPool._getconn", _GETCONN),
            "ConnectionPool.wait": _WAIT,
        },
        "psycopg_pool.pool_async": {
            **each("AsyncConnectionPool.getconn AsyncConnectionPool._getconn", _GETCONN),
            "AsyncConnectionPool.wait": _WAIT,
        },
    },
    packages={"psycopg": "db"},
    sessions={"psycopg": _session},
    wraps={"psycopg_pool": ("connection",)},
    pooled={
        **each("psycopg.Connection psycopg.AsyncConnection", "_pool"),
        **each("psycopg.Cursor psycopg.AsyncCursor", "_conn._pool"),
    },
)
