"""What was learned, as the API tells it and takes it back."""

from __future__ import annotations

import msgspec

from ..learn import Key, Row
from ..pipeline import Pipeline
from ..sketch import HIGHEST, LOWEST
from ..track import SavedLearned, learned

_MAX_NAME, _MAX_VERSIONS = 4096, 16
_MAX_AGE_NS = 365 * 86_400 * 1_000_000_000


class LearnedView(msgspec.Struct):
    """What is allowed by what was learned, with the numbers behind it."""

    environment: str
    service: str
    job_name: str
    span_name: str | None
    """null: the job as a whole."""
    runs: float
    """They fade with time, so it may not be whole."""
    allowed_s: float | None
    """null: not enough is known."""
    is_hint: bool
    """From few runs: it may lift the default, never lower it."""
    rule: str | None
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
    views = [_view(key, row) for key, row in found]
    views.sort(key=lambda view: (view.environment, view.service, view.job_name, view.span_name or ""))
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
    return sum(Key(saved.environment, saved.service, saved.job_name, saved.span_name) in rows for saved in told.learned)


def forget_learned(pipeline: Pipeline, *, service: str | None, job_name: str | None) -> int:
    """Forget what was learned of a service, of a job, or all; return how many keys."""
    return pipeline.forget_learned(
        [key for key, _ in pipeline.tracker.learner.matching(service=service, job_name=job_name)]
    )


def _check(saved: SavedLearned) -> None:
    names = (saved.environment, saved.service, saved.job_name, saved.span_name or "", *saved.versions)
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


def _view(key: Key, row: Row) -> LearnedView:
    known = row.learned
    if known is None:
        return LearnedView(*key, round(row.runs.total, 1), None, False, None, None, None, None, None)
    return LearnedView(
        *key,
        round(row.runs.total, 1),
        known.allowed_ns / 1e9,
        known.is_hint,
        known.rule,
        known.what,
        known.seconds,
        known.factor,
        known.floor_s,
    )
