"""Jobs that a child accepted, as its parent reports, and that the child has not reported itself.

Each stands for what the child would announce if it could, and belongs to the child's process: to its row, or to one
that is made for it, whose silence begins when it took the job. The child's own word takes its place.
"""

from __future__ import annotations

from lastspan.semconv.vocabulary import Outcome

from ..model.records import NO_CALL, JobAccepted, SpanOpen
from .jobs import Jobs
from .processes import Processes
from .rows import End, JobRow, ProcessRow, SpanRow
from .spans import Spans, disproved, split


class ParentReports:
    """Keeps them until the child reports them, or the parent no longer lists them."""

    def __init__(self, spans: Spans, jobs: Jobs, processes: Processes) -> None:
        self._spans = spans
        self._jobs = jobs
        self._processes = processes

    def observe(self, record: JobAccepted, parent: ProcessRow, now_ns: int) -> bool:
        """Record what a parent reports; False: there is no room."""
        row, start_ns = self._spans.open.get(record.key), now_ns - record.age_ns
        if row is not None:
            if row.job is not None and row.job.parent is parent:
                row.start_ns = min(row.start_ns, start_ns)
                row.sequence = max(row.sequence, record.origin.sequence)
                self._move(row, parent, record.pid, now_ns)
            return True
        opened = _as_span(record)
        if record.key in self._spans.closed or disproved(opened, parent) or self._is_known(record, parent, start_ns):
            return True
        if len(self._spans.open) >= self._spans.limits.max_open_spans:
            return False
        process = self._child(parent, record.pid, start_ns, now_ns)
        if process is None:
            return False
        row = self._spans.add(opened, process, now_ns)
        job = self._jobs.create(row, opened, now_ns)
        job.parent = parent
        parent.accepted.append(row)
        count = len(parent.accepted)
        if count & (count - 1) == 0:  # when it has doubled: no complete list may come to tidy up
            parent.accepted = [old for old in parent.accepted if old.open]
        return True

    def close_absent(self, parent: ProcessRow, sequence: int, span_ids: bytes, now_ns: int) -> None:
        """End those that a complete list of the parent's lacks."""
        if not parent.accepted:
            return
        listed = split(span_ids)
        for row in parent.accepted:
            job = row.job
            if row.open and job is not None and row.sequence < sequence and row.span_id not in listed:
                process = row.process
                self._jobs.end(job, End(Outcome.UNKNOWN, "", now_ns, is_inferred=True), now_ns, killed=False)
                self._forget_if_empty(process)
        parent.accepted = [row for row in parent.accepted if row.open]

    def drop_if_reported(self, job: JobRow, now_ns: int) -> None:
        """A process reports a job itself: drop its parent's report of this attempt, without an end."""
        for other in self._jobs.index.others(job):
            if other.parent is not None and other.end is None and _is_same(other, job):
                self._replace(other, job, now_ns)

    def _replace(self, other: JobRow, job: JobRow, now_ns: int) -> None:
        process = other.span.process
        if other.suspect_state is not None:  # one incident, told once
            self._jobs.apply_verdict(job, other.state, other.suspect_state)
        self._jobs.drop(other, now_ns)
        self._forget_if_empty(process)

    def _is_known(self, record: JobAccepted, parent: ProcessRow, start_ns: int) -> bool:
        """Whether its process has reported it, or its parent reported its end."""
        worker_id = parent.resource.worker_id
        if self._jobs.index.has_ended(record.type.system, record.job_id, record.attempt, record.pid, worker_id):
            return True
        for job in self._jobs.index.with_id(record.job_id):
            process = job.span.process
            if (
                job.type.system == record.type.system
                and job.attempt == record.attempt
                and process is not None
                and (process.resource.pid, process.resource.worker_id) == (record.pid, worker_id)
                and (job.end is None or job.end.at_ns >= start_ns)
            ):
                return True
        return False

    def _move(self, row: SpanRow, parent: ProcessRow, pid: int, now_ns: int) -> None:
        """Its process may have begun to report meanwhile, other things."""
        before = row.process
        after = self._child(parent, pid, row.start_ns, now_ns)
        if after is not None and after is not before:
            self._spans.move(row, after)
            self._forget_if_empty(before)

    def _child(self, parent: ProcessRow, pid: int, since_ns: int, now_ns: int) -> ProcessRow | None:
        return self._processes.child(parent, pid) or self._processes.add_unheard(parent, pid, since_ns, now_ns)

    def _forget_if_empty(self, process: ProcessRow | None) -> None:
        """A row that was made for jobs like this one is over with the last of them."""
        if process is not None and process.is_expected and process.live == 0:
            self._processes.forget(process)


def _as_span(record: JobAccepted) -> SpanOpen:
    return SpanOpen(
        key=record.key,
        origin=record.origin,
        type=record.type,
        call=NO_CALL,
        progress=None,
        evidence=None,
        owned=None,
        name=record.type.name,
        kind="CONSUMER",
        parent_id=None,
        age_ns=record.age_ns,
        is_job=True,
        expected_ns=record.expected_ns,
        job_span_id=record.key[16:],
        outer_span_id=None,
        job_id=record.job_id,
        attempt=record.attempt,
        movement_ns=None,
    )


def _is_same(one: JobRow, other: JobRow) -> bool:
    """Whether two rows are one attempt in one process."""
    first, second = one.span.process, other.span.process
    return (
        one.type.system == other.type.system
        and one.attempt == other.attempt
        and first is not None
        and second is not None
        and (first.resource.pid, first.resource.worker_id) == (second.resource.pid, second.resource.worker_id)
    )
