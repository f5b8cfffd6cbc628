"""What finished runs teach: how long a job, or a call in it, takes, and so how long it may take.

Per (environment, service, job, span) one histogram of the runs that ended well. Allowed is a high quantile × a factor,
and the factor grows where runs vary much or are few. What keeps hung runs from teaching that hanging is normal: only
runs with the outcome `ok` count; and of these, runs beyond what is allowed are put aside until they are plainly the
new normal. The past fades with time, and at a deploy. Each constant is a field of `Learning`, with its effect measured
by `bench/detection`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import pow
from typing import NamedTuple

import msgspec

from lastspan.semconv import duration

from .model import Basis
from .sketch import Histogram, lower, upper

_SECOND = 1_000_000_000
_DAY_NS = 86_400 * _SECOND
_VERSIONS = 4
"""Versions of a service that are remembered: while a deploy rolls, two take turns."""
_ASIDE = 8
"""Buckets of runs that are put aside; longer ones count as the longest of these."""
_FADE_STEP = 0.99
"""Weights are multiplied once that makes a difference of 1 %."""


class Learning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The constants; `bench/README.md` shows what each of them does."""

    enabled: bool = True
    quantile: float = 0.99
    factor: float = 3.0
    """Allowed is the quantile × this, at least."""
    tail: float = 2.0
    """The factor is at least (p99 ÷ p90) to this power: the more the slowest runs differ, the more patience."""
    caution: float = 60.0
    """The factor is multiplied by 1 + this ÷ runs."""
    min_runs: int = 20
    """From so many runs on, what is learned replaces the default."""
    hint_runs: int = 1
    """From so many on, `factor` × the longest may lift the default, never lower it."""
    floor_job_s: float = 30.0
    floor_span_s: float = 15.0
    half_life_days: float = 7.0
    """After so long a run counts half."""
    deploy_runs: int = 100
    """After a deploy all runs before it count no more than so many."""
    recent_runs: int = 20
    """How many runs "lately" is, for the share of those that are beyond what is allowed."""
    new_normal: float = 0.5
    """A greater share of the recent runs beyond what is allowed, for long enough, is the new normal."""
    max_keys: int = 10_000
    """Keys beyond it are not learned; they are counted."""


class Key(NamedTuple):
    """What is learned by."""

    environment: str
    service: str
    job_name: str
    span_name: str | None
    """None: the job as a whole."""


class Learned(msgspec.Struct, frozen=True, gc=False):
    """An allowed duration that was learned, and the numbers behind it."""

    allowed_ns: int
    basis: Basis
    rule: str
    """For people."""
    runs: float
    quantile: float
    quantile_s: float
    factor: float
    floor_s: float
    is_hint: bool
    """From few runs: it may lift the default, never lower it."""


class Row(msgspec.Struct, eq=False):
    """What is known of one key."""

    runs: Histogram
    touched_ns: int
    """Up to when the weights have faded."""
    learned: Learned | None = None
    aside: dict[int, float] | None = None
    """Runs beyond what is allowed, by bucket."""
    aside_since_ns: int = 0
    slow: float = 0.0
    """Share of the recent runs that are beyond what is allowed."""
    trusted: float = 0.0
    """So many runs to come count whatever they take: a deploy has just been."""
    news: float = 0.0
    """Runs since what is allowed was last worked out."""
    versions: tuple[str, ...] = ()


class Learner:
    """All keys. Fed with finished runs; asked for allowances."""

    def __init__(self, constants: Learning | None = None) -> None:
        self.constants = constants or Learning()
        self.rows: dict[Key, Row] = {}
        self.refused = 0
        """Runs of keys beyond the cap."""

    def find(self, key: Key) -> Learned | None:
        """Return what is allowed; None: not enough is known."""
        row = self.rows.get(key)
        return None if row is None else row.learned

    def take(self, key: Key, runs: Iterable[tuple[int, float]], *, version: str, now_ns: int) -> None:
        """Learn from runs that ended well: (bucket of `sketch`, how many)."""
        if not self.constants.enabled:
            return
        row = self.rows.get(key) or self._meet(key, now_ns)
        if row is None:
            self.refused += int(sum(count for _, count in runs))
            return
        self._fade(row, now_ns)
        if version and version not in row.versions:
            self._deployed(row, version)
        for bucket, count in runs:
            self._count(row, bucket, count, now_ns)
        self._settle(key, row, now_ns)

    def put(self, key: Key, row: Row) -> None:
        """Take in what was learned elsewhere or before."""
        if key in self.rows or len(self.rows) < self.constants.max_keys:
            self.rows[key] = row
            row.learned = self._work_out(key, row)

    def forget(self, keys: Iterable[Key]) -> int:
        """Forget keys; return how many were known."""
        return sum(self.rows.pop(key, None) is not None for key in list(keys))

    def matching(self, *, service: str | None = None, job_name: str | None = None) -> Iterator[tuple[Key, Row]]:
        """Yield keys and rows of a service, of a job, or all."""
        for key, row in self.rows.items():
            if service in (None, key.service) and job_name in (None, key.job_name):
                yield key, row

    # --- counting -------------------------------------------------------------------------------------------------

    def _meet(self, key: Key, now_ns: int) -> Row | None:
        if len(self.rows) >= self.constants.max_keys:
            self._sweep(now_ns)
        if len(self.rows) >= self.constants.max_keys:
            return None
        row = self.rows[key] = Row(Histogram(), now_ns)
        return row

    def _sweep(self, now_ns: int) -> None:
        """Let go of keys that have not been heard of for four half-lives, to make room."""
        limit_ns = now_ns - int(4 * self.constants.half_life_days * _DAY_NS)
        for key in [key for key, row in self.rows.items() if row.touched_ns < limit_ns]:
            del self.rows[key]

    def _fade(self, row: Row, now_ns: int) -> None:
        by = 0.5 ** ((now_ns - row.touched_ns) / (self.constants.half_life_days * _DAY_NS))
        if by < _FADE_STEP:
            row.runs.fade(by)
            row.touched_ns = now_ns

    def _deployed(self, row: Row, version: str) -> None:
        """Another version runs: the past counts less, and the next runs count whatever they take."""
        if row.versions:
            self._weigh_down(row)
            row.trusted = self.constants.recent_runs
        row.versions = (version, *row.versions)[:_VERSIONS]

    def _weigh_down(self, row: Row) -> None:
        if row.runs.total > self.constants.deploy_runs:
            row.runs.fade(self.constants.deploy_runs / row.runs.total)

    def _count(self, row: Row, bucket: int, count: float, now_ns: int) -> None:
        learned, recent = row.learned, (1 - 1 / self.constants.recent_runs) ** count
        is_beyond = learned is not None and not learned.is_hint and lower(bucket) * _SECOND >= learned.allowed_ns
        if is_beyond and row.trusted <= 0:
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

    def _settle(self, key: Key, row: Row, now_ns: int) -> None:
        """Decide about the runs that were put aside, and work out anew what is allowed if that may have changed."""
        aside = row.aside
        if aside is not None:
            if row.slow > self.constants.new_normal and self._lasts(row, aside, now_ns):
                self._weigh_down(row)
                for bucket, count in aside.items():
                    row.runs.add(bucket, count)
                row.aside, row.slow, row.news = None, 0.0, row.runs.total
            elif row.slow < self.constants.new_normal / 10:
                row.aside = None
        if row.news >= max(1.0, row.runs.total / 50):
            row.learned = self._work_out(key, row)
            row.news = 0.0

    def _lasts(self, row: Row, aside: dict[int, float], now_ns: int) -> bool:
        """Whether slow runs have come for longer than those of one incident would: those end together."""
        return now_ns - row.aside_since_ns > 2 * upper(max(aside)) * _SECOND

    # --- what is allowed --------------------------------------------------------------------------------------------

    def _work_out(self, key: Key, row: Row) -> Learned | None:
        constants, runs = self.constants, row.runs.total
        if runs < constants.hint_runs:
            return None
        is_hint = runs < constants.min_runs
        if is_hint:
            quantile, factor = 1.0, constants.factor
        else:
            quantile, factor = constants.quantile, self._factor(row.runs)
        quantile_s = row.runs.quantile(quantile)
        floor_s = constants.floor_job_s if key.span_name is None else constants.floor_span_s
        allowed_s = max(quantile_s * factor, floor_s)
        words = _words(runs, quantile, quantile_s, factor, floor_s)
        return Learned(
            int(allowed_s * _SECOND), Basis.LEARNED, words, runs, quantile, quantile_s, factor, floor_s, is_hint
        )

    def _factor(self, runs: Histogram) -> float:
        constants = self.constants
        spread = runs.quantile(0.99) / max(runs.quantile(0.9), 1e-9)
        return max(constants.factor, pow(spread, constants.tail)) * (1 + constants.caution / runs.total)


def _words(runs: float, quantile: float, quantile_s: float, factor: float, floor_s: float) -> str:
    what = "the longest" if quantile == 1 else f"p{quantile * 100:g}"
    words = f"learned: {what} of {runs:,.0f} runs is {duration.render(quantile_s)} × {factor:.3g}"
    return words if quantile_s * factor >= floor_s else f"{words}, but at least {duration.render(floor_s)}"
