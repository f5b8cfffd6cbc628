"""Which database sessions a job uses: a session that blocks others is usually idle in a transaction, with no span open.

Hooked into the official database instrumentations, where they are loaded: each query notes its connection, by a weak
reference, and nothing is asked of it before somebody looks. A connection is the job's that used it last.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple
from weakref import ref

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from .. import agent as lastspan
from ..evidence.kernel.descriptors import Descriptor, sockets
from ..evidence.waits.sessions import session_of
from ..guest import redact
from ..guest.patches import Patches
from ..registry.run import Run
from ..registry.session import Session
from .lock_span import current_run

_CONNECTIONS_MAX: Final = 1024
"""Of the process; more are not noted."""
SESSIONS_MAX: Final = 16
"""Of a job; more are not told."""
_PORTS: Final = {"5432": "postgresql", "6432": "postgresql", "3306": "mysql", "33060": "mysql"}
"""Of servers, and of PgBouncer."""


class Use(NamedTuple):
    """A connection, and the run that used it last."""

    connection: ref[Any]
    run: Run


class DbSessionsInstrumentor(BaseInstrumentor):
    """Notes the connections that jobs use, where official database instrumentations see their queries."""

    _patches = Patches()

    def instrumentation_dependencies(self) -> Collection[str]:
        """None of its own: it waits for official instrumentations."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        if lastspan.start() is None:
            return
        official = "opentelemetry.instrumentation"
        self._patches.when_imported(f"{official}.dbapi", self._patch_dbapi)
        self._patches.when_imported(f"{official}.asyncpg", self._patch_asyncpg)
        self._patches.when_imported(f"{official}.sqlalchemy.engine", self._patch_sqlalchemy)

    def _uninstrument(self, **kwargs: Any) -> None:
        self._patches.restore()
        _uses.clear()

    def _patch_dbapi(self, module: Any) -> None:
        self._patches.wrap(module.CursorTracer, {"_populate_span": _noting_cursor})

    def _patch_asyncpg(self, module: Any) -> None:
        self._patches.wrap(module, {"_hydrate_span_from_args": _noting_connection})

    def _patch_sqlalchemy(self, module: Any) -> None:
        self._patches.wrap(module.EngineTracer, {"_before_cur_exec": _noting_execution})


_uses: dict[int, Use] = {}
"""By the connection's id; one that is gone takes its entry along."""
_without_references: set[type] = set()
"""Types of connections that know no weak references: sqlite3's."""


def connections(run: Run) -> list[Any]:
    """Return the connections that *run* was the last to use, as far as they live; for the watcher."""
    mine = (use.connection() for use in list(_uses.values()) if use.run is run)
    return [connection for connection in mine if connection is not None]


def count(run: Run) -> int:
    """Return how many connections *run* was the last to use, or has at hand."""
    return sum(use.run is run for use in list(_uses.values())) + len(run.sessions)


def sessions(run: Run) -> list[str]:
    """Return the database sessions of *run*: "system server id address", `-` for what is not known.

    Those that were noted, and those that its code had at hand. Where it is the only job of the process also the
    process's other connections to ports of databases, or, if none was noted, all: of these only the addresses are
    known, and databases know them too.
    """
    noted = [session for connection in connections(run) if (session := session_of(connection)) is not None]
    found = list(dict.fromkeys(_text(session) for session in (*noted, *run.sessions) if session.id or session.local))
    agent = lastspan.agent()
    if agent is not None and len(agent.spans.runs) == 1:
        known = {text.rpartition(" ")[2] for text in found}
        others = _of_sockets(sockets(), only_databases=bool(found))
        found += [text for text in others if text.rpartition(" ")[2] not in known]
    return found[:SESSIONS_MAX]


def _text(session: Session) -> str:
    return " ".join(_word(part) for part in (session.system, session.server, session.id, session.local))


def _word(text: str) -> str:
    return redact.text("".join(text.split())) or "-"


def _of_sockets(seen: Iterable[Descriptor], *, only_databases: bool) -> Iterator[str]:
    ours = [one for one in seen if one.kind == "tcp" and one.local and (_system(one) or not only_databases)]
    for one in sorted(ours, key=lambda one: _system(one) == ""):
        yield " ".join(_word(part) for part in (_system(one), one.peer, "", one.local))


def _system(socket: Descriptor) -> str:
    return _PORTS.get(socket.peer.rpartition(":")[2], "")


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
        entry = lastspan._agent.spans.open.get(span._context[1])  # type: ignore[union-attr]
        if entry is not None:
            connection = getattr(cursor, "connection", None)
            if connection is None:  # SQLAlchemy's cursors for asyncio drivers
                connection = cursor._connection
            known = _uses.get(id(connection))
            if known is None or known[1] is not entry[3]:
                _note(connection, entry[3])
    except Exception:  # a guest never raises: a span or a cursor of another kind, lastspan switched off meanwhile
        return


def _note_call(connection: Any) -> None:
    try:
        run = current_run()
        if run is not None and ((known := _uses.get(id(connection))) is None or known[1] is not run):
            _note(connection, run)
    except Exception:  # a guest never raises
        return


def _note(connection: Any, run: Run | None) -> None:
    if connection is None or run is None or len(_uses) >= _CONNECTIONS_MAX or type(connection) in _without_references:
        return
    key = id(connection)
    try:
        # Called when the connection goes, with its reference, which `pop` takes for its default: it never raises.
        _uses[key] = Use(ref(connection, partial(_uses.pop, key)), run)
    except TypeError:
        _without_references.add(type(connection))
