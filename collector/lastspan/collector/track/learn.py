"""Learns from finished runs how long a job, or a call in it, takes, and so how long it may take.

Per (environment, service, job, span) one histogram of the runs that ended well, and the longest but one of them.
Allowed is a high quantile × a factor, and not less than the longest run but one × another: where one call in 10,000
takes a minute, no quantile says so. Both grow where runs are few. What keeps hung runs from teaching that hanging is
normal: only runs with the outcome `ok` count; of these, runs far beyond what is allowed are put aside until they are
plainly the new normal; and one run alone moves nothing. The past fades with time, and at a deploy. Each constant is a
field of `Learning`, with its effect measured by `bench/detection`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import log2
from typing import NamedTuple

import msgspec

from lastspan.semconv import duration

from ..model.records import Basis
from ..model.sketch import PER_OCTAVE, Histogram, lower, middle, upper

_SECOND = 1_000_000_000
_DAY_NS = 86_400 * _SECOND
_SWEEP_NS = 60 * _SECOND
_VERSIONS = 4
"""Versions of a service that are remembered: while a deploy rolls, two take turns."""
_ASIDE = 8
"""Buckets of runs that are put aside; longer ones count as the longest of these."""
NO_RUN = -1000.0
"""The bucket of a run that has not been: next to nothing."""
_FADE_STEP = 0.99
"""Weights are multiplied once that makes a difference of 1 %."""


class Learning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The constants; `bench/README.md` shows what each of them does."""

    enabled: bool = True
    """false: nothing is learned."""
    quantile: float = 0.99
    """Which run is the usual one: of 100 runs, 99 are shorter."""
    factor: float = 5.0
    """Allowed is the quantile × this, at least."""
    reserve: float = 4.0
    """And the longest run but one × this, at least."""
    caution: float = 30.0
    """All factors are multiplied by 1 + this ÷ runs: few runs prove little."""
    slow: float = 2.0
    """A run that ended well within so many times what is allowed was slow, not hung: it counts."""
    trust: float = 5.0
    """The same after a deploy; and for the first runs, in floors or in the longest but one."""
    min_runs: int = 10
    """From so many runs on, what is learned replaces the default."""
    hint_runs: int = 1
    """From so many on, `factor` × the longest may lift the default, never lower it."""
    reach: float = 10.0
    """But to no more than so many times the default."""
    floor_job_s: float = 120.0
    """A job is allowed at least this, in seconds: what answers at all has answered then; gateways give up after
    60 … 100 s."""
    floor_span_s: float = 120.0
    """The same for a call."""
    floor_defaults: float = 2.0
    """But the floor is at most so many times the default: who sets a shorter default means it."""
    half_life_days: float = 7.0
    """After so long a run counts half, and the longest run but one is remembered as half as long."""
    deploy_runs: int = 100
    """After a deploy all runs before it count no more than so many."""
    recent_runs: int = 20
    """How many runs "lately" is, for the share of those that are beyond what is allowed."""
    new_normal: float = 0.25
    """A greater share of the recent runs beyond what is allowed, for long enough, is the new normal."""
    max_keys: int = 10_000
    """Keys beyond it are not learned; they are counted."""


class LearnedKey(NamedTuple):
    """What is learned by."""

    environment: str
    service: str
    job_name: str
    span_name: str | None
    """None: the job as a whole."""
    peer: str = ""
    """Whom the span calls: an HTTP GET and a Redis GET have one name. Empty: nobody, or reported by an older worker."""


class Learned(msgspec.Struct, frozen=True, gc=False):
    """An allowed duration that was learned, and the numbers behind it."""

    allowed_ns: int
    basis: Basis
    runs: float
    what: str
    """Of which run the duration is: p99, the longest …"""
    seconds: float
    """How long that took."""
    factor: float
    floor_s: float
    """It is not less than this."""
    is_hint: bool = False
    """From few runs: it may lift the default, never lower it."""
    reach: float | None = None
    """It would be more, but for so many times the default."""

    @property
    def rule(self) -> str:
        """How it came about, for people."""
        return f"learned: {self.why}"

    @property
    def why(self) -> str:
        """The same where its basis is said already."""
        words = f"{self.what} of {self.runs:,.0f} runs is {duration.render(self.seconds)} × {self.factor:.3g}"
        if self.reach is not None:
            return f"{words}, but at most {self.reach:g} × the default"
        if self.seconds * self.factor < self.floor_s:
            return f"{words}, but at least {duration.render(self.floor_s)}"
        return words


class LearnedRow(msgspec.Struct, eq=False):
    """What is known of one key."""

    runs: Histogram
    touched_ns: int
    """Up to when the weights have faded."""
    learned: Learned | None = None
    longest: float = NO_RUN
    """The bucket of the longest run; it fades too, so it is not whole."""
    second: float = NO_RUN
    """Of the longest but one."""
    aside: dict[int, float] | None = None
    """Runs beyond what is allowed, by bucket."""
    aside_since_ns: int = 0
    slow: float = 0.0
    """Share of the recent runs that are beyond what is allowed."""
    trusted: float = 0.0
    """So many runs to come count though they are slow: a deploy has just been."""
    news: float = 0.0
    """Runs since what is allowed was last worked out."""
    versions: tuple[str, ...] = ()


class Learner:
    """All keys. Fed with finished runs; asked for allowances."""

    def __init__(self, constants: Learning | None = None) -> None:
        self.constants = constants or Learning()
        self._usual = f"p{self.constants.quantile * 100:g}"
        self.rows: dict[LearnedKey, LearnedRow] = {}
        self.refused = 0
        """Runs of keys beyond the cap."""
        self._swept_ns: int | None = None

    def find(self, key: LearnedKey) -> Learned | None:
        """Return what is allowed; None: not enough is known."""
        row = self.rows.get(key)
        learned = None if row is None else row.learned
        if key.peer and (learned is None or learned.is_hint):  # workers of before told of all peers together
            row = self.rows.get(key._replace(peer=""))
            learned = row.learned if row is not None and row.learned is not None else learned
        return learned

    def take(self, key: LearnedKey, runs: Iterable[tuple[int, float]], *, version: str, now_ns: int) -> None:
        """Learn from runs that ended well: (bucket of `sketch`, how many)."""
        if not self.constants.enabled:
            return
        row = self.rows.get(key) or self._add(key, now_ns)
        if row is None:
            self.refused += int(sum(count for _, count in runs))
            return
        self._fade(row, now_ns)
        if version and version not in row.versions:
            self._deployed(row, version)
        for bucket, count in runs:
            self._count(row, bucket, count, now_ns)
        self._update(key, row, now_ns)

    def put(self, key: LearnedKey, row: LearnedRow) -> None:
        """Take in what was learned elsewhere or before."""
        if key in self.rows or len(self.rows) < self.constants.max_keys:
            self.rows[key] = row
            if row.second <= NO_RUN:  # it was not told
                row.longest = row.second = max((bucket for bucket, _ in row.runs), default=NO_RUN)
            row.learned = self._work_out(key, row)

    def forget(self, keys: Iterable[LearnedKey]) -> int:
        """Forget keys; return how many were known."""
        return sum(self.rows.pop(key, None) is not None for key in list(keys))

    def matching(
        self, *, service: str | None = None, job_name: str | None = None
    ) -> Iterator[tuple[LearnedKey, LearnedRow]]:
        """Yield keys and rows of a service, of a job, or all."""
        for key, row in self.rows.items():
            if service in (None, key.service) and job_name in (None, key.job_name):
                yield key, row

    # --- counting -------------------------------------------------------------------------------------------------

    def _add(self, key: LearnedKey, now_ns: int) -> LearnedRow | None:
        if len(self.rows) >= self.constants.max_keys:
            self._sweep(now_ns)
        if len(self.rows) >= self.constants.max_keys:
            return None
        row = self.rows[key] = LearnedRow(Histogram(), now_ns)
        return row

    def _sweep(self, now_ns: int) -> None:
        """Make room: let go of keys of long ago, and of names that came a few times and no more (they hold an id)."""
        if self._swept_ns is not None and now_ns - self._swept_ns < _SWEEP_NS:
            return  # it walks all keys, and whoever makes up names asks for each of them
        self._swept_ns = now_ns
        old_ns, idle_ns = now_ns - int(4 * self.constants.half_life_days * _DAY_NS), now_ns - _DAY_NS
        for key, row in list(self.rows.items()):
            is_idle = row.touched_ns < idle_ns and row.runs.total < self.constants.min_runs
            if is_idle or row.touched_ns < old_ns:
                del self.rows[key]

    def _fade(self, row: LearnedRow, now_ns: int) -> None:
        by = 0.5 ** ((now_ns - row.touched_ns) / (self.constants.half_life_days * _DAY_NS))
        if by < _FADE_STEP:
            row.runs.fade(by)
            row.longest += PER_OCTAVE * log2(by)
            row.second += PER_OCTAVE * log2(by)
            row.touched_ns = now_ns

    def _deployed(self, row: LearnedRow, version: str) -> None:
        """Another version runs: the past counts less, and the next runs count though they are slow."""
        if row.versions:
            self._weigh_down(row)
            row.trusted = self.constants.recent_runs
        row.versions = (version, *row.versions)[:_VERSIONS]

    def _weigh_down(self, row: LearnedRow) -> None:
        if row.runs.total > self.constants.deploy_runs:
            row.runs.fade(self.constants.deploy_runs / row.runs.total)

    def _count(self, row: LearnedRow, bucket: int, count: float, now_ns: int) -> None:
        learned, recent = row.learned, (1 - 1 / self.constants.recent_runs) ** count
        if learned is not None and self._is_hung(row, learned, lower(bucket)):
            if row.aside is None:
                row.aside, row.aside_since_ns = {}, now_ns
            at = bucket if bucket in row.aside or len(row.aside) < _ASIDE else max(row.aside)
            row.aside[at] = row.aside.get(at, 0.0) + count
            row.slow = 1 - (1 - row.slow) * recent
            return
        row.trusted = max(0.0, row.trusted - count)
        row.slow *= recent
        row.runs.add(bucket, count)
        row.news += count
        self._note(row, bucket, count)

    def _is_hung(self, row: LearnedRow, learned: Learned, seconds: float) -> bool:
        """Whether a run took so long that it had hung, though it ended well."""
        constants, allowed_s = self.constants, learned.allowed_ns / _SECOND
        if learned.is_hint:  # the first run may have hung; the second is not measured by it
            return seconds >= constants.trust * max(middle(row.second), constants.floor_span_s)
        if row.trusted > 0:
            return seconds >= constants.trust * allowed_s
        return seconds >= constants.slow * allowed_s

    def _note(self, row: LearnedRow, bucket: int, count: float) -> None:
        """Remember the two longest runs."""
        if bucket <= row.second:
            return
        row.news = max(row.news, row.runs.total)  # what is allowed may grow at once
        row.second = float(bucket) if count >= 2 else min(row.longest, bucket)
        row.longest = max(row.longest, bucket)

    def _update(self, key: LearnedKey, row: LearnedRow, now_ns: int) -> None:
        """Decide about the runs that were put aside, and work out anew what is allowed if that may have changed."""
        aside = row.aside
        if aside is not None:
            if row.slow > self.constants.new_normal and self._lasts(row, aside, now_ns):
                self._weigh_down(row)
                for bucket, count in aside.items():
                    row.runs.add(bucket, count)
                    self._note(row, bucket, count)
                row.aside, row.slow, row.news = None, 0.0, row.runs.total
            elif row.slow < self.constants.new_normal / 10:
                row.aside = None
        if row.news >= max(1.0, row.runs.total / 50):
            row.learned = self._work_out(key, row)
            row.news = 0.0

    def _lasts(self, row: LearnedRow, aside: dict[int, float], now_ns: int) -> bool:
        """Whether slow runs have come for longer than those of one incident would: those end together."""
        return now_ns - row.aside_since_ns > 2 * upper(max(aside)) * _SECOND

    # --- what is allowed --------------------------------------------------------------------------------------------

    def _work_out(self, key: LearnedKey, row: LearnedRow) -> Learned | None:
        constants, runs = self.constants, row.runs.total
        if runs < constants.hint_runs:
            return None
        caution = 1 + constants.caution / runs
        if runs < constants.min_runs:
            return self._learned(key, row, "the longest", row.runs.quantile(1.0), constants.factor * caution)
        usual = row.runs.quantile(constants.quantile, spare=1.0), constants.factor * caution
        longest = middle(row.second), constants.reserve * caution
        if usual[0] * usual[1] >= longest[0] * longest[1]:
            return self._learned(key, row, self._usual, *usual)
        return self._learned(key, row, "the longest but one", *longest)

    def _learned(self, key: LearnedKey, row: LearnedRow, what: str, seconds: float, factor: float) -> Learned:
        constants, runs = self.constants, row.runs.total
        is_hint = runs < constants.min_runs
        floor_s = 0.0 if is_hint else constants.floor_job_s if key.span_name is None else constants.floor_span_s
        allowed_ns = int(max(seconds * factor, floor_s) * _SECOND)
        return Learned(allowed_ns, Basis.LEARNED, runs, what, seconds, factor, floor_s, is_hint)
