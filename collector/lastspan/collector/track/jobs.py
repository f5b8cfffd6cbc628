"""Jobs: which are open, which are suspect, and how they end."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from lastspan.semconv.vocabulary import Outcome

from ..model.records import SUSPECT, JobEnded, JobType, SpanOpen, State
from .counts import Counts
from .index import JobIndex
from .limits import Limits
from .owners import Owners
from .rows import UNSEEN, End, JobRow, SpanRow, SuspectState
from .spans import Spans
from .wheel import TimerWheel

_EARLIER_NS = 100_000_000
"""Movement that is news by less changes no verdict."""
_KEPT = 100
"""Open spans that are kept for show with a job that was killed."""


class Jobs:
    """All jobs, from their first record until they are no longer shown."""

    def __init__(self, limits: Limits, spans: Spans) -> None:
        self._limits = limits
        self._spans = spans
        self.open: dict[bytes, JobRow] = {}
        """By the key of their span."""
        self.suspects: dict[bytes, JobRow] = {}
        """Stuck, lost and frozen ones, the first found first."""
        self.ended: OrderedDict[bytes, JobRow] = OrderedDict()
        """Those that ended lately, for show."""
        self.index = JobIndex(max_tombstones=limits.max_tombstones)
        self.owners = Owners()
        self.counts = Counts(max_types=limits.max_types, max_duration_rows=limits.max_duration_rows)
        self.wheel: TimerWheel[JobRow] = TimerWheel()
        self.touched: list[JobRow] = []
        """Those of which something has changed that may change the verdict."""

    # --- open -----------------------------------------------------------------------------------------------------

    def create(self, row: SpanRow, record: SpanOpen, now_ns: int) -> JobRow:
        """Make a job of a span: a new one, or one that opens again."""
        job = JobRow(row, record.type, record.job_id or row.span_id.hex(), record.attempt)
        row.job = job
        reopened = self.ended.pop(row.key, None)
        if reopened is not None:
            self._release(reopened)
        self.open[row.key] = job
        self.counts.enter(job, State.RUNNING)
        self.index.add(job)
        self.update(job, record, now_ns)
        self._end_lost_duplicates(job, now_ns)
        self.touch(job)
        return job

    def create_placeholder(self, key: bytes, child: SpanRow, record: SpanOpen, now_ns: int) -> JobRow:
        """Make a job of which only a child span was reported; its own record completes it."""
        row = SpanRow(key, child.process, None, record.type.name, "", None, child.start_ns, UNSEEN)
        self._spans.open[key] = row
        return self.create(row, record, now_ns)

    def update(self, job: JobRow, record: SpanOpen, now_ns: int) -> None:
        """Take the facts of a job from a record."""
        if record.type is not job.type and not record.foreign:
            self.counts.retype(job, record.type)
        if record.job_id is not None and record.job_id != job.job_id:
            self.index.remove(job)
            job.job_id = record.job_id
            self.index.add(job)
        if record.attempt is not None:
            job.attempt = record.attempt
        if job.span.key != record.key:
            return
        moved_ns = None if record.movement_ns is None else now_ns - record.movement_ns
        if job.state is not State.RUNNING and (moved_ns or 0) > (job.moved_ns or 0) + _EARLIER_NS:
            self.touch(job)
        job.moved_ns = moved_ns
        if record.progress is not None:
            if job.progress is not None and record.progress.done > job.progress.done:
                moved_ns = now_ns - (record.progress.age_ns or 0)
                job.moved_ns = moved_ns if job.moved_ns is None else max(job.moved_ns, moved_ns)
                self.touch(job)
            job.progress = record.progress
        if job.outer is None and record.outer_span_id is not None:
            self._nest(job, record.outer_span_id)

    def set_owned(self, row: SpanRow, record: SpanOpen) -> None:
        """Take what a job owns; only its own record has that."""
        job = row.job
        if job is not None and job.span is row and (record.owned is not None or job.owned is not None):
            self.owners.set_owned(job, record.owned)

    def _nest(self, job: JobRow, outer_span_id: bytes) -> None:
        outer = self.open.get(job.span.key[:16] + outer_span_id)
        if outer is not None and outer is not job:
            self.nest(job, outer)

    def nest(self, job: JobRow, outer: JobRow) -> None:
        """Have a job run in another one."""
        job.outer = outer
        outer.attach(job.span)
        self.touch(outer)

    def touch(self, job: JobRow) -> None:
        """Have a job judged at the next tick."""
        if not job.dirty:
            job.dirty = True
            self.touched.append(job)

    def apply_verdict(self, job: JobRow, state: State, suspect_state: SuspectState | None) -> None:
        """Apply a verdict to the counts."""
        if job.suspect_state is not suspect_state:
            self.counts.set_suspect_state(job, suspect_state)
        self.counts.move(job, state)
        if state in SUSPECT:
            self.suspects[job.span.key] = job
        else:
            self.suspects.pop(job.span.key, None)

    # --- ended ----------------------------------------------------------------------------------------------------

    def end(self, job: JobRow, end: End, now_ns: int, *, killed: bool, shown: bool = True) -> None:
        """End a job. If it was *killed* its open spans end with it, and nothing of it opens again."""
        if job.end is not None:
            return
        self.apply_verdict(job, State.ENDED, None)
        self.owners.set_owned(job, None)
        job.end = end
        self.open.pop(job.span.key, None)
        inside = list(all_inside(job))
        self._spans.drop(job.span)
        for span in inside:
            if span.job is not job:
                self._unnest(span, end, now_ns, killed=killed)
            elif killed:
                self._spans.drop(span)
                self._spans.closed.put(span.key, False, now_ns)
            else:
                span.job = None
        if killed:
            self._spans.closed.put(job.span.key, True, now_ns)
            self.counts.ended(job, end.outcome)
        job.inside = {span.key: span for span in inside[:_KEPT]} if killed and inside else None
        if job.outer is not None:
            job.outer.detach(job.span)
            self.touch(job.outer)
            job.outer = None
        if shown:
            self._keep_for_show(job)
        else:
            self.index.remove(job)
            job.span.job = None

    def drop(self, job: JobRow, now_ns: int) -> None:
        """Remove a job as if it had never existed: another row is the same job."""
        self.apply_verdict(job, State.ENDED, None)
        self.open.pop(job.span.key, None)
        self.index.remove(job)
        self._spans.drop(job.span)
        self._spans.closed.put(job.span.key, False, now_ns)
        job.span.job = job.parent = None
        job.end = End(Outcome.UNKNOWN, "", now_ns)

    def correct_outcome(self, key: bytes, outcome: Outcome) -> None:
        """Correct the outcome of a job whose end was only inferred, by its process's own report."""
        job = self.ended.get(key)
        if job is not None and job.end is not None and job.end.is_inferred:
            job.end = msgspec.structs.replace(job.end, outcome=outcome, is_inferred=False)

    def _end_lost_duplicates(self, job: JobRow, now_ns: int) -> None:
        """End the lost runs of this job: the queue redelivered it."""
        for other in self.index.with_id(job.job_id):
            if other is not job and other.state is State.LOST and other.type.system == job.type.system:
                self.end(
                    other,
                    End(Outcome.LOST, "it was started again elsewhere", now_ns, is_elsewhere=True),
                    now_ns,
                    killed=True,
                )

    def _unnest(self, span: SpanRow, end: End, now_ns: int, *, killed: bool) -> None:
        inner = span.job
        if inner is None:
            return
        inner.outer = None
        if killed and inner.span.process is span.process:
            self.end(inner, end, now_ns, killed=True)
        else:  # it may have been left to the one around it to page
            self.touch(inner)

    def show(self, job: JobRow) -> None:
        """Show a job that has ended."""
        self.index.add(job)
        self._keep_for_show(job)

    def _keep_for_show(self, job: JobRow) -> None:
        self.ended[job.span.key] = job
        while len(self.ended) > self._limits.max_ended:
            _, oldest = self.ended.popitem(last=False)
            self._release(oldest)

    def show_unknown(self, record: JobEnded, end: End, now_ns: int) -> None:
        """Show the end of a job that was never announced."""
        resource = record.origin.resource
        type = JobType(
            resource.service, resource.environment, record.name, record.queue, record.system, None, None, None, None
        )
        key = record.key or f"{record.job_id}/{record.attempt}/{record.pid}".encode()
        row = SpanRow(key, None, None, record.name, "", None, now_ns, UNSEEN, open=False)
        job = JobRow(row, type, record.job_id, record.attempt, state=State.ENDED, end=end)
        row.job = job
        if record.key is not None:
            self._spans.closed.put(record.key, True, now_ns)
        self.counts.ended(job, record.outcome)
        self.show(job)

    def _release(self, job: JobRow) -> None:
        """Cut the circle of an ended job."""
        self.index.remove(job)
        job.span.job = None
        for span in all_inside(job):
            span.job = None
        job.inside = None

    def forget(self, now_ns: int) -> None:
        """Drop ended jobs that were kept for long enough."""
        while self.ended:
            job = next(iter(self.ended.values()))
            if job.end is None or now_ns - job.end.at_ns < self._limits.ended_keep_ns:
                return
            self.ended.popitem(last=False)
            self._release(job)


def all_inside(job: JobRow) -> Iterator[SpanRow]:
    """Return the open spans of a job, without its own, however many."""
    match job.inside:
        case None:
            return iter(())
        case dict() as many:
            return iter(many.values())
        case one:
            return iter((one,))
