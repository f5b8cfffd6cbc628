"""What a page says of a job, as labels: one line each, bounded, and the same until the cause or its facts change.

A label that changes is another time series. So ages, shares, counts and lines of code that runs are left out: the
sentence is the one that `/jobs/…` shows, made by the same words of the cause with `Case.stable`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from lastspan.semconv.vocabulary import LOCK_WAITS, WaitKind

from ...model.records import State
from ..blockers import Blocker, blocker
from ..names import lock_name, waited_for
from ..words import one_line
from . import broker, repeats
from .case import Case
from .waiting import of_kind
from .words import place, process, short

WHY: Final = 300
"""Letters of a sentence."""
NAME: Final = 100
"""Letters of a name."""
_SPAN: Final = 60
_KINDS: Final[dict[WaitKind, str]] = {
    WaitKind.FILE_LOCK: "file lock",
    WaitKind.REDIS_LOCK: "Redis lock",
    WaitKind.DB_LOCK: "database lock",
    WaitKind.DNS: "name",
}
"""Kinds of waits that people call otherwise."""


class Brief(msgspec.Struct, frozen=True):
    """Why a job stopped and what to do, in a few lines. Empty: not known."""

    why: str
    """The cause in a sentence or two, 300 letters at most."""
    first_step: str
    """The first thing to do, as long at most."""
    stopped_at: str
    """The last span, with its peer, its lock, or what else it waits for."""
    lock_holder: str
    """Who holds the lock that it waits for."""
    waits_for: str
    """The job, thread or process that it waits for, where that holds no lock."""


def brief(case: Case, why: str, first_step: str) -> Brief:
    """Return what a page says, of a case whose words are stable."""
    step = blocker(case.job, case.last, case.context) if case.job.end is None else None
    who = "" if step is None else _who(case, step)
    is_lock = step is not None and (step.kind in LOCK_WAITS or step.session is not None)
    return Brief(
        one_line(why, WHY),
        one_line(first_step, WHY),
        one_line(_stopped_at(case), NAME),
        one_line(who, NAME) if is_lock else "",
        "" if is_lock else one_line(who, NAME),
    )


def _who(case: Case, step: Blocker) -> str:
    """Name the holder so that two holders can be told apart."""
    if step.job_id:
        return f"job {step.job_id}"
    if step.session is not None:
        return f"session {step.session.id} at {step.peer}"
    if step.session_id:
        return f"session {step.session_id} of {process(case.job)}"
    if step.thread:
        noun = "" if step.kind in (WaitKind.LOOP, WaitKind.TASK) else "thread "
        return f"{noun}{short(step.thread)} of {process(case.job)}"
    return "" if step.pid is None else f"process {step.pid}"


def _stopped_at(case: Case) -> str:
    summary = str(case.call.attribute("db.query.summary") or "")
    span, thing = short(summary or case.last.span.name, _SPAN), _thing(case)
    host = case.peer.rpartition(":")[0] or case.peer
    if case.is_http or case.is_database:
        peer = case.peer or short(str(case.call.attribute("db.namespace") or ""), _SPAN)
        there = "" if not peer or (host and host in span) else f"{' ' if case.is_http else ' at '}{peer}"
        return f"{span}{there}{f', {thing}' if thing else ''}"
    if case.verdict.state in (State.LOST, State.FROZEN):
        thing = process(case.job)
    thing = thing or repeats.called(case) or case.peer or (place(case) if case.last.span is case.job.span else "")
    return span if not thing or thing in span else f"{span}, {thing}"


def _thing(case: Case) -> str:
    """Name the lock, queue, job … that is waited for; empty: none, or it has no name."""
    wait, lock = case.wait, case.lock
    seen = case.context.session(case.job, case.last) if case.context.has_databases else None
    if seen is not None and seen.blocked_by and seen.locks:
        return f"lock on {seen.locks}"
    if wait.job_id:
        return f"job {wait.job_id}"
    if wait.purpose in broker.DOES:
        what = waited_for(wait)
        return what if case.is_database or not case.peer else f"{what} at {case.peer}"
    named = lock_name(lock)
    kind = wait.kind or (WaitKind.LOCK if named else None)
    name = named or waited_for(wait) or (wait.peer or lock.key if kind in LOCK_WAITS else "")
    if not name or kind is None or name in case.last.span.name:
        return ""
    noun = _KINDS.get(kind, kind)
    return name if name.startswith(noun) else f"{noun} {of_kind(wait, name)}"
