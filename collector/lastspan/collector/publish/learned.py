"""Learned durations, as the API exports and imports them."""

from __future__ import annotations

import msgspec

from ..judge.policy import Allowance, Allowed, Policy
from ..model.records import Call, JobType, Kind
from ..model.sketch import HIGHEST, LOWEST
from ..serve.pipeline import Pipeline
from ..track import SavedLearned, learned
from ..track.learn import Key, Row

_MAX_NAME, _MAX_VERSIONS = 4096, 16
_MAX_AGE_NS = 365 * 86_400 * 1_000_000_000


class LearnedView(msgspec.Struct):
    """What is allowed by what was learned, with the numbers behind it."""

    environment: str
    service: str
    job_name: str
    span_name: str | None
    """null: the job as a whole."""
    peer: str
    """Whom the span calls; empty: nobody, or told by a worker that did not say."""
    runs: float
    """They fade with time, so it may not be whole."""
    allowed_s: float
    """What is allowed, by `basis` and `rule`: that need not be what was learned. What the code declares goes before."""
    basis: str
    rule: str
    learned_s: float | None
    """What would be allowed by these runs alone; null: not enough is known."""
    is_hint: bool
    """From few runs: it may lift the default, never lower it."""
    learned_rule: str | None
    what: str | None
    """Of which run the duration is: p99, the longest …"""
    duration_s: float | None
    factor: float | None
    floor_s: float | None


class LearnedList(msgspec.Struct):
    """An answer of `/api/v1/learned`."""

    learned: list[LearnedView]
    refused: int
    """Runs that were not learned from, because there are too many keys."""


class Export(msgspec.Struct, forbid_unknown_fields=True):
    """What was learned, to be taken elsewhere."""

    learned: list[SavedLearned]
    format: int = 1


def list_learned(pipeline: Pipeline, *, service: str | None, job_name: str | None) -> LearnedList:
    """Return what was learned of a service, of a job, or all."""
    found = pipeline.tracker.learner.matching(service=service, job_name=job_name)
    types = {(of.environment, of.service, of.job_name): of.type for of in pipeline.tracker.counts.series.values()}
    views = [_view(key, row, _decides(pipeline.policy, key, types.get(key[:3]))) for key, row in found]
    views.sort(key=lambda view: (view.environment, view.service, view.job_name, view.span_name or "", view.peer))
    return LearnedList(views, pipeline.tracker.learner.refused)


def export_learned(pipeline: Pipeline, *, service: str | None, job_name: str | None) -> Export:
    """Return what was learned so that it can be imported."""
    found = pipeline.tracker.learner.matching(service=service, job_name=job_name)
    return Export([saved for saved in learned(found, pipeline.clock()) if isinstance(saved, SavedLearned)])


def import_learned(pipeline: Pipeline, body: bytes) -> int:
    """Take in an export: what it knows replaces what was known by the same key. ValueError says what is wrong."""
    try:
        told = msgspec.json.decode(body, type=Export)
    except msgspec.DecodeError as problem:
        raise ValueError(f"this is not an export of `lastspan learn`: {problem}") from None
    if told.format != 1:
        raise ValueError(f"this export has format {told.format}; 1 is known here")
    for saved in told.learned:
        _check(saved)
    pipeline.put_learned(told.learned)
    rows = pipeline.tracker.learner.rows
    return sum(saved.key in rows for saved in told.learned)


def forget_learned(pipeline: Pipeline, *, service: str | None, job_name: str | None) -> int:
    """Forget what was learned of a service, of a job, or all; return how many keys."""
    return pipeline.forget_learned(
        [key for key, _ in pipeline.tracker.learner.matching(service=service, job_name=job_name)]
    )


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


def _decides(policy: Policy, key: Key, type: JobType | None) -> Allowed:
    """Return what is allowed to a span that is known by *key* alone; *type*: one of its job, if any is known."""
    type = type or JobType(key.service, key.environment, key.job_name, "", "", None, None, None, None)
    of_job = policy.job(type, "")
    if key.span_name is None:
        return of_job
    kind, called = _KINDS.get(key.peer.partition(" ")[0], Kind.OTHER), Call((), Kind.OTHER, None, False, key.peer)
    as_its_job = Allowance(of_job.allowed_ns, of_job.basis, f"as its job: {of_job.rule}")
    return policy.allowed(type, key.span_name, kind, None, called) or as_its_job


_KINDS = {"http": Kind.HTTP, "db": Kind.DB}
"""By the first word of a peer."""


def _view(key: Key, row: Row, decides: Allowed) -> LearnedView:
    known = row.learned
    return LearnedView(
        *key,
        runs=round(row.runs.total, 1),
        allowed_s=decides.allowed_ns / 1e9,
        basis=decides.basis.value,
        rule=decides.rule,
        learned_s=None if known is None else known.allowed_ns / 1e9,
        is_hint=known is not None and known.is_hint,
        learned_rule=None if known is None else known.rule,
        what=None if known is None else known.what,
        duration_s=None if known is None else known.seconds,
        factor=None if known is None else known.factor,
        floor_s=None if known is None else known.floor_s,
    )
