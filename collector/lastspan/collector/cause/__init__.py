"""Why a job stopped: from evidence to a cause, how sure it is, a sentence and a first thing to do.

To add a cause: declare its name in `lastspan.semconv.vocabulary.CAUSES`; write a module of the form of the others, with
a `find(case)` that returns a `Cause` or None, its words and its advice; put it into `FINDERS` where it belongs; add its
sentences to `tests/collector/test_cause_words.py`. A finder looks at the case alone (what was seen of the job, and whom
else to ask), keeps nothing, and returns None unless the evidence says so: `unknown` is an answer, a guess is not.
"""

from __future__ import annotations

import hashlib

import msgspec

from ..judge import Verdict
from ..known import Known
from ..model import Severity, State
from ..track import JobRow
from . import cpu, database, delivery, jobs, locks, loop, network, process, redelivery, unknown, waiting
from .case import Case, Cause, Finder, case
from .words import join

GONE = process.GONE
"""Outcomes that have a cause, as suspects have."""

FINDERS: tuple[Finder, ...] = (
    process.find,  # a silent process: what its code waits for is no longer true
    locks.find_deadlock,
    loop.find,  # before what the code seems to wait for: that may have come long ago
    redelivery.find_twins,
    database.find_lock,
    locks.find,
    jobs.find,
    waiting.find_short_calls,
    database.find,
    network.find_http,
    network.find_socket,
    waiting.find,
    process.find_overslept,
    cpu.find,
    redelivery.find_overdue,
)
"""The first that finds something decides; if none does it is not known."""


class Explanation(Cause, frozen=True):
    """A cause, and the case that it explains."""

    of: Case | None = None

    @property
    def text(self) -> str:
        """The sentence that a person reads."""
        assert self.of is not None
        return join(self.words(self.of), _redelivery(self, self.of))

    @property
    def first_step(self) -> str:
        """The first thing to do."""
        assert self.of is not None
        return self.advice(self.of)


def explain(job: JobRow, verdict: Verdict, known: Known) -> Explanation:
    """Return why *job* is as the verdict says."""
    asked = case(job, verdict, known)
    finders = () if verdict.state is State.OVERDUE else FINDERS  # it moves: nothing keeps it
    found = next((cause for finder in finders if (cause := finder(asked)) is not None), None) or unknown.find(asked)
    return Explanation(
        found.name, found.confidence, found.family, found.target, found.words, found.advice, found.proven, asked
    )


def incident(job: JobRow, cause: Cause) -> str:
    """Return the name of the incident: jobs that stopped at one thing share it."""
    thing = "\0".join((job.type.environment, cause.family, cause.target))
    return f"{cause.family}-{hashlib.blake2s(thing.encode(), digest_size=4).hexdigest()}"


def raise_severity(verdict: Verdict, cause: Cause) -> Verdict:
    """Return the verdict, a page if the evidence alone proves that something is wrong."""
    if not cause.proven or verdict.state is not State.STUCK or verdict.severity is Severity.PAGE:
        return verdict
    return msgspec.structs.replace(verdict, severity=Severity.PAGE)


def _redelivery(cause: Cause, of: Case) -> str:
    """What the queue does, of a job that is stuck for another reason; the silent ones' own words say it."""
    if of.verdict.state is not State.STUCK or cause.name == "redelivered":
        return ""
    return delivery.outlook(of.job, of.known.now_ns) if delivery.is_overdue(of.job, of.known.now_ns) else ""


__all__ = ["FINDERS", "GONE", "Case", "Cause", "Explanation", "Finder", "explain", "incident", "raise_severity"]
