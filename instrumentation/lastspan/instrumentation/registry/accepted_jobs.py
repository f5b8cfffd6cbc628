"""Jobs that children of this process accepted: reported by the parent, in case the child cannot report them.

Native code that keeps the interpreter from a job's first moment on keeps the child's watcher from ever telling of it.
The child's own word, once it comes, goes before ours: whoever hears both knows them for one attempt of one process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from .children import ChildJob

ACCEPTED_MAX: Final = 500
"""Such jobs of one parent; more are not reported."""

_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
"""https://www.w3.org/TR/trace-context/#traceparent-header"""


class AcceptedJob(NamedTuple):
    """A job that a child accepted, as it is reported."""

    job: ChildJob
    started: float
    """Monotonic, s."""
    trace_id: int
    span_id: int
    """Of our own making: nobody knows the span's yet."""


class AcceptedJobs:
    """Which of them are reported, and when."""

    def __init__(self, *, after: float, refresh: float) -> None:
        self._after = after
        self._refresh = refresh
        self._looked_at: float | None = None
        self._started: dict[tuple[int, str, str, int], float] = {}
        self._told: dict[tuple[int, str, str, int], tuple[AcceptedJob, float]] = {}
        """And when last."""

    @property
    def span_ids(self) -> list[int]:
        """Of those that were reported and have not ended."""
        return [taken.span_id for taken, _ in self._told.values()]

    def update(self, running: Sequence[ChildJob], now: float) -> None:
        """Note what runs now; what does not is over."""
        since_last = None if self._looked_at is None else now - self._looked_at
        keys = {}
        for job in running:
            key = (job.pid, job.system, job.job_id, job.attempt)
            # The wall clock may have been set meanwhile: it is not older than our last look.
            age = job.age if since_last is None else min(job.age, since_last)
            keys[key] = self._started.get(key, now - age)
        self._started, self._looked_at = keys, now
        self._told = {key: told for key, told in self._told.items() if key in keys}

    def due(self, running: Sequence[ChildJob], now: float, *, again: bool) -> Iterator[AcceptedJob]:
        """Yield what to report now; *again*: earlier reports may be lost."""
        for job in running:
            key = (job.pid, job.system, job.job_id, job.attempt)
            started = self._started.get(key)
            if started is None or now - started < self._after:
                continue
            taken, told_at = self._told.get(key, (None, 0.0))
            if taken is None:
                if len(self._told) >= ACCEPTED_MAX:
                    continue
                taken = AcceptedJob(job, started, _trace_of(job), int.from_bytes(os.urandom(8), "big") or 1)
            elif not again and now - told_at < self._refresh:
                continue
            self._told[key] = (taken, now)
            yield taken


def _trace_of(job: ChildJob) -> int:
    """The trace that the message came with, or one of our own."""
    found = _TRACEPARENT.fullmatch(job.traceparent)
    return (int(found[1], 16) if found else 0) or int.from_bytes(os.urandom(16), "big") or 1
