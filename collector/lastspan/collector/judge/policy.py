"""How long a span may be open, and on what basis: declared, else a rule, else learned, else the default of its kind."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TypeAlias

import msgspec

from ..model.records import NO_CALL, Basis, Call, JobType, Kind
from ..track.learn import Learned, LearnedKey, Learner

_CACHE = 20_000
_SECOND = 1_000_000_000


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a rule applies to; each value is exact or a glob, none: anything."""

    service: str | None = None
    """`service.name` of the worker."""
    job_name: str | None = None
    """The task's or function's name."""
    queue: str | None = None
    """The queue that gave it out."""
    span_name: str | None = None
    """The name of the span; with it, a rule is about that call, not about the job as a whole."""
    kind: Kind | None = None
    """What the span does; all but `job` are about calls."""
    attributes: dict[str, str] | None = None
    """Live attributes of the call, by their stable names."""

    @property
    def of_jobs(self) -> bool:
        """Whether it names no span, so that it is about the job as a whole."""
        return self.span_name is None and self.kind is None and not self.attributes

    def fits(self, type: JobType, span_name: str, kind: Kind, call: Call) -> bool:
        """Whether a span of a job is meant."""
        if self.of_jobs and kind is not Kind.JOB:
            return False
        return (
            self.kind in (None, kind)
            and _fits(self.service, type.service)
            and _fits(self.job_name, type.name)
            and _fits(self.queue, type.queue)
            and _fits(self.span_name, span_name)
            and all(_has(call, name, pattern) for name, pattern in (self.attributes or {}).items())
        )


class Rule(msgspec.Struct, frozen=True):
    """An allowed duration for what matches."""

    match: Match
    allowed_ns: int
    text: str
    """The rule as people write it."""


class Allowance(msgspec.Struct, frozen=True, gc=False):
    """An allowed duration, and where it comes from."""

    allowed_ns: int
    basis: Basis
    rule: str
    """Which rule decided, for people."""


Allowed: TypeAlias = Allowance | Learned
"""`Learned` has the same three fields, and the numbers behind them."""


class _Open(msgspec.Struct, frozen=True):
    """No rule decides: what is learned, else the default."""

    key: LearnedKey
    default: Allowance | None


class Defaults(msgspec.Struct, frozen=True):
    """Allowed durations by kind, in nanoseconds."""

    job_ns: int = 3_600_000_000_000
    http_ns: int = 60_000_000_000
    db_ns: int = 60_000_000_000
    lock_ns: int = 30_000_000_000
    other_ns: int | None = None
    """None: as long as the job."""


class Policy:
    """Answers how long; remembers which rule decides, for there are few different questions."""

    def __init__(
        self, rules: tuple[Rule, ...] = (), defaults: Defaults | None = None, learner: Learner | None = None
    ) -> None:
        defaults = defaults or Defaults()
        self.learner = learner
        self._rules = rules
        self._by_call = any(rule.match.attributes for rule in rules)
        self._by_kind = {
            Kind.JOB: defaults.job_ns,
            Kind.HTTP: defaults.http_ns,
            Kind.DB: defaults.db_ns,
            Kind.LOCK: defaults.lock_ns,
            Kind.OTHER: defaults.other_ns,
        }
        self._cache: dict[tuple[JobType, str, Kind, Call | str], Allowance | _Open] = {}

    def allowed(
        self, type: JobType, span_name: str, kind: Kind, expected_ns: int | None = None, call: Call = NO_CALL
    ) -> Allowed | None:
        """Return how long a span may be open; None: as long as its job."""
        if expected_ns is not None:
            return Allowance(expected_ns, Basis.DECLARED, "declared in the code")
        key = (type, span_name, kind, call if self._by_call else call.peer)
        found = self._cache.get(key)
        if found is None:
            if len(self._cache) >= _CACHE:
                self._cache.clear()
            found = self._cache[key] = self._ask(type, span_name, kind, call)
        return self._learned(found) if isinstance(found, _Open) else found

    def job(self, type: JobType, span_name: str, expected_ns: int | None = None, call: Call = NO_CALL) -> Allowed:
        """Return how long a job may run."""
        allowance = self.allowed(type, span_name, Kind.JOB, expected_ns, call)
        assert allowance is not None  # a job has a default
        return allowance

    def _ask(self, type: JobType, span_name: str, kind: Kind, call: Call) -> Allowance | _Open:
        for rule in self._rules:
            if rule.match.fits(type, span_name, kind, call):
                return Allowance(rule.allowed_ns, Basis.RULE, rule.text)
        default_ns = self._by_kind[kind]
        named = (None, "") if kind is Kind.JOB else (span_name, call.peer)
        key = LearnedKey(type.environment, type.service, type.name, *named)
        return _Open(
            key, None if default_ns is None else Allowance(default_ns, Basis.DEFAULT, f"default for {kind.value}")
        )

    def _learned(self, open: _Open) -> Allowed | None:
        learned = None if self.learner is None else self.learner.find(open.key)
        if learned is None:
            return open.default
        return self._lifted(open.default, learned) if learned.is_hint else self._lowered(open.default, learned)

    def _lowered(self, default: Allowance | None, learned: Learned) -> Learned:
        """Where the floor decides, a short default lowers it."""
        if default is None or self.learner is None or learned.floor_s * _SECOND < learned.allowed_ns:
            return learned
        floor_ns = int(default.allowed_ns * self.learner.constants.floor_defaults)
        if floor_ns >= learned.allowed_ns:
            return learned
        own_ns = int(learned.seconds * learned.factor * _SECOND)
        return msgspec.structs.replace(learned, allowed_ns=max(own_ns, floor_ns), floor_s=floor_ns / _SECOND)

    def _lifted(self, default: Allowance | None, hint: Learned) -> Allowed | None:
        """Few runs lift the default, and not without end: one of them may have hung and come back."""
        if default is None or self.learner is None or default.allowed_ns >= hint.allowed_ns:
            return default
        reach = self.learner.constants.reach
        limit_ns = int(default.allowed_ns * reach)
        return hint if hint.allowed_ns <= limit_ns else msgspec.structs.replace(hint, allowed_ns=limit_ns, reach=reach)


def _fits(pattern: str | None, value: str) -> bool:
    return pattern is None or fnmatchcase(value, pattern)


def _has(call: Call, name: str, pattern: str) -> bool:
    value = call.attribute(name)
    return value is not None and fnmatchcase(str(value), pattern)
