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


class Accepted:
    """Keeps them until the child speaks of them, or the parent does not list them any more."""

    def __init__(self, spans: Spans, jobs: Jobs, processes: Processes) -> None:
        self._spans = spans
        self._jobs = jobs
        self._processes = processes

    def observe(self, told: JobAccepted, parent: ProcessRow, now_ns: int) -> bool:
        """Take a parent's word; False: there is no room."""
        row, start_ns = self._spans.open.get(told.key), now_ns - told.age_ns
        if row is not None:
            if row.job is not None and row.job.parent is parent:
                row.start_ns = min(row.start_ns, start_ns)
                row.sequence = max(row.sequence, told.origin.sequence)
                self._move(row, parent, told.pid, now_ns)
            return True
        opened = _as_span(told)
        if told.key in self._spans.closed or disproved(opened, parent) or self._is_known(told, parent, start_ns):
            return True
        if len(self._spans.open) >= self._spans.limits.max_open_spans:
            return False
        process = self._child(parent, told.pid, start_ns, now_ns)
        if process is None:
            return False
        row = self._spans.add(opened, process, now_ns)
        job = self._jobs.make(row, opened, now_ns)
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
                self._let_go(process)
        parent.accepted = [row for row in parent.accepted if row.open]

    def spoken_of(self, job: JobRow, now_ns: int) -> None:
        """A process speaks of a job itself: what its parent said of this attempt is over, without an end."""
        for other in self._jobs.index.others(job):
            if other.parent is not None and other.end is None and _is_same(other, job):
                self._replace(other, job, now_ns)

    def _replace(self, other: JobRow, job: JobRow, now_ns: int) -> None:
        process = other.span.process
        if other.trouble is not None:  # one incident, told once
            self._jobs.settle(job, other.state, other.trouble)
        self._jobs.drop(other, now_ns)
        self._let_go(process)

    def _is_known(self, told: JobAccepted, parent: ProcessRow, start_ns: int) -> bool:
        """Whether its process has spoken of it, or its parent said that it has ended."""
        worker_id = parent.resource.worker_id
        if self._jobs.index.has_ended(told.type.system, told.job_id, told.attempt, told.pid, worker_id):
            return True
        for job in self._jobs.index.with_id(told.job_id):
            process = job.span.process
            if (
                job.type.system == told.type.system
                and job.attempt == told.attempt
                and process is not None
                and (process.resource.pid, process.resource.worker_id) == (told.pid, worker_id)
                and (job.end is None or job.end.at_ns >= start_ns)
            ):
                return True
        return False

    def _move(self, row: SpanRow, parent: ProcessRow, pid: int, now_ns: int) -> None:
        """The process that it belongs to may have begun to speak meanwhile, of other things."""
        before = row.process
        after = self._child(parent, pid, row.start_ns, now_ns)
        if after is not None and after is not before:
            self._spans.move(row, after)
            self._let_go(before)

    def _child(self, parent: ProcessRow, pid: int, since_ns: int, now_ns: int) -> ProcessRow | None:
        return self._processes.child(parent, pid) or self._processes.expect(parent, pid, since_ns, now_ns)

    def _let_go(self, process: ProcessRow | None) -> None:
        """A row that was made for jobs like this one is over with the last of them."""
        if process is not None and process.is_expected and process.live == 0:
            self._processes.forget(process)


def _as_span(told: JobAccepted) -> SpanOpen:
    return SpanOpen(
        key=told.key,
        origin=told.origin,
        type=told.type,
        call=NO_CALL,
        progress=None,
        evidence=None,
        owned=None,
        name=told.type.name,
        kind="CONSUMER",
        parent_id=None,
        age_ns=told.age_ns,
        is_job=True,
        expected_ns=told.expected_ns,
        job_span_id=told.key[16:],
        outer_span_id=None,
        job_id=told.job_id,
        attempt=told.attempt,
        movement_ns=None,
    )


def _is_same(one: JobRow, other: JobRow) -> bool:
    """Whether two rows speak of one attempt in one process."""
    first, second = one.span.process, other.span.process
    return (
        one.type.system == other.type.system
        and one.attempt == other.attempt
        and first is not None
        and second is not None
        and (first.resource.pid, first.resource.worker_id) == (second.resource.pid, second.resource.worker_id)
    )
