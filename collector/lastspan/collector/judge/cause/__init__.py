"""Why a job stopped: from evidence to a cause, its confidence, a sentence and a first step.

To add a cause: declare its name in `lastspan.semconv.vocabulary.CAUSES`; write a module of the form of the others, with
a `find(case)` that returns a `Cause` or None, its words and its advice; put it into `FINDERS` where it belongs; add its
sentences to `tests/collector/test_cause_words.py`. A finder looks at the case alone (what was seen of the job, and whom
else to ask), keeps nothing, and returns None unless the evidence says so: `unknown` is an answer, a guess is not.
"""

from __future__ import annotations

import hashlib

import msgspec

from lastspan.semconv.vocabulary import CauseName

from ...model.records import SUSPECT, Severity, State
from ...track import JobRow
from ..context import JudgeContext
from ..verdict import Verdict, inside, is_told_around
from . import brief as briefs
from . import (
    broker,
    cpu,
    database,
    delivery,
    jobs,
    locks,
    loop,
    network,
    process,
    redelivery,
    repeats,
    unknown,
    waiting,
)
from .brief import Brief
from .case import Case, Cause, Finder, case
from .case import stable as as_label
from .words import join

GONE = process.GONE
"""Outcomes that have a cause, as suspects have."""

FINDERS: tuple[Finder, ...] = (
    process.find,  # a silent process: what its code waits for is no longer true
    locks.find_deadlock,
    loop.find,  # before what the code seems to wait for: that may have come long ago
    redelivery.find_duplicates,
    repeats.find,  # before the call that it happens to be in
    database.find_lock,
    locks.find,
    jobs.find,
    broker.find,
    database.find,
    network.find_http,
    network.find_socket,
    waiting.find,
    process.find_stall,
    cpu.find,
    redelivery.find_overdue,
)
"""The first that finds something decides; if none does it is not known."""
_FAR = 8
"""Jobs that run inside of each other, or wait for each other, that are followed."""


class Explanation(Cause, frozen=True):
    """A cause, and the case that it explains."""

    of: Case | None = None

    @property
    def text(self) -> str:
        """The sentence that a person reads."""
        return self.sentences()[0]

    @property
    def first_step(self) -> str:
        """The first thing to do."""
        return self.sentences()[1]

    @property
    def brief(self) -> Brief:
        """The same for a page: without what changes by itself."""
        assert self.of is not None
        return briefs.brief(as_label(self.of), *self.sentences(stable=True))

    def sentences(self, *, stable: bool = False) -> tuple[str, str]:
        """Return the sentence and the first thing to do."""
        assert self.of is not None
        of = as_label(self.of) if stable else self.of
        return join(self.words(of), _redelivery(self, of)), self.advice(of)


def explain(job: JobRow, verdict: Verdict, context: JudgeContext) -> Explanation:
    """Return why *job* is as the verdict says."""
    return _explain(job, verdict, context, 0)


def _explain(job: JobRow, verdict: Verdict, context: JudgeContext, depth: int) -> Explanation:
    inner = inside(job, verdict.last) if verdict.state is State.STUCK and depth < _FAR else None
    if inner is not None:
        return _in_a_job(case(job, verdict, context), _explain(inner, context.verdict(inner), context, depth + 1))
    asked = case(job, verdict, context)
    finders = () if verdict.state is State.OVERDUE else FINDERS  # it moves: nothing keeps it
    found = next((cause for finder in finders if (cause := finder(asked)) is not None), None) or unknown.find(asked)
    return Explanation(**msgspec.structs.asdict(found), of=asked)


def _in_a_job(of: Case, inner: Explanation) -> Explanation:
    """The cause of a job is the cause of the job that runs inside it."""
    assert inner.of is not None

    def words(of: Case) -> str:
        assert inner.of is not None
        return jobs.inside_words(inner.of, inner.sentences(stable=of.stable)[0])

    def advice(of: Case) -> str:
        return inner.sentences(stable=of.stable)[1]

    return msgspec.structs.replace(inner, words=words, advice=advice, proven=False, of=of)


def incident(job: JobRow, cause: Explanation) -> str:
    """Return the name of the incident: jobs that have the same thing in the way share it."""
    cause = _in_the_way(cause)
    thing = "\0".join((job.type.environment, cause.family, cause.target))
    return f"{cause.family}-{hashlib.blake2s(thing.encode(), digest_size=4).hexdigest()}"


def is_guess(cause: Explanation) -> bool:
    """Whether what is in the way may soon be known better."""
    return _in_the_way(cause).is_guess


def _in_the_way(cause: Explanation) -> Explanation:
    """A job that waits for one that is itself stuck has in its way what that one has."""
    for _ in range(_FAR):
        other = None if cause.of is None or cause.name is not CauseName.WAITING_FOR_JOB else jobs.awaited(cause.of)
        if other is None or cause.of is None or other.end is not None or not cause.of.context.is_stuck(other):
            break
        cause = explain(other, cause.of.context.verdict(other), cause.of.context)
    return cause


def raise_severity(job: JobRow, verdict: Verdict, cause: Cause) -> Verdict:
    """Return the verdict, a page if the evidence alone proves that something is wrong, and if it was one before."""
    is_proven = cause.proven and verdict.state is State.STUCK and not is_told_around(job)
    suspect_state = job.suspect_state
    was_a_page = suspect_state is not None and verdict.state in SUSPECT and suspect_state.severity is Severity.PAGE
    if verdict.severity is Severity.PAGE or not (is_proven or was_a_page):
        return verdict
    return msgspec.structs.replace(verdict, severity=Severity.PAGE)


def _redelivery(cause: Cause, of: Case) -> str:
    """What the queue does, of a job that is stuck for another reason; the silent ones' own words say it."""
    if of.verdict.state is not State.STUCK or cause.name is CauseName.REDELIVERED:
        return ""
    return (
        delivery.redelivery_forecast(of.job, delivery.ProcessEnd.NONE, of.context.now_ns, stable=of.stable)
        if delivery.is_overdue(of.job, of.context.now_ns)
        else ""
    )


__all__ = [
    "FINDERS",
    "GONE",
    "Brief",
    "Case",
    "Cause",
    "Explanation",
    "Finder",
    "explain",
    "incident",
    "is_guess",
    "raise_severity",
]
