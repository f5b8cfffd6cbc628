"""MySQL 5.7 and later, MariaDB 10.5 and later: rows by InnoDB's tables, names and GET_LOCK by `performance_schema`.

What the role or the server does not let us see is left out, and said: at the least there is the list of processes.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import ssl
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from lastspan.semconv.redaction import statement, text

from ..model.records import DatabaseSession, DatabaseWait
from .dsn import tls_context
from .metadata_locks import MetadataLock, blockers
from .target import APPLICATION_NAME, MAX_SESSIONS, ProbeError, Target, in_slices, seconds, traceparent

_ROW_LOCKS_BY_INFORMATION_SCHEMA: Final = """
select r.trx_mysql_thread_id as waiter, b.trx_mysql_thread_id as blocker,
  l.lock_table as place, l.lock_type as kind, l.lock_mode as mode
from information_schema.innodb_lock_waits w
join information_schema.innodb_trx r on r.trx_id = w.requesting_trx_id
join information_schema.innodb_trx b on b.trx_id = w.blocking_trx_id
left join information_schema.innodb_locks l on l.lock_id = w.requested_lock_id
"""
_ROW_LOCKS_BY_PERFORMANCE_SCHEMA: Final = """
select r.trx_mysql_thread_id as waiter, b.trx_mysql_thread_id as blocker,
  concat(l.object_schema, '.', l.object_name) as place, l.lock_type as kind, l.lock_mode as mode
from performance_schema.data_lock_waits w
join information_schema.innodb_trx r on r.trx_id = w.requesting_engine_transaction_id
join information_schema.innodb_trx b on b.trx_id = w.blocking_engine_transaction_id
left join performance_schema.data_locks l on l.engine_lock_id = w.requesting_engine_lock_id
"""
_METADATA_LOCKS: Final = """
select t.processlist_id as owner, m.object_type as object_type, m.object_schema as object_schema,
  m.object_name as object_name, m.lock_type as kind, m.lock_status as status
from performance_schema.metadata_locks m
join performance_schema.threads t on t.thread_id = m.owner_thread_id
join (
  select distinct object_type, object_schema, object_name from performance_schema.metadata_locks
  where lock_status = 'PENDING'
) p on p.object_type = m.object_type and p.object_schema <=> m.object_schema and p.object_name <=> m.object_name
where t.processlist_id is not null and m.lock_status in ('PENDING', 'GRANTED')
"""
# MariaDB's plugin knows who has locks, not who waits: that is told by the state of the process, and by its statement.
_METADATA_LOCKS_BY_PLUGIN: Final = """
select m.thread_id as owner, m.lock_mode as kind, m.lock_type as object_type,
  m.table_schema as object_schema, m.table_name as object_name
from information_schema.metadata_lock_info m
where m.lock_type in ('Table metadata lock', 'User lock')
"""
_PROCESSES: Final = """
select p.id as id, p.host as host, p.db as db, p.command as command, p.state as state, p.info as info, {age} as state_s
from {table} p where {condition}
"""
_TRANSACTIONS: Final = """
select trx_mysql_thread_id as id, timestampdiff(microsecond, trx_started, now(6)) / 1e6 as xact_s
from information_schema.innodb_trx where {condition}
"""
_LAST_STATEMENTS: Final = """
select t.processlist_id as id, s.sql_text as info
from performance_schema.events_statements_current s
join performance_schema.threads t on t.thread_id = s.thread_id
where s.nesting_event_id is null and {condition}
"""

_REASONS: Final = {
    **dict.fromkeys((1044, 1045, 1049, 1130, 1698, 1251, 2059), "authentication"),
    **dict.fromkeys((1142, 1143, 1227, 1370), "privilege"),
    **dict.fromkeys((1040, 1053, 1129, 1203, 1226), "unavailable"),
    **dict.fromkeys((1205, 1317, 1969, 3024), "timeout"),
    **dict.fromkeys((2002, 2003, 2006, 2013, 2014, 2055), "connection"),
    2026: "tls",
}
"""The server's and the client's error numbers → what is counted."""

_NEEDS_PROCESS: Final = "grant process on *.* to its role"
_NEEDS_SCHEMA: Final = "grant select on performance_schema.* to its role"
_SCHEMA_OFF: Final = "locks on tables and by GET_LOCK are not known: performance_schema is off"
_WAITS_FOR_TABLE: Final = "Waiting for table metadata lock"
_WAITS_FOR_NAME: Final = "User lock"
_PROTOCOL_TLS: Final = frozenset({"REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"})


class _Waits:
    """Who waits for what, by whom: id of a connection → ids, and words for the lock."""

    def __init__(self) -> None:
        self.blocked_by: dict[str, list[str]] = defaultdict(list)
        self.locks: dict[str, str] = {}

    def add(self, waiter: str, holders: Iterable[str], words: str) -> None:
        """Add holders of what a connection waits for."""
        self.blocked_by[waiter] = list(dict.fromkeys([*self.blocked_by[waiter], *holders]))
        self.locks.setdefault(waiter, text(words))

    def ids(self) -> list[str]:
        """Return everybody that is involved."""
        holders = (holder for holders in self.blocked_by.values() for holder in holders)
        return [id for id in dict.fromkeys([*self.blocked_by, *holders]) if id.isdecimal() and id != "0"]


class MysqlSource:
    """A connection for looking, read-only."""

    def __init__(self, connection: Any, cursor: Any, version: str, has_schema: bool) -> None:
        self._connection, self._cursor = connection, cursor
        self._is_mariadb = "mariadb" in version.lower()
        self._has_schema = has_schema
        self._has_process_table = not self._is_mariadb and has_schema and _numbers(version) >= (8, 0, 22)
        self._own_id = str(connection.thread_id())
        self._hidden: dict[str, None] = {}

    @property
    def hidden(self) -> str:
        """What the role may not see, and what to do about it."""
        return "; ".join(self._hidden)

    async def sessions(self, waits: Sequence[DatabaseWait], *, server: str) -> list[DatabaseSession]:
        """Return who waits, who blocks them up to the root, and the sessions of *waits*."""
        try:
            return await self._sessions(waits, server)
        except Exception as problem:
            raise _probe_error(problem) from None

    async def _sessions(self, waits: Sequence[DatabaseWait], server: str) -> list[DatabaseSession]:
        self._hidden = {}
        waiting = _Waits()
        await self._row_locks(waiting)
        if self._has_schema:
            await self._metadata_locks(waiting)
        elif not await self._locks_by_plugin(waiting):
            self._hidden[_SCHEMA_OFF] = None
        asked = [wait.session for wait in waits if wait.session.isdecimal()]
        ids = list(dict.fromkeys([*asked, *waiting.ids()]))[:MAX_SESSIONS]
        processes = await self._processes(ids, [wait.local for wait in waits if wait.local])
        seen = [str(row["id"]) for row in processes]
        ages = {row["id"]: row["xact_s"] for row in await self._if_allowed(_TRANSACTIONS, "trx_mysql_thread_id", seen)}
        statements = await self._last_statements([str(row["id"]) for row in processes if not row["info"]])
        if any(id not in seen for id in waiting.ids()[:MAX_SESSIONS]):
            self._hidden[_NEEDS_PROCESS] = None
        others = (row for row in processes if str(row["id"]) != self._own_id)
        found = await in_slices(others, lambda row: _session(server, row, waiting, ages, statements))
        return [*found, *self._unseen(server, waiting, seen)]

    async def _row_locks(self, waiting: _Waits) -> None:
        """InnoDB's locks on rows and tables. A transaction that was prepared (XA) has the id 0."""
        by_schema = not self._is_mariadb and self._has_schema
        query = _ROW_LOCKS_BY_PERFORMANCE_SCHEMA if by_schema else _ROW_LOCKS_BY_INFORMATION_SCHEMA
        for row in await self._allowed(query, _NEEDS_PROCESS):
            what = "table" if row["kind"] == "TABLE" else "row of"
            place = (row["place"] or "?").replace("`", "")
            holder = str(row["blocker"]) if row["blocker"] else "prepared"
            waiting.add(str(row["waiter"]), [holder], f"{what} {place} ({row['mode']})")

    async def _metadata_locks(self, waiting: _Waits) -> None:
        rows = await self._allowed(_METADATA_LOCKS, _NEEDS_SCHEMA)
        locks = [
            MetadataLock(
                owner=str(row["owner"]),
                object_type=row["object_type"],
                schema=row["object_schema"] or "",
                name=row["object_name"] or "",
                kind=row["kind"],
                is_granted=row["status"] == "GRANTED",
            )
            for row in rows
        ]
        for waiter, (lock, holders) in blockers(locks).items():
            waiting.add(waiter, holders, f"{_words(lock)} ({lock.kind})")

    async def _locks_by_plugin(self, waiting: _Waits) -> bool:
        """Guess who holds what is waited for, where MariaDB's plugin metadata_lock_info is loaded."""
        if not self._is_mariadb:
            return False
        try:
            held = await self._rows(_METADATA_LOCKS_BY_PLUGIN)
        except Exception as problem:
            if _number(problem) in {1109, 1146}:  # not loaded
                return False
            raise
        for row in await self._rows(self._process_query("p.state in (%s, %s)"), _WAITS_FOR_TABLE, _WAITS_FOR_NAME):
            by_name = row["state"] == _WAITS_FOR_NAME
            holders = [lock for lock in held if lock["owner"] != row["id"] and _may_hold(lock, row, by_name=by_name)]
            words = f"GET_LOCK {holders[0]['object_schema']}" if by_name and holders else "table"
            if holders and not by_name:
                words = f"table {holders[0]['object_schema']}.{holders[0]['object_name']}"
            waiting.add(str(row["id"]), [str(lock["owner"]) for lock in holders], words)
        return True

    async def _processes(self, ids: Sequence[str], ends: Sequence[str]) -> list[dict[str, Any]]:
        marks = [(f"p.id in ({_marks(ids)})", ids), (f"p.host in ({_marks(ends)})", ends)]
        conditions = [condition for condition, values in marks if values]
        if not conditions:
            return []
        query = f"{self._process_query(' or '.join(conditions))} limit {MAX_SESSIONS}"
        return await self._rows(query, *map(int, ids), *ends)

    def _process_query(self, condition: str) -> str:
        schema = "performance_schema" if self._has_process_table else "information_schema"
        age = "p.time_ms / 1000" if self._is_mariadb else "p.time"
        return _PROCESSES.format(table=f"{schema}.processlist", age=age, condition=condition)

    async def _last_statements(self, ids: Sequence[str]) -> dict[int, str]:
        """What connections that do nothing now did last: a holder is usually one of them."""
        if not self._has_schema:
            return {}
        rows = await self._if_allowed(_LAST_STATEMENTS, "t.processlist_id", ids)
        return {row["id"]: row["info"] for row in rows if row["info"]}

    async def _if_allowed(self, query: str, column: str, ids: Sequence[str]) -> list[dict[str, Any]]:
        if not ids:
            return []
        query = query.format(condition=f"{column} in ({_marks(ids)})")
        return await self._allowed(query, "", *map(int, ids))

    async def _allowed(self, query: str, hint: str, *values: object) -> list[dict[str, Any]]:
        """Return rows; none where the role may not, which is remembered with what to do."""
        try:
            return await self._rows(f"{query} limit {2 * MAX_SESSIONS}", *values)
        except Exception as problem:
            if _REASONS.get(_number(problem)) != "privilege":
                raise
            if hint:
                self._hidden[hint] = None
            return []

    async def _rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        async with self._connection.cursor(self._cursor) as cursor:
            await cursor.execute(query, values or None)
            return list(await cursor.fetchall())

    def _unseen(self, server: str, waiting: _Waits, seen: Sequence[str]) -> list[DatabaseSession]:
        """Return sessions of which nothing but who blocks whom is known."""
        return [
            DatabaseSession(
                server=server,
                id=id,
                state=f"hidden: {_NEEDS_PROCESS}",
                blocked_by=tuple(waiting.blocked_by.get(id, ())),
                locks=waiting.locks.get(id, ""),
            )
            for id in waiting.ids()[:MAX_SESSIONS]
            if id not in seen
        ]

    async def close(self) -> None:
        """End it politely."""
        await self._connection.ensure_closed()

    def abort(self) -> None:
        """End it at once."""
        self._connection.close()


async def connect(target: Target) -> MysqlSource:
    """Return a connection; ProbeError if there is none to be had."""
    aiomysql = importlib.import_module("aiomysql")
    dsn = target.dsn
    try:
        connection = await aiomysql.connect(
            host=dsn.host or "localhost",
            port=dsn.port,
            user=dsn.user or None,
            password=dsn.password,
            unix_socket=dsn.options.get("unix-socket"),
            ssl=None if dsn.options.get("unix-socket") else await asyncio.to_thread(tls_context, dsn),
            connect_timeout=target.timeout_s,
            charset="utf8mb4",
            autocommit=True,
            program_name=APPLICATION_NAME,
            init_command="set session transaction read only",
        )
    except Exception as problem:
        raise _probe_error(problem) from None
    try:
        return await _prepared(connection, _silent(aiomysql.DictCursor), target)
    except BaseException as problem:
        connection.close()
        if isinstance(problem, Exception):
            raise _probe_error(problem) from None
        raise


async def _prepared(connection: Any, cursor: Any, target: Target) -> MysqlSource:
    async with connection.cursor(cursor) as asking:
        await asking.execute("select version() as version, @@performance_schema as has_schema")
        server = await asking.fetchone()
        await asking.execute("show status like 'Ssl_cipher'")
        cipher = (await asking.fetchone() or {}).get("Value")
        if not cipher and target.dsn.options.get("ssl-mode") in _PROTOCOL_TLS:
            raise ProbeError("tls", "the server offers no TLS, and ssl-mode asks for it")
        limit = f"max_execution_time = {round(target.timeout_s * 1000)}"
        if "mariadb" in server["version"].lower():
            limit = f"max_statement_time = {target.timeout_s:g}"
        await asking.execute(f"set session {limit}, session lock_wait_timeout = 1")
    return MysqlSource(connection, cursor, server["version"], bool(server["has_schema"]))


def _silent(cursor: type[Any]) -> type[Any]:
    """Return a kind of cursor that does not turn the server's warnings (tables that are deprecated) into Python's."""

    async def nothing(self: Any, connection: Any) -> None:
        """Leave the warnings where they are."""

    return type("Cursor", (cursor,), {"_show_warnings": nothing})


def _session(
    server: str,
    row: Mapping[str, Any],
    waiting: _Waits,
    ages: Mapping[int, object],
    statements: Mapping[int, str],
) -> DatabaseSession:
    id, query = str(row["id"]), row["info"] or statements.get(row["id"], "")
    age_s, sleeps = seconds(_float(row["state_s"])), row["command"] == "Sleep"
    in_transaction = row["id"] in ages
    return DatabaseSession(
        server=server,
        id=id,
        client=row["host"] if ":" in (row["host"] or "") else "",
        state=("idle in transaction" if in_transaction else "idle") if sleeps else "active",
        wait=text(row["state"] or ""),
        query=statement(query, "mysql"),
        since_query_s=None if sleeps else age_s,
        since_xact_s=seconds(_float(ages.get(row["id"]))),
        since_state_s=age_s,
        blocked_by=tuple(waiting.blocked_by.get(id, ())),
        traceparent=traceparent(query),
        locks=waiting.locks.get(id, ""),
    )


def _words(lock: MetadataLock) -> str:
    match lock.object_type:
        case "USER LEVEL LOCK":
            return f"GET_LOCK {lock.name}"
        case "GLOBAL" | "BACKUP" | "COMMIT" | "BACKUP LOCK":
            return "the whole server"
        case kind:
            name = ".".join(part for part in (lock.schema, lock.name) if part)
            return f"{kind.lower()} {name}".strip()


def _may_hold(lock: Mapping[str, Any], waiter: Mapping[str, Any], *, by_name: bool) -> bool:
    query = (waiter["info"] or "").lower()
    name = (lock["object_schema" if by_name else "object_name"] or "").lower()
    is_named = name and re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", query)
    return (lock["object_type"] == _WAITS_FOR_NAME) == by_name and bool(is_named)


def _marks(values: Sequence[object]) -> str:
    return ", ".join(["%s"] * len(values))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("-")[0].split(".") if part.isdecimal())


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _number(problem: BaseException) -> int:
    code = problem.args[0] if problem.args else 0
    return code if isinstance(code, int) else 0


def _probe_error(problem: Exception) -> ProbeError:
    """Return what is counted and said: the server's own words, or the system's."""
    if isinstance(problem, ProbeError):
        return problem
    if isinstance(cause := problem.__cause__, ssl.SSLError):
        return ProbeError("tls", text(cause.reason or "TLS failed"))
    if isinstance(problem, ssl.SSLError):
        return ProbeError("tls", text(problem.reason or "TLS failed"))
    if isinstance(problem, (TimeoutError, asyncio.TimeoutError)):
        return ProbeError("timeout", "no answer in time")
    if isinstance(problem, OSError):
        return ProbeError("connection", text(problem.strerror or type(problem).__name__))
    number = _number(problem)
    words = text(problem.args[1]) if number and len(problem.args) > 1 else type(problem).__name__
    return ProbeError(_REASONS.get(number, "query" if number else "connection"), words)


__all__ = ["MysqlSource", "connect"]
