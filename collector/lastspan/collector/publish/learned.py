"""Learned durations, as the API exports and imports them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from lastspan.semconv.peers import kind_of

from ..judge.policy import Allowance, Allowed, Policy
from ..model.records import Call, JobType, Kind
from ..model.sketch import HIGHEST, LOWEST
from ..track import SavedLearned, learned
from ..track.learn import Learned, LearnedKey, LearnedRow
from .shapes import BasisWord
from .view import View

_MAX_NAME, _MAX_VERSIONS = 4096, 16
_MAX_AGE_NS = 365 * 86_400 * 1_000_000_000


class LearnedView(msgspec.Struct):
    """What is allowed by what was learned, with the numbers behind it."""

    environment: str
    """`deployment.environment.name` of the workers."""
    service: str
    """`service.name` of the workers."""
    job_name: str
    """The task's or function's name."""
    span_name: str | None
    """The call in it; null: the job as a whole."""
    peer: str
    """Whom the span calls; empty: nobody, or an old worker did not report it."""
    runs: float
    """They fade with time, so it may not be whole."""
    allowed_s: float
    """What is allowed, by `basis` and `rule`: that need not be what was learned. What the code declares goes before."""
    basis: BasisWord
    """Where that comes from."""
    rule: str
    """Which rule decided, for people."""
    why: str
    """The same without its basis, which stands in a field of its own."""
    kind: str
    """Of the call, as rules know it: http, db; empty: any, or the job."""
    learned_s: float | None
    """What would be allowed by these runs alone; null: not enough is known."""
    is_hint: bool
    """From few runs: it may lift the default, never lower it."""
    learned_rule: str | None
    """How it came about, for people."""
    is_own: bool
    """What decides is what was learned of this very call or job."""
    what: str | None
    """Of which run the duration is: p99, the longest …"""
    duration_s: float | None
    """How long that took."""
    factor: float | None
    """So many times as long is allowed."""
    floor_s: float | None
    """And at least so long."""


class LearnedList(msgspec.Struct):
    """An answer of `/api/v1/learned`."""

    learned: list[LearnedView]
    """One entry for each job and call."""
    refused: int
    """Runs that were not learned from, because there are too many keys."""


class Export(msgspec.Struct, forbid_unknown_fields=True):
    """What was learned, to be taken elsewhere."""

    learned: list[SavedLearned]
    """One entry for each job and call."""
    format: int = 1
    """Of the entries; 1 is known."""


class Imported(msgspec.Struct):
    """The answer to an import."""

    imported: int
    """Jobs and calls of the export that are known now."""


class LearnedForgotten(msgspec.Struct):
    """The answer to a reset."""

    forgotten: int
    """Jobs and calls whose durations are forgotten."""


class LearnedStore(Protocol):
    """Where what was learned is changed: the one thing that the web port may write."""

    def put_learned(self, told: Sequence[SavedLearned]) -> int:
        """Take in what was learned elsewhere; return how many keys are known now."""

    def forget_learned(self, keys: Sequence[LearnedKey]) -> int:
        """Forget what was learned by these keys; return how many were known."""


def list_learned(view: View, *, service: str | None, job_name: str | None) -> LearnedList:
    """Return what was learned of a service, of a job, or all."""
    found = view.learned(service=service, job_name=job_name)
    types = {(of.environment, of.service, of.job_name): of.type for of in view.series()}
    told = [_view(key, row, _decides(view.policy, key, types.get(key[:3]))) for key, row in found]
    told.sort(key=lambda one: (one.environment, one.service, one.job_name, one.span_name or "", one.peer))
    return LearnedList(told, view.learned_refused)


def export_learned(view: View, *, service: str | None, job_name: str | None) -> Export:
    """Return what was learned so that it can be imported."""
    found = view.learned(service=service, job_name=job_name)
    return Export([saved for saved in learned(found, view.clock()) if isinstance(saved, SavedLearned)])


def import_learned(store: LearnedStore, body: bytes) -> int:
    """Take in an export: what it knows replaces what was known by the same key. ValueError says what is wrong."""
    try:
        told = msgspec.json.decode(body, type=Export)
    except msgspec.DecodeError as problem:
        raise ValueError(f"this is not an export of `lastspan learn`: {problem}") from None
    if told.format != 1:
        raise ValueError(f"this export has format {told.format}; 1 is known here")
    for saved in told.learned:
        _check(saved)
    return store.put_learned(told.learned)


def forget_learned(view: View, store: LearnedStore, *, service: str | None, job_name: str | None) -> int:
    """Forget what was learned of a service, of a job, or all; return how many keys."""
    return store.forget_learned([key for key, _ in view.learned(service=service, job_name=job_name)])


def _check(saved: SavedLearned) -> None:
    names = (saved.environment, saved.service, saved.job_name, saved.span_name or "", saved.peer, *saved.versions)
    if any(len(name) > _MAX_NAME for name in names) or len(saved.versions) > _MAX_VERSIONS:
        raise ValueError(f"{saved.job_name[:100]}: its names are too long, or its versions too many")
    if not all(LOWEST <= at <= HIGHEST and 0 <= weight < 1e12 for at, weight in (*saved.runs, *saved.aside)):
        raise ValueError(f"{saved.job_name}: its runs are out of range")
    if not all(-1e4 <= at <= HIGHEST for at in (saved.longest, saved.second)):
        raise ValueError(f"{saved.job_name}: its longest runs are out of range")
    if not (0 <= saved.slow <= 1 and 0 <= saved.trusted <= 1e6):
        raise ValueError(f"{saved.job_name}: its counts are out of range")
    if not (0 <= saved.age_ns <= _MAX_AGE_NS and 0 <= saved.aside_age_ns <= _MAX_AGE_NS):
        raise ValueError(f"{saved.job_name}: its age is out of range")


def _decides(policy: Policy, key: LearnedKey, type: JobType | None) -> Allowed:
    """Return what is allowed to a span that is known by *key* alone; *type*: one of its job, if any is known."""
    type = type or JobType(key.service, key.environment, key.job_name, "", "", None, None, None, None)
    of_job = policy.job(type, "")
    if key.span_name is None:
        return of_job
    kind, called = _KINDS.get(kind_of(key.peer), Kind.OTHER), Call((), Kind.OTHER, None, False, key.peer)
    as_its_job = Allowance(of_job.allowed_ns, of_job.basis, f"as its job: {of_job.rule}")
    return policy.allowed(type, key.span_name, kind, None, called) or as_its_job


_KINDS = {"http": Kind.HTTP, "db": Kind.DB}


def _view(key: LearnedKey, row: LearnedRow, decides: Allowed) -> LearnedView:
    known = row.learned
    return LearnedView(
        *key,
        runs=round(row.runs.total, 1),
        allowed_s=decides.allowed_ns / 1e9,
        basis=decides.basis.value,
        rule=decides.rule,
        why=decides.why if isinstance(decides, Learned) else decides.rule,
        kind=kind.value if (kind := _KINDS.get(kind_of(key.peer))) is not None else "",
        learned_s=None if known is None else known.allowed_ns / 1e9,
        is_hint=known is not None and known.is_hint,
        learned_rule=None if known is None else known.rule,
        is_own=isinstance(decides, Learned),
        what=None if known is None else known.what,
        duration_s=None if known is None else known.seconds,
        factor=None if known is None else known.factor,
        floor_s=None if known is None else known.floor_s,
    )
