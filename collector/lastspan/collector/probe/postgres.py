"""PostgreSQL 10 and later: who waits for a lock, and who holds it, up to the root."""

from __future__ import annotations

import asyncio
import importlib
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lastspan.semconv.redaction import statement, text

from ..model.records import DatabaseSession, DatabaseWait
from .target import APPLICATION_NAME, MAX_SESSIONS, ProbeError, Target, address_of, in_slices, seconds, traceparent

_OLDEST: Final = 10
_HIDDEN: Final = "<insufficient privilege>"
_HINT: Final = "grant pg_read_all_stats to its role"

# pg_locks, not wait_event_type, tells who waits: it shows other roles' sessions to everybody.
# Whoever waits for a row holds the row's `tuple` lock meanwhile, which names the table.
_SESSIONS: Final = """
with locks as (
  select pid, locktype, mode, granted, database, relation, classid, objid, objsubid
  from pg_locks where pid is not null and (not granted or locktype = 'tuple')
), waiting as (
  select pid, pg_blocking_pids(pid) as blockers
  from (select distinct pid, pid = any($1) as ours from locks where not granted order by ours desc, pid limit $3) w
), involved as (
  select pid from waiting
  union select unnest(blockers) from waiting
  union select pid from pg_stat_activity
    where pid = any($1) or host(client_addr) || ':' || client_port = any($2)
      or substring(application_name from ' - ([^ ]+)$') = any($2)
), here as (
  select oid from pg_database where datname = current_database()
)
select i.pid, a.application_name, host(a.client_addr) as client_host, a.client_port, a.backend_type,
  coalesce(a.state, '') as state, a.datname as database, a.query,
  coalesce(a.wait_event_type || '/' || a.wait_event, '') as wait,
  extract(epoch from statement_timestamp() - a.query_start)::float8 as query_s,
  extract(epoch from statement_timestamp() - a.xact_start)::float8 as xact_s,
  extract(epoch from statement_timestamp() - a.state_change)::float8 as state_s,
  coalesce(w.blockers, '{}') as blockers,
  l.locktype, l.mode, l.classid::int8 as classid, l.objid::int8 as objid, l.objsubid::int4 as objsubid,
  coalesce(l.relation, t.relation) as relation
from involved i
left join pg_stat_activity a on a.pid = i.pid
left join waiting w on w.pid = i.pid
left join lateral (
  select locktype, mode, classid, objid, objsubid,
    case when database in (0, (select oid from here)) then relation::regclass::text end as relation
  from locks where locks.pid = i.pid and not granted limit 1
) l on true
left join lateral (
  select relation::regclass::text as relation from locks
  where locks.pid = i.pid and granted and locktype = 'tuple' and database = (select oid from here)
    and l.locktype in ('transactionid', 'tuple') limit 1
) t on true
where i.pid is distinct from pg_backend_pid()
order by i.pid = any($1) desc, w.pid is null desc, i.pid
limit $3
"""

# A transaction that was prepared and never finished holds its locks in no session: its pid is 0. The lock on its own id
# tells which one it is: `virtualtransaction` is the session's that prepared it, or -1/id after a restart.
_PREPARED: Final = """
select distinct w.pid, p.gid, p.database,
  extract(epoch from statement_timestamp() - p.prepared)::float8 as xact_s
from pg_locks h
join pg_locks w on not w.granted and w.pid is not null and w.locktype = h.locktype
  and w.database is not distinct from h.database and w.relation is not distinct from h.relation
  and w.page is not distinct from h.page and w.tuple is not distinct from h.tuple
  and w.transactionid is not distinct from h.transactionid and w.classid is not distinct from h.classid
  and w.objid is not distinct from h.objid and w.objsubid is not distinct from h.objsubid
join pg_locks own on own.pid is null and own.granted and own.locktype = 'transactionid'
  and own.virtualtransaction = h.virtualtransaction
join pg_prepared_xacts p on p.transaction = own.transactionid
where h.granted and h.pid is null
limit $1
"""

_REASONS: Final = {
    "28": "authentication",
    "53": "unavailable",
    "57": "unavailable",
    "08": "connection",
    "42501": "privilege",
    "57014": "timeout",
    "55P03": "timeout",
    "25P03": "timeout",
    "3D": "authentication",
}
"""SQLSTATE, or its class (PostgreSQL documentation, appendix A) → what is counted."""

_WORDS: Final = {
    "transactionid": "row",
    "tuple": "row",
    "relation": "table",
    "extend": "growth of table",
    "page": "page of table",
    "virtualxid": "end of a transaction",
    "speculative token": "insertion",
    "object": "object of the database",
}


class PostgresSource:
    """A connection for looking, in read-only transactions."""

    def __init__(self, connection: Any, target: Target, limit: int = MAX_SESSIONS) -> None:
        self._connection, self._limit = connection, limit
        self._begin = _begin(target.timeout_s)
        self.hidden = ""

    async def sessions(self, waits: Sequence[DatabaseWait], *, server: str) -> list[DatabaseSession]:
        """Return who waits, who blocks them up to the root, and the sessions of *waits*."""
        pids = [int(wait.session) for wait in waits if wait.session.isdecimal() and int(wait.session) < 1 << 31]
        ends = [wait.local.replace("[::ffff:", "").replace("]", "") for wait in waits if wait.local]
        try:
            rows, prepared = await self._query(pids[: self._limit], ends[: self._limit])
        except Exception as problem:
            raise _probe_error(problem) from None
        self.hidden = _HINT if any(row["query"] == _HIDDEN for row in rows) else ""
        holders: dict[int, list[str]] = {}
        for row in prepared:
            holders.setdefault(row["pid"], []).append(_prepared_id(row))
        found = {id: session for row in prepared for id, session in [(_prepared_id(row), _prepared(server, row))]}
        live = (row for row in rows if row["pid"] != 0)
        return [*await in_slices(live, lambda row: _session(server, row, holders)), *found.values()]

    async def _query(self, pids: list[int], ends: list[str]) -> tuple[list[Any], list[Any]]:
        await self._connection.execute(self._begin)
        rows = await self._connection.fetch(_SESSIONS, pids, ends, self._limit)
        prepared = []
        if any(0 in row["blockers"] for row in rows):
            prepared = await self._connection.fetch(_PREPARED, self._limit)
        await self._connection.execute("commit")
        return rows, prepared

    async def close(self) -> None:
        """End it politely."""
        await self._connection.close()

    def abort(self) -> None:
        """End it at once."""
        self._connection.terminate()


async def connect(target: Target, limit: int = MAX_SESSIONS) -> PostgresSource:
    """Return a connection; ProbeError if there is none to be had."""
    asyncpg = importlib.import_module("asyncpg")
    try:
        connection = await asyncpg.connect(
            target.dsn.text,
            timeout=target.timeout_s,
            statement_cache_size=0,  # a pooler may be in between
            server_settings={"application_name": APPLICATION_NAME},
        )
    except Exception as problem:
        raise _probe_error(problem) from None
    version = connection.get_server_version()
    if version.major < _OLDEST:
        connection.terminate()
        raise ProbeError("version", f"PostgreSQL {version.major} is too old; {_OLDEST} or later is needed")
    return PostgresSource(connection, target, limit)


def _begin(timeout_s: float) -> str:
    """Return how a look begins: nothing can be changed, waited for or found under another name."""
    limits = f"set local statement_timeout = {round(timeout_s * 1000)}; set local lock_timeout = 500"
    return f"begin read only; {limits}; set local search_path = pg_catalog"


def _session(server: str, row: Mapping[str, Any], prepared: Mapping[int, Sequence[str]]) -> DatabaseSession:
    query = row["query"] or ""
    hidden = query == _HIDDEN
    blockers = [str(pid) for pid in dict.fromkeys(row["blockers"]) if pid != 0]
    if 0 in row["blockers"]:
        blockers += prepared.get(row["pid"], ["prepared"])
    return DatabaseSession(
        server=server,
        id=str(row["pid"]),
        application_name=text(row["application_name"] or _backend(row)),
        client=address_of(row["client_host"], row["client_port"]),
        state=f"hidden: {_HINT}" if hidden else text(row["state"]),
        wait=text(row["wait"] or (f"Lock/{row['locktype']}" if row["locktype"] else "")),
        query="" if hidden else statement(query, "postgresql"),
        since_query_s=seconds(row["query_s"]),
        since_xact_s=seconds(row["xact_s"]),
        since_state_s=seconds(row["state_s"]),
        blocked_by=tuple(blockers),
        traceparent=traceparent(query),
        locks=_lock(row),
        is_locked=bool(row["locktype"]) or (row["wait"] or "").startswith("Lock/"),
    )


def _backend(row: Mapping[str, Any]) -> str:
    """What the server itself does there: autovacuum worker, walsender, …"""
    kind = row["backend_type"] or ""
    return "" if kind == "client backend" else kind


def _lock(row: Mapping[str, Any]) -> str:
    kind, relation = row["locktype"], row["relation"]
    if not kind:
        return ""
    if kind == "advisory":
        return f"advisory lock {_advisory_key(row)} ({row['mode']})"
    if relation:
        where = f" of {relation}" if kind in {"transactionid", "tuple"} else f" {relation}"
    else:
        where = f" of database {row['database']}" if kind in {"relation", "extend", "page", "tuple"} else ""
    return text(f"{_WORDS.get(kind, kind)}{where} ({row['mode']})")


def _advisory_key(row: Mapping[str, Any]) -> str:
    """Return an advisory lock's key as it was written: one 64-bit number, or two (documentation of pg_locks)."""
    if row["objsubid"] != 1:
        return f"{_signed(row['classid'], 32)}, {_signed(row['objid'], 32)}"
    return str(_signed(row["classid"] << 32 | row["objid"], 64))


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value


def _prepared_id(row: Mapping[str, Any]) -> str:
    return f"prepared {text(row['gid'], 64)}"


def _prepared(server: str, row: Mapping[str, Any]) -> DatabaseSession:
    return DatabaseSession(
        server=server, id=_prepared_id(row), state="prepared transaction", since_xact_s=seconds(row["xact_s"])
    )


def _probe_error(problem: Exception) -> ProbeError:
    """Return what is counted and said: the server's own words, or the system's; nothing that may hold the address."""
    if isinstance(problem, ProbeError):
        return problem
    state = getattr(problem, "sqlstate", None)
    if state is not None:
        reason = _REASONS.get(state) or _REASONS.get(state[:2], "query")
        return ProbeError(reason, text(getattr(problem, "message", None) or problem))
    if isinstance(problem, (TimeoutError, asyncio.TimeoutError)):
        return ProbeError("timeout", "no answer in time")
    if isinstance(problem, ssl.SSLError):
        return ProbeError("tls", text(problem.reason or "TLS failed"))
    if isinstance(problem, OSError):
        return ProbeError("connection", text(problem.strerror or type(problem).__name__))
    return ProbeError("connection", type(problem).__name__)


__all__ = ["PostgresSource", "connect"]
