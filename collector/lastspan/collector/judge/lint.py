"""What can hang one day: calls without a timeout, jobs without a limit, transactions left open, unsafe redelivery.

Findings are no alarms: nobody is woken by one. Pure; the calls that were seen are its only memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import msgspec

from lastspan.semconv import duration
from lastspan.semconv.vocabulary import OnLost, WaitKind

from ..model.evidence import Evidence
from ..model.records import CallSeen, DatabaseSession, JobType
from ..track import JobRow
from .context import JudgeContext
from .names import file_line
from .policy import Policy

RULES: Final[dict[str, str]] = {
    "call_without_timeout": "warning",
    "job_without_limit": "info",
    "long_transaction": "warning",
    "not_given_back": "info",
    "redelivery_too_early": "warning",
    "redelivery_too_late": "info",
}
"""Rule → severity."""

LIMIT = 2000
"""Calls that are remembered, and findings that one answer has."""
_KEPT_NS = 24 * 3600 * 1_000_000_000
_LONG_S = 60.0
_LATE = 3


class Finding(msgspec.Struct, frozen=True):
    """One thing to change before something hangs."""

    rule: str
    """One of `lint.RULES`."""
    severity: str
    """warning or info."""
    service: str
    """`service.name` of the workers."""
    environment: str
    """`deployment.environment.name` of the workers."""
    job_name: str
    """The task's or function's name."""
    where: str
    """Code line, or what it is about."""
    peer: str
    """Whom the call calls; empty: nobody, or not known."""
    text: str
    """What is wrong, in a sentence."""
    advice: str
    """What to do."""


class _Call(msgspec.Struct):
    """A call without a timeout."""

    type: JobType
    span_name: str
    where: str
    peer: str
    at_ns: int
    """When it was last seen."""


_Key = tuple[str, str, str, str, str]


class Lint:
    """Collects findings."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._calls: dict[_Key, _Call] = {}

    # --- what comes in --------------------------------------------------------------------------------------------

    def take(self, seen: CallSeen, now_ns: int) -> None:
        """Record a kind of call that a worker has seen; a call that has a timeout now is no longer a finding."""
        self._see(seen.type, seen.span_name, file_line(seen.file, seen.line), seen.peer or "", seen.unbounded, now_ns)

    def take_late(self, job: JobRow, span_name: str, evidence: Evidence, peer: str, now_ns: int) -> None:
        """Take a call without timeout that is late already."""
        self._see(job.type, span_name, file_line(evidence.file, evidence.line), peer, True, now_ns)

    def _see(self, type: JobType, span_name: str, where: str, peer: str, unbounded: bool, now_ns: int) -> None:
        key = (type.environment, type.service, type.name, where or span_name, peer)
        if not unbounded:
            self._calls.pop(key, None)
            return
        if key not in self._calls and len(self._calls) >= LIMIT:
            self._forget(now_ns)
            if len(self._calls) >= LIMIT:
                return
        self._calls[key] = _Call(type, span_name, where, peer, now_ns)

    def _forget(self, now_ns: int) -> None:
        old = [key for key, call in self._calls.items() if now_ns - call.at_ns > _KEPT_NS]
        for key in old:
            del self._calls[key]

    # --- what is found --------------------------------------------------------------------------------------------

    def of(self, job: JobRow, context: JudgeContext) -> list[Finding]:
        """Return what is found about one job and its kind."""
        type = job.type
        calls = (call for call in self._fresh(context.now_ns) if _same(call.type, type))
        found = [*map(_call, calls), *self._settings(type, job.span.name, job.span.expected_ns)]
        return [*found, *(_transaction(session, job) for session in context.sessions_of(job) if _is_long(session))]

    def all(self, types: Iterable[JobType], context: JudgeContext) -> list[Finding]:
        """Return what is found about anything, the first `LIMIT`."""
        return list(islice(self._all(types, context), LIMIT))

    def _all(self, types: Iterable[JobType], context: JudgeContext) -> Iterator[Finding]:
        yield from map(_call, self._fresh(context.now_ns))
        for session in context.sessions():
            job = context.owner_of(session) if _is_long(session) else None
            if job is not None:
                yield _transaction(session, job)
        for type in types:
            yield from self._settings(type, type.name, None)

    def _fresh(self, now_ns: int) -> Iterator[_Call]:
        return (call for call in self._calls.values() if now_ns - call.at_ns <= _KEPT_NS)

    def _settings(self, type: JobType, span_name: str, expected_ns: int | None) -> Iterator[Finding]:
        allowed_ns = self._policy.job(type, span_name, expected_ns).allowed_ns
        allowed = _render(allowed_ns)
        if type.timeout_ns is None:
            yield _finding(
                "job_without_limit",
                type,
                "the job has no time limit: if it hangs, nothing ends it",
                f"Set a time limit above the allowed {allowed} (Celery: time_limit, RQ: job_timeout).",
            )
        if type.acks_late and type.on_lost in _NOT_GIVEN_BACK:
            yield _finding(
                "not_given_back",
                type,
                f"it is acked late, but if its process is killed the worker {type.on_lost}s it anyway: it does not run "
                "again",
                "If it may run twice, set reject_on_worker_lost (Celery); if it may not, acks_late does not help.",
            )
        if type.redelivery_ns is None or type.acks_late is False:
            return
        after = _render(type.redelivery_ns)
        if type.acks_late and type.redelivery_ns < allowed_ns:
            yield _finding(
                "redelivery_too_early",
                type,
                f"the queue delivers it again after {after}, but it may take {allowed}: it may run twice at once",
                f"Set the visibility (or consumer) timeout above {allowed}, or lower the allowed duration.",
            )
        elif type.redelivery_ns > _LATE * allowed_ns:
            yield _finding(
                "redelivery_too_late",
                type,
                f"after a crash the queue waits {after} before it delivers the job again; the job may take {allowed}",
                f"Set the visibility (or consumer) timeout closer to {allowed}.",
            )


def is_unbounded(evidence: Evidence, call_is_unbounded: bool) -> bool:
    """Whether a late span waits without a timeout for somebody beyond this process."""
    wait = evidence.wait
    return call_is_unbounded or (wait is not None and wait.unbounded and wait.kind in _CALLS)


_CALLS = frozenset({WaitKind.HTTP, WaitKind.DB, WaitKind.SOCKET, WaitKind.CONNECT})
_NOT_GIVEN_BACK = frozenset({OnLost.ACK, OnLost.REJECT})


def _call(call: _Call) -> Finding:
    at = f" at {call.where}" if call.where else ""
    peer = f" to {call.peer}" if call.peer else ""
    return _finding(
        "call_without_timeout",
        call.type,
        f"the call {call.span_name}{peer}{at} has no timeout: if the peer does not answer, the job hangs forever",
        f"Give the call{at} a timeout.",
        where=call.where,
        peer=call.peer,
    )


def _transaction(session: DatabaseSession, job: JobRow) -> Finding:
    since = duration.render(session.since_xact_s or 0.0)
    return _finding(
        "long_transaction",
        job.type,
        f"session {session.id} at {session.server} of job {job.job_id} has been {session.state} for {since}: "
        "its locks stay held",
        "Commit before slow work (calls, sleeps), and set idle_in_transaction_session_timeout.",
        where=session.server,
    )


def _is_long(session: DatabaseSession) -> bool:
    return "idle in transaction" in session.state and (session.since_xact_s or 0.0) > _LONG_S


def _finding(rule: str, type: JobType, text: str, advice: str, *, where: str = "", peer: str = "") -> Finding:
    return Finding(rule, RULES[rule], type.service, type.environment, type.name, where, peer, text, advice)


def _same(one: JobType, other: JobType) -> bool:
    return (one.environment, one.service, one.name) == (other.environment, other.service, other.name)


def _render(ns: int) -> str:
    return duration.render(ns / 1e9)
