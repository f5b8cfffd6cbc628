"""Notes which database connections the queries of a job use: hooked into the official database instrumentations.

Each query notes its connection, by a weak reference (registry/connections.py), where such an instrumentation is loaded.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from ..guest.patches import Patches
from ..registry import current
from ..registry.connections import note, uses


class DbSessionsInstrumentor(BaseInstrumentor):
    """Notes the connections that jobs use, where official database instrumentations see their queries."""

    _patches = Patches()

    def instrumentation_dependencies(self) -> Collection[str]:
        """None of its own: it waits for official instrumentations."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        if current.load() is None:
            return
        official = "opentelemetry.instrumentation"
        self._patches.when_imported(f"{official}.dbapi", self._patch_dbapi)
        self._patches.when_imported(f"{official}.asyncpg", self._patch_asyncpg)
        self._patches.when_imported(f"{official}.sqlalchemy.engine", self._patch_sqlalchemy)

    def _uninstrument(self, **kwargs: Any) -> None:
        self._patches.restore()
        uses.clear()

    def _patch_dbapi(self, module: Any) -> None:
        self._patches.wrap(module.CursorTracer, {"_populate_span": _noting_cursor})

    def _patch_asyncpg(self, module: Any) -> None:
        self._patches.wrap(module, {"_hydrate_span_from_args": _noting_connection})

    def _patch_sqlalchemy(self, module: Any) -> None:
        self._patches.wrap(module.EngineTracer, {"_before_cur_exec": _noting_execution})


# --- on the job's thread -----------------------------------------------------------------------------------------


def _noting_cursor(original: Any) -> Any:
    """psycopg, psycopg2, PyMySQL, mysqlclient, …: within the query's span, before the query."""

    @functools.wraps(original)
    def _populate_span(self: Any, span: Any, cursor: Any, *args: Any) -> Any:
        _note_query(span, cursor)
        return original(self, span, cursor, *args)

    return _populate_span


def _noting_execution(original: Any) -> Any:
    """SQLAlchemy: its span has started, and it leaves it in the execution's context."""

    @functools.wraps(original)
    def _before_cur_exec(
        self: Any, conn: Any, cursor: Any, statement: Any, params: Any, context: Any, many: Any
    ) -> Any:
        result = original(self, conn, cursor, statement, params, context, many)
        _note_query(getattr(context, "_otel_span", None), cursor)
        return result

    return _before_cur_exec


def _noting_connection(original: Any) -> Any:
    """asyncpg: before the query's span, so its parent tells the run."""

    @functools.wraps(original)
    def _hydrate_span_from_args(connection: Any, *args: Any, **kwargs: Any) -> Any:
        _note_call(connection)
        return original(connection, *args, **kwargs)

    return _hydrate_span_from_args


def _note_query(span: Any, cursor: Any) -> None:
    try:
        entry = current.process.spans.open.get(span._context[1])  # type: ignore[union-attr]
        if entry is not None:
            connection = getattr(cursor, "connection", None)
            if connection is None:  # SQLAlchemy's cursors for asyncio drivers
                connection = cursor._connection
            known = uses.get(id(connection))
            if known is None or known[1] is not entry[3]:
                note(connection, entry[3])
    except Exception:  # a guest never raises: a span or a cursor of another kind, lastspan switched off meanwhile
        return


def _note_call(connection: Any) -> None:
    try:
        run = current.current_run()
        if run is not None and ((known := uses.get(id(connection))) is None or known[1] is not run):
            note(connection, run)
    except Exception:  # a guest never raises
        return
