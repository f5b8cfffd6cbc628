"""Why a job stopped, from evidence, with the sentence that a person reads. `unknown` rather than a guess."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from lastspan.semconv import duration

from .judge import Leaf, Verdict
from .model import Basis, JobType, Kind, State
from .track import JobRow

Words = Callable[[JobRow, Verdict], str]


class Cause(msgspec.Struct, frozen=True):
    """A cause, how sure we are, and what jobs with this cause have in common."""

    name: str
    confidence: float
    """0 … 1."""
    words: Words
    """Makes the sentence that a person reads: only when one does."""
    family: str
    """Causes of one family make one incident."""
    target: str
    """Peer, lock or span at which it stopped."""


_Finder = Callable[[JobRow, Verdict], Cause | None]


def explain(job: JobRow, verdict: Verdict) -> Cause:
    """Return why *job* is as the verdict says."""
    return next(found for finder in _FINDERS if (found := finder(job, verdict)) is not None)


def incident(job: JobRow, cause: Cause) -> str:
    """Return the name of the incident: jobs that stopped at one thing share it."""
    thing = "\0".join((job.type.environment, cause.family, cause.target))
    return f"{cause.family}-{hashlib.blake2s(thing.encode(), digest_size=4).hexdigest()}"


def _lost(job: JobRow, verdict: Verdict) -> Cause | None:
    if verdict.state is not State.LOST:
        return None
    return Cause("worker_lost", 0.9, _lost_words, "worker_lost", _host(job))


def _frozen(job: JobRow, verdict: Verdict) -> Cause | None:
    if verdict.state is not State.FROZEN:
        return None
    return Cause("worker_frozen", 0.9, _frozen_words, "worker_frozen", _host(job))


def _http(job: JobRow, verdict: Verdict) -> Cause | None:
    last = verdict.last
    if not verdict.late or last.span.call.kind is not Kind.HTTP:
        return None
    target = _peer(last) or last.span.name
    if last.span.call.unbounded:
        return Cause("http_no_timeout", 0.95, _http_words, "http", target)
    return Cause("http_call", 0.9, _http_words, "http", target)


def _db(job: JobRow, verdict: Verdict) -> Cause | None:
    last = verdict.last
    if not verdict.late or last.span.call.kind is not Kind.DB:
        return None
    return Cause("db_query", 0.8, _db_words, "db", _join(last.span.call.attribute("db.system.name"), _peer(last)))


def _unknown(job: JobRow, verdict: Verdict) -> Cause:
    where = f"{job.type.service}/{job.type.name}/{verdict.last.span.name}"
    return Cause("unknown", 0.0, _unknown_words, "span", where)


_FINDERS: tuple[_Finder, ...] = (_lost, _frozen, _http, _db, _unknown)
"""The first that finds something decides; the last always does."""


# --- words --------------------------------------------------------------------------------------------------------


def _lost_words(job: JobRow, verdict: Verdict) -> str:
    return f"{_process(job)} has fallen silent and nobody reports it alive. {_what_the_queue_does(job.type)}".strip()


def _frozen_words(job: JobRow, verdict: Verdict) -> str:
    return (
        f"{_process(job)} has fallen silent, but its parent still sees it: it is stopped, waits in the kernel or does "
        f"not let go of the GIL. {_what_the_queue_does(job.type)}"
    ).strip()


def _http_words(job: JobRow, verdict: Verdict) -> str:
    last = verdict.last
    call = last.span.call
    what = f"The HTTP call {_join(call.attribute('http.request.method'), _peer(last) or last.span.name)}"
    return f"{what} has no timeout: {_open_for(last)}." if call.unbounded else f"{what} {_has_been(last)}."


def _db_words(job: JobRow, verdict: Verdict) -> str:
    last = verdict.last
    call = last.span.call
    statement = call.attribute("db.query.summary") or call.attribute("db.operation.name") or last.span.name
    return f"The {call.attribute('db.system.name')} query {_join(statement, _at(_peer(last)))} {_has_been(last)}."


def _unknown_words(job: JobRow, verdict: Verdict) -> str:
    last = verdict.last
    if last.span is not job.span:
        return f"The span {last.span.name} {_has_been(last)}."
    return f"The job itself {_has_been(last)}, and it does not move. {_hint(last)}"


def _has_been(leaf: Leaf) -> str:
    return f"has been {_open_for(leaf)}"


def _open_for(leaf: Leaf) -> str:
    allowed = duration.render(leaf.allowance.allowed_ns / 1e9)
    why = leaf.allowance.rule if leaf.allowance.basis is not Basis.DECLARED else "declared"
    return f"open for {duration.render(leaf.age_ns / 1e9)}; {allowed} are allowed ({why})"


def _hint(leaf: Leaf) -> str:
    evidence = leaf.span.evidence
    if evidence is not None and evidence.function is not None:
        return f"It stands in {evidence.function}, {evidence.file}:{evidence.line}."
    return "If it works on something long, progress() would tell so."


def _what_the_queue_does(type: JobType) -> str:
    if type.acks_late is False:
        return "The message was acked early: it will NOT run again, enqueue it by hand."
    if type.redelivery_ns is not None:
        return f"The queue gives it out again after {duration.render(type.redelivery_ns / 1e9)} (visibility timeout)."
    return ""


def _process(job: JobRow) -> str:
    process = job.span.process
    if process is None:
        return "Its process"
    where = f" on {process.resource.host}" if process.resource.host else ""
    return f"Process {process.resource.pid if process.resource.pid is not None else process.id}{where}"


def _host(job: JobRow) -> str:
    return "" if job.span.process is None else job.span.process.resource.host


def _peer(leaf: Leaf) -> str:
    call = leaf.span.call
    address = call.attribute("server.address") or call.attribute("network.peer.address")
    port = call.attribute("server.port") or call.attribute("network.peer.port")
    if address is None:
        url = str(call.attribute("url.full") or "")
        return url.partition("://")[2].partition("/")[0]
    return f"{address}:{port}" if port is not None else str(address)


def _at(peer: str) -> str:
    return f"at {peer}" if peer else ""


def _join(*parts: object) -> str:
    return " ".join(str(part) for part in parts if part)
