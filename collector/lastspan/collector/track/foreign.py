"""Other people's spans: they do not say which job they are in, so their parents tell."""

from __future__ import annotations

from lastspan.semconv.vocabulary import Outcome

from ..model.records import State
from .jobs import Jobs, all_inside
from .rows import End, JobRow, SpanRow
from .spans import Spans

_MERGED = 1000
"""Spans of a foreign job that are moved to another one; a bigger job stays on its own."""


class Foreign:
    """Puts spans into jobs by their parents, in any order of arrival."""

    def __init__(self, spans: Spans, jobs: Jobs) -> None:
        self._spans = spans
        self._jobs = jobs

    def join(self, row: SpanRow) -> bool:
        """Put a new span into the job of its parent; False: the parent is not known, so the span is a job."""
        parent_key = None if row.parent_id is None else row.key[:16] + row.parent_id
        parent = None if parent_key is None else self._spans.open.get(parent_key)
        if parent is None:
            if parent_key is not None:
                self._spans.waiting.setdefault(parent_key, {})[row.key] = row
            return False
        job = row.job = parent.job
        if job is not None:
            job.attach(row)
            self._jobs.touch(job)
        return True

    def gather(self, row: SpanRow) -> None:
        """Bring home the spans that came before *row*, their parent."""
        job = row.job
        for child in self._spans.waiting.pop(row.key, {}).values():
            if job is not None and child.job is not None and child.job.span is child and child.job is not job:
                self.merge(job, child.job)

    def merge(self, job: JobRow, inner: JobRow) -> None:
        """Make a foreign job, whose parent has turned up, part of its parent's job."""
        if inner.size() > _MERGED:
            return
        self._jobs.apply_verdict(inner, State.ENDED, None)
        self._jobs.open.pop(inner.span.key, None)
        self._jobs.index.remove(inner)
        for span in [inner.span, *all_inside(inner)]:
            span.job = job
            job.attach(span)
        inner.inside = None
        inner.end = End(Outcome.UNKNOWN, "", 0)
        self._jobs.touch(job)
