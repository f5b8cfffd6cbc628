"""SQLAlchemy."""

from __future__ import annotations

from typing import Final

from .page import KnownCall, Page, each

PAGE: Final = Page(
    calls={
        "sqlalchemy.util.queue": each("Queue.get AsyncAdaptedQueue.get", KnownCall("queue", "timeout")),
        "sqlalchemy.pool.impl": {"QueuePool._do_get": KnownCall("pool", "self._timeout", is_final=True)},
    },
    packages={"sqlalchemy": "db"},
    wraps={
        "sqlalchemy": (
            *("cursor", "_cursor", "dbapi_connection", "_dbapi_connection", "driver_connection"),
            *("_connection", "_adapt_connection", "connection", "sync_connection", "_proxied"),
            *("sync_session", "_transaction", "_connections"),
        ),
    },
    pooled={
        "sqlalchemy.Connection": "_dbapi_connection._pool",
        "sqlalchemy.AsyncConnection": "sync_connection._dbapi_connection._pool",
    },
)
