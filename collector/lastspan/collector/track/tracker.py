"""Tracks what is open. Records come late, twice, out of order or not at all; see DESIGN, "Order, loss, duplication".

No clock and no I/O: the caller says what time it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from lastspan.semconv.vocabulary import Outcome

from ..model.evidence import Evidence
from ..model.records import (
    NO_SEQUENCE,
    CallSeen,
    DurationCounts,
    JobAccepted,
    JobEnded,
    ProcessState,
    ProcessStatus,
    Signal,
    SpanClosed,
    SpanFinished,
    SpanOpen,
    State,
)
from .foreign import Foreign
from .jobs import Jobs
from .learn import LearnedKey, Learner, Learning
from .limits import Limits
from .parent_reports import ParentReports
from .processes import Processes
from .rows import UNSEEN, End, JobRow, ProcessRow, Silence, SpanRow, SuspectState
from .spans import Spans, disproved, split

SPAN_CAP = "span_cap"
PROCESS_CAP = "process_cap"
_EARLIER_NS = 100_000_000
"""A start that moves back by less changes no verdict."""
_BUSY = 0.02
_MINUTE_NS = 60_000_000_000


class Tracker:
    """Open spans, jobs and processes."""

    def __init__(self, limits: Limits, learner: Learner | None = None) -> None:
        self.limits = limits
        self.learner = learner or Learner(Learning(enabled=False))
        self._spans = Spans(limits)
        self._jobs = Jobs(limits, self._spans)
        self._foreign = Foreign(self._spans, self._jobs)
        self.processes = Processes(
            silent_after=limits.silent_after,
            forget_after_ns=limits.lost_keep_ns,
            limit=limits.max_processes,
            forgotten=self._jobs.counts.forget_durations,
        )
        self._parent_reports = ParentReports(self._spans, self._jobs, self.processes)
        # What other modules read.
        self.spans = self._spans.open
        self.jobs = self._jobs.open
        self.suspects = self._jobs.suspects
        self.ended = self._jobs.ended
        self.counts = self._jobs.counts
        self.wheel = self._jobs.wheel
        self.owners = self._jobs.owners

    @property
    def parts(self) -> tuple[Spans, Jobs]:
        """Its parts, for saving and restoring."""
        return self._spans, self._jobs

    @property
    def evidence_bytes(self) -> int:
        """How much is kept of what was seen of threads."""
        return self._spans.evidence_bytes

    # --- what comes in ------------------------------------------------------------------------------------------

    def observe(self, signal: Signal, now_ns: int) -> str | None:
        """Take in one signal; return the reason if there is no room for it."""
        return _HANDLERS[type(signal)](self, signal, now_ns)

    def _span_open(self, record: SpanOpen, now_ns: int) -> str | None:
        process = self.processes.heard_from(record.origin, now_ns)
        if process is None and record.origin.process_id is not None:
            return PROCESS_CAP
        row = self.spans.get(record.key)
        if row is None:
            return self._open(record, process, now_ns)
        start_ns = now_ns - record.age_ns
        if start_ns < row.start_ns:
            if row.job is not None and row.start_ns - start_ns > _EARLIER_NS:
                self.wheel.advance(row.job, row.start_ns - start_ns, now_ns)
            row.start_ns = start_ns
        sequence = record.origin.sequence
        if sequence > row.sequence or sequence == row.sequence == NO_SEQUENCE:
            self._refresh(row, record, process, now_ns)
        return None

    def _span_closed(self, record: SpanClosed, now_ns: int) -> None:
        self.processes.heard_from(record.origin, now_ns)
        self._tombstone(record.key, End(record.outcome, "", now_ns), now_ns)
        self._jobs.correct_outcome(record.key, record.outcome)

    def _span_finished(self, record: SpanFinished, now_ns: int) -> None:
        if self.is_wanted(record) and not self._is_being_ended(record.key):
            self._tombstone(record.key, End(record.outcome, "", now_ns, is_inferred=True), now_ns)

    def is_wanted(self, record: SpanFinished) -> bool:
        """Only finished spans that we know, or that may be announced later, are recorded."""
        return record.foreign or record.key in self.spans

    def _process_state(self, record: ProcessState, now_ns: int) -> str | None:
        process = self.processes.heard_from(record.origin, now_ns)
        if process is None:
            return PROCESS_CAP
        sequence = record.origin.sequence
        if record.complete:
            self._close_absent(process, sequence, record.span_ids, now_ns)
            self._parent_reports.close_absent(process, sequence, record.span_ids, now_ns)
        if sequence > process.state_sequence or sequence == NO_SEQUENCE:
            process.state_sequence = sequence
            self.processes.apply_state(process, record, now_ns)
            if record.status is ProcessStatus.STOPPED:
                for one in (process, *self.processes.children_being_ended(process)):
                    self.end_process(one, Outcome.SHUTDOWN, now_ns)
        return None

    def _durations(self, record: DurationCounts, now_ns: int) -> str | None:
        process = self.processes.heard_from(record.origin, now_ns)
        if process is None:
            return PROCESS_CAP
        news = self.counts.durations(process, record)
        if news and record.outcome is Outcome.OK:
            resource = process.resource
            key = LearnedKey(resource.environment, resource.service, record.job_name, record.span_name, record.peer)
            self.learner.take(key, news, version=record.origin.resource.service_version, now_ns=now_ns)
        return None

    def _call_seen(self, record: CallSeen, now_ns: int) -> None:
        self.processes.heard_from(record.origin, now_ns)

    def _job_accepted(self, record: JobAccepted, now_ns: int) -> str | None:
        parent = self.processes.heard_from(record.origin, now_ns)
        if parent is None:
            return PROCESS_CAP
        return None if self._parent_reports.observe(record, parent, now_ns) else SPAN_CAP

    def _job_ended(self, record: JobEnded, now_ns: int) -> None:
        self.processes.heard_from(record.origin, now_ns)
        job = self._jobs.index.find_attempt(record)
        known = self._jobs.index.end_attempt(record, now_ns)
        end = End(record.outcome, record.reason, now_ns, record.signal, record.exit_code)
        if job is None:
            if not known:
                self._jobs.show_unknown(record, end, now_ns)
        elif job.end is None:
            self._jobs.end(job, end, now_ns, killed=True)
        else:  # the child said that it ended, which it has counted, or it is known from absence; its parent knows how
            if job.end.is_inferred:
                self.counts.ended(job, end.outcome)
            job.end = msgspec.structs.replace(end, at_ns=job.end.at_ns)

    # --- spans --------------------------------------------------------------------------------------------------

    def _open(self, record: SpanOpen, process: ProcessRow | None, now_ns: int) -> str | None:
        if record.key in self._spans.closed or self._is_over(record, process):
            return None
        if process is not None and disproved(record, process):
            return None
        if len(self.spans) >= self.limits.max_open_spans:
            return SPAN_CAP
        row = self._spans.add(record, process, now_ns)
        self._link(row, record, now_ns)
        if row.job is not None:
            self._parent_reports.drop_if_reported(row.job, now_ns)
        if record.owned is not None:
            self._jobs.set_owned(row, record)
        return None

    def _refresh(self, row: SpanRow, record: SpanOpen, process: ProcessRow | None, now_ns: int) -> None:
        self._spans.move(row, process)
        job, call = row.job, record.call
        if job is not None and (
            row.call is not call
            or row.expected_ns != record.expected_ns
            or row.sequence < 0
            or (job.state is not State.RUNNING and _is_changed(row.evidence, record.evidence))
        ):
            self._jobs.touch(job)
        row.sequence = record.origin.sequence
        row.name, row.kind, row.parent_id = record.name, record.kind, record.parent_id
        row.call, row.expected_ns = call, record.expected_ns
        if record.evidence is not None or row.evidence is not None:
            self._spans.keep_evidence(row, record.evidence)
        if record.foreign:
            return
        self._jobs.set_owned(row, record)
        if job is None or (job.span is row and not record.is_job):
            self._relink(row, record, now_ns)
        elif job.span is row:
            self._jobs.update(job, record, now_ns)

    def _tombstone(self, key: bytes, end: End, now_ns: int) -> None:
        self._spans.closed.put(key, bool(self._spans.closed.find(key)), now_ns)
        row = self.spans.get(key)
        if row is not None:
            self._close(row, end, now_ns)

    def _close(self, row: SpanRow, end: End, now_ns: int) -> None:
        job = row.job
        if job is not None and job.span is row:
            self._jobs.end(job, end, now_ns, killed=False)
            return
        self._spans.drop(row)
        if job is not None:
            row.job = None
            job.detach(row)
            self._jobs.touch(job)
            if job.span.sequence == UNSEEN and job.inside is None:
                self._jobs.end(job, End(Outcome.UNKNOWN, "", now_ns), now_ns, killed=False, shown=False)

    def _close_absent(self, process: ProcessRow, sequence: int, span_ids: bytes, now_ns: int) -> None:
        listed = split(span_ids)
        newest = sequence > process.last_full_sequence or sequence == NO_SEQUENCE
        for row in process.spans:
            if row.open and (row.sequence < sequence or sequence == NO_SEQUENCE) and row.span_id not in listed:
                if row.job is not None and row.job.parent is not None:
                    continue  # its parent's word: this process does not know of it
                self._close(row, End(Outcome.UNKNOWN, "", now_ns, is_inferred=True), now_ns)
        process.spans = [row for row in process.spans if row.open and row.process is process]
        if newest:
            process.last_full_sequence, process.last_full_list = sequence, span_ids

    # --- jobs ---------------------------------------------------------------------------------------------------

    def _relink(self, row: SpanRow, record: SpanOpen, now_ns: int) -> None:
        """Look again for the job of a span: it was in none, or a job of its own because others announced it first."""
        alone = row.job
        if alone is None:
            if record.is_job:
                self._link(row, record, now_ns)
        elif record.job_span_id is not None:
            job = self.jobs.get(row.key[:16] + record.job_span_id)
            if job is not None and job is not alone:
                self._foreign.merge(job, alone)

    def _link(self, row: SpanRow, record: SpanOpen, now_ns: int) -> None:
        """Find the job of a span that is new."""
        if record.foreign:
            if not self._foreign.join(row):
                self._jobs.create(row, record, now_ns)
            self._foreign.gather(row)
        elif record.is_job:
            self._jobs.create(row, record, now_ns)
        elif record.job_span_id is not None:
            job_key = row.key[:16] + record.job_span_id
            job = self.jobs.get(job_key)
            if job is None and job_key not in self._spans.closed:
                job = self._jobs.create_placeholder(job_key, row, record, now_ns)
            if job is not None:
                row.job = job
                job.attach(row)
                self._jobs.touch(job)

    def end_process(self, process: ProcessRow, outcome: Outcome, now_ns: int) -> None:
        """End all jobs of a process, and forget its other spans."""
        for row in process.spans:
            job = row.job
            if row.open and job is not None and job.span is row:
                # Not as killed: a record that comes after all (with a higher sequence) opens it again.
                self._jobs.end(job, End(outcome, "", now_ns), now_ns, killed=False)
                self.counts.ended(job, outcome)
        for row in process.spans:
            if row.open:
                self._close(row, End(outcome, "", now_ns), now_ns)
        process.spans = []

    # --- verdicts -----------------------------------------------------------------------------------------------

    def take_touched(self) -> list[JobRow]:
        """Return the jobs to be judged anew; the caller takes the mark (`dirty`) off each as it judges it."""
        touched, self._jobs.touched = self._jobs.touched, []
        return touched

    def touch(self, job: JobRow) -> None:
        """Have a job judged at the next tick."""
        self._jobs.touch(job)

    def apply_verdict(self, job: JobRow, state: State, suspect_state: SuspectState | None) -> None:
        """Apply a verdict to the counts."""
        self._jobs.apply_verdict(job, state, suspect_state)

    def check_process(self, process: ProcessRow, now_ns: int) -> Outcome | None:
        """Apply the silence of a process to its jobs; return the outcome if they ended by it."""
        outcome = None
        if process.silence is Silence.SHUTDOWN:
            outcome = Outcome.KILLED if self.processes.is_ended_alone(process) else Outcome.SHUTDOWN
        elif process.silence is Silence.LOST and self._is_given_up(process, now_ns):
            outcome = Outcome.LOST
        if outcome is not None:
            self.end_process(process, outcome, now_ns)
        else:
            for row in process.spans:
                if row.open and row.job is not None and row.job.span is row:
                    self._jobs.touch(row.job)
        return outcome

    def forget(self, now_ns: int) -> None:
        """Drop ended jobs and tombstones that were kept for long enough."""
        self._spans.closed.forget(now_ns)
        self._jobs.index.forget(now_ns)
        self._jobs.forget(now_ns)

    def _is_given_up(self, process: ProcessRow, now_ns: int) -> bool:
        return self.processes.silent_ns(process, now_ns) >= self.limits.lost_keep_ns

    # --- finding ------------------------------------------------------------------------------------------------

    def with_id(self, job_id: str) -> list[JobRow]:
        """Return the jobs, open or ended lately, that have this id: its attempts."""
        return self._jobs.index.with_id(job_id)

    def others(self, job: JobRow) -> list[JobRow]:
        """Return the other attempts of a job, open or ended lately."""
        return self._jobs.index.others(job)

    def _is_being_ended(self, key: bytes) -> bool:
        """Whether it is a job of a process that is being ended: how the job ends, its span does not know."""
        row = self.spans.get(key)
        if row is None or row.job is None or row.job.span is not row or row.process is None:
            return False
        return row.process.status is ProcessStatus.STOPPING

    def _is_over(self, record: SpanOpen, process: ProcessRow | None) -> bool:
        """Whether its job was killed, or a parent said that this attempt has ended, in this process."""
        if record.job_span_id is not None and self._spans.closed.find(record.key[:16] + record.job_span_id):
            return True
        return process is not None and self._jobs.index.is_over(record, process)


_HANDLERS: dict[type, Callable[[Tracker, Any, int], str | None]] = {
    SpanOpen: Tracker._span_open,
    SpanClosed: Tracker._span_closed,
    SpanFinished: Tracker._span_finished,
    ProcessState: Tracker._process_state,
    DurationCounts: Tracker._durations,
    JobEnded: Tracker._job_ended,
    JobAccepted: Tracker._job_accepted,
    CallSeen: Tracker._call_seen,
}


def _is_changed(before: Evidence | None, now: Evidence | None) -> bool:
    """Whether what is seen of a thread may change the verdict on a job that is already late."""
    if before is None or now is None:
        return before is not now
    return (
        before.function != now.function
        or before.line != now.line
        or _what_matters(before) != _what_matters(now)
        or (before.stack_age_ns or 0) // _MINUTE_NS != (now.stack_age_ns or 0) // _MINUTE_NS
    )


def _what_matters(evidence: Evidence) -> tuple[object, ...]:
    wait, lock, loop = evidence.wait, evidence.lock, evidence.loop
    return (
        wait and (wait.kind, wait.peer, wait.job_id, wait.session, wait.unbounded),
        lock and (lock.name, lock.holder_job_id, lock.certainty, lock.cycle),
        loop and loop.culprit,
        (evidence.cpu_ratio or 0.0) > _BUSY,
    )
