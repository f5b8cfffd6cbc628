"""Databases: locks in them, and queries that take long or are never answered."""

from __future__ import annotations

from lastspan.semconv.vocabulary import CauseName, WaitKind, WaitPurpose

from ..blockers import Blocker, blocker, in_the_way
from ..names import lock_name, waited_for
from .case import Case, Cause
from .words import allowed, holder, job_label, join, see_job, session, short, stopped

_SQLITE = "sqlite"
_WITH_LOCKS = frozenset(
    {"postgresql", "mysql", "mariadb", "microsoft.sql_server", "oracle.db", "cockroachdb", "other_sql"}
)
"""Of rows and tables, which a query may wait for; of these some are asked by probes."""
_CONNECTS = frozenset({WaitKind.CONNECT, WaitKind.DNS})
_WAITS = _CONNECTS | {None, WaitKind.DB, WaitKind.SOCKET, WaitKind.SLEEP, WaitKind.HTTP}
"""Waits of a thread that queries a database; any other wait is more precise than the query."""
_OF_A_FILE = frozenset({None, WaitKind.SLEEP, WaitKind.FILE_LOCK, WaitKind.DB})
"""The same where SQLite waits for its file."""


def find_lock(case: Case) -> Cause | None:
    """A lock in a database: as a probe saw it, as the job asked for it, or the whole file."""
    seen = case.context.session(case.job, case.last) if case.context.has_databases else None
    if seen is not None and seen.blocked_by:
        holder_key = in_the_way(case.job, case.context) or join(seen.server, *seen.blocked_by)
        step = blocker(case.job, case.last, case.context)
        stuck = step is not None and step.job is not None and case.context.is_stuck(step.job)
        return Cause(CauseName.DB_LOCK, 0.95, "holder", holder_key, _seen_words, _seen_advice, proven=stuck)
    if case.wait.kind is WaitKind.DB_LOCK or (seen is not None and seen.is_locked):
        target = case.lock.key or join(case.peer, lock_name(case.lock) or waited_for(case.wait))
        if held_by := in_the_way(case.job, case.context):
            return Cause(CauseName.DB_LOCK, 0.85, "holder", held_by, _asked_words, _asked_advice)
        return Cause(CauseName.DB_LOCK, 0.85, "db_lock", target, _asked_words, _asked_advice, is_guess=True)
    if _is_sqlite(case) and not case.is_busy and case.wait.kind in _OF_A_FILE:
        return Cause(CauseName.DB_LOCK, 0.8, "db_lock", str(_namespace(case)), _file_words, _file_advice)
    return None


def find(case: Case) -> Cause | None:
    """A query."""
    kind = case.wait.kind
    if kind is not WaitKind.DB and not (case.is_database and kind in _WAITS):
        return None
    if case.is_busy and kind is None and not _is_sqlite(case) and (case.evidence.cpu_ratio or 0.0) > 0.5:
        return None  # it computes: what the database sent, perhaps
    system = case.call.attribute("db.system.name")
    if (listens := _find_idle(case) or _find_blocking(case)) is not None:
        return listens
    target = join(system, case.peer)
    return Cause(
        CauseName.DB_QUERY, _sure(case), "db", target, _query_words, _query_advice, is_guess=_may_be_told(case)
    )


def _find_idle(case: Case) -> Cause | None:
    """Nothing runs at the server, and nothing need: it waits for a notification."""
    seen = case.context.session(case.job, case.last)
    if seen is None or seen.state != "idle" or case.wait.purpose is not WaitPurpose.NOTIFICATION:
        return None
    return Cause(CauseName.WAITING, 0.7, "waiting_queue", join(seen.server, seen.id), _idle_words, _idle_advice)


def _find_blocking(case: Case) -> Cause | None:
    """A command that waits for somebody to put something in."""
    command = str(case.call.attribute("db.operation.name") or "").upper()
    if command not in _BLOCKING:
        return None
    return Cause(CauseName.WAITING, 0.85, "waiting_queue", join(case.peer, command), _blocking_words, _blocking_advice)


_BLOCKING = frozenset(
    {
        *("BLPOP", "BRPOP", "BLMOVE", "BLMPOP", "BRPOPLPUSH", "BZPOPMIN", "BZPOPMAX", "BZMPOP"),
        *("XREAD", "XREADGROUP", "SUBSCRIBE", "PSUBSCRIBE"),
    }
)
"""Of Redis."""


def _idle_words(case: Case) -> str:
    at = f"at {case.peer}" if case.peer else ""
    return join(
        join("It waits on its database session", at) + ",",
        "but the server reports that session as idle: no query runs.",
        stopped(case, case.stopped_ns),
    )


def _idle_advice(case: Case) -> str:
    return "Check whether the sender of the NOTIFY still runs; give the wait a timeout."


def _blocking_words(case: Case) -> str:
    at = f"at {case.peer}" if case.peer else ""
    command = case.call.attribute("db.operation.name")
    return join(join("It waits in", command, at) + ".", stopped(case, case.last.age_ns))


def _blocking_advice(case: Case) -> str:
    return "Find the code that should add an item, and check that it still runs; give the command a timeout."


def _sure(case: Case) -> float:
    """A query of a database that has locks may wait for one: only the server knows."""
    return 0.55 if _may_be_a_lock(case) else 0.9


def _may_be_a_lock(case: Case) -> bool:
    """Whether the server may have locks, and has not been asked about this session."""
    system = case.call.attribute("db.system.name")
    if case.wait.kind in _CONNECTS or (system and system not in _WITH_LOCKS):
        return False
    return case.context.session(case.job, case.last) is None


def _may_be_told(case: Case) -> bool:
    """Whether a probe, or a second look of the worker, may soon say that it waits for a lock."""
    return _may_be_a_lock(case) and (case.context.is_probed or case.wait.kind is None)


def _seen_words(case: Case) -> str:
    step = blocker(case.job, case.last, case.context)
    assert step is not None  # a session that is blocked has a blocker
    what = f"a lock on {step.resource}" if step.resource else "a lock"
    by = holder(step, case.context, stable=case.stable)
    return join(f"It waits for {what}, {by}{_root(case, step)}.", stopped(case, step.since_ns))


def _root(case: Case, step: Blocker) -> str:
    """Say who is at the head of a queue of sessions: the next one may itself only wait."""
    root = None if step.session is None else case.context.root(step.session)
    if root is None or step.session is None or root.id == step.session.id:
        return ""
    owner = case.context.owner_of(root)
    told = session(root, stable=case.stable)
    doing = f" ({told})" if told else ""
    return f"; that session waits too: the root blocker is {job_label(owner) if owner else f'session {root.id}'}{doing}"


def _seen_advice(case: Case) -> str:
    step = blocker(case.job, case.last, case.context)
    if step is None or step.session is None:
        return "Ask the database who blocks it (pg_blocking_pids, sys.innodb_lock_waits)."
    one = case.context.root(step.session)
    owner = case.context.owner_of(one)
    subject = f"Check why {job_label(owner)}" if owner is not None else f"Check why session {one.id}"
    if "idle in transaction" in one.state:
        end = (
            f"`select pg_terminate_backend({one.id})` ends it"
            if one.id.isdecimal()
            else "ending its session frees the lock"
        )
        return f"{subject} does not commit; {end}."
    doing = session(one, stable=case.stable) or "state not known"
    return f"{subject} takes so long ({doing}); ending session {one.id} frees the lock."


def _asked_words(case: Case) -> str:
    name = lock_name(case.lock) or waited_for(case.wait) or case.lock.key
    thing = f"the database lock {short(name)}" if name else "a lock in the database"
    step = blocker(case.job, case.last, case.context)
    by = "" if step is None else holder(step, case.context, stable=case.stable)
    rest = f", {by}" if by else "; its holder is not known"
    at = f"at {case.peer}" if case.peer else ""
    return join(f"{join('It waits for', thing, at)}{rest}.", stopped(case, case.last.age_ns))


def _asked_advice(case: Case) -> str:
    step = blocker(case.job, case.last, case.context)
    if step is not None and step.job is not None:
        return see_job(step.job, case.context, stable=case.stable)
    return (
        "Ask the database who holds it (pg_blocking_pids, sys.innodb_lock_waits); a database probe in the collector "
        "would show it here."
    )


def _file_words(case: Case) -> str:
    step = blocker(case.job, case.last, case.context)
    by = "" if step is None else holder(step, case.context, stable=case.stable)
    rest = f", {by}" if by else "; its holder is not known"
    return join(f"It waits for the SQLite file {_namespace(case)}{rest}.", stopped(case, case.last.age_ns))


def _file_advice(case: Case) -> str:
    return "Find the process that keeps a transaction open on that file (/proc/locks); commit earlier, or use WAL mode."


def _query_words(case: Case) -> str:
    seen = case.context.session(case.job, case.last)
    told = "" if seen is None else session(seen, stable=case.stable)
    server = f"The server reports: {told}." if told else ""
    has_locks = case.wait.session or case.call.attribute("db.system.name")
    may = (
        "It may be waiting for a lock: no database probe has seen its session."
        if has_locks and _may_be_a_lock(case)
        else ""
    )
    since_ns = case.last.age_ns if case.is_database else case.stopped_ns
    where = stopped(case, since_ns, more=allowed(case.last) if case.is_database else "")
    return join(_query(case), where, server or may)


def _query(case: Case) -> str:
    call, at = case.call, f"at {case.peer}" if case.peer else ""
    unbounded = " and has no timeout" if case.is_unbounded else ""
    if not case.is_database:  # no span tells of the query
        return join("It waits for the database", at, "to answer") + f"{unbounded}."
    if case.wait.kind in _CONNECTS:
        return join("The connection to the database", at, "is not open yet") + f"{unbounded}."
    statement = call.attribute("db.query.summary") or call.attribute("db.operation.name") or case.last.span.name
    system = call.attribute("db.system.name")
    return join("The", system, "query", short(str(statement)), at, "has not returned") + f"{unbounded}."


def _query_advice(case: Case) -> str:
    at = case.peer or "the database"
    system = str(case.call.attribute("db.system.name") or "")
    if system and system not in _WITH_LOCKS:
        look_at = _LOOK_AT.get(system, "its list of running commands")
        return f"Check whether {at} is healthy and what it does ({look_at}); give the call a timeout."
    return f"Check at {at} whether the query still runs (pg_stat_activity, SHOW PROCESSLIST); set a statement timeout."


_LOOK_AT = {"redis": "SLOWLOG, CLIENT LIST", "mongodb": "db.currentOp()", "sqlite": "EXPLAIN QUERY PLAN"}


def _is_sqlite(case: Case) -> bool:
    return case.call.attribute("db.system.name") == _SQLITE


def _namespace(case: Case) -> object:
    return case.wait.peer or case.call.attribute("db.namespace") or ""
