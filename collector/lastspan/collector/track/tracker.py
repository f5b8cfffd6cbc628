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
    Durations,
    JobAccepted,
    JobEnded,
    ProcessState,
    Signal,
    SpanClosed,
    SpanFinished,
    SpanOpen,
    State,
    Status,
)
from .accepted import Accepted
from .foreign import Foreign
from .jobs import Jobs
from .learn import Key, Learner, Learning
from .limits import Limits
from .processes import Processes
from .rows import UNSEEN, End, JobRow, ProcessRow, Silence, SpanRow, Trouble
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
        self._accepted = Accepted(self._spans, self._jobs, self.processes)
        # What others look at, under one roof.
        self.spans = self._spans.open
        self.jobs = self._jobs.open
        self.suspects = self._jobs.suspects
        self.ended = self._jobs.ended
        self.counts = self._jobs.counts
        self.wheel = self._jobs.wheel
        self.owners = self._jobs.owners

    @property
    def rooms(self) -> tuple[Spans, Jobs]:
        """What is behind it, for those who save and restore it."""
        return self._spans, self._jobs

    @property
    def evidence_bytes(self) -> int:
        """How much is kept of what was seen of threads."""
        return self._spans.evidence_bytes

    # --- what comes in ------------------------------------------------------------------------------------------

    def observe(self, signal: Signal, now_ns: int) -> str | None:
        """Take in one signal; return the reason if there is no room for it."""
        return _TAKERS[type(signal)](self, signal, now_ns)

    def _span_open(self, told: SpanOpen, now_ns: int) -> str | None:
        process = self.processes.hear(told.origin, now_ns)
        if process is None and told.origin.process_id is not None:
            return PROCESS_CAP
        row = self.spans.get(told.key)
        if row is None:
            return self._open(told, process, now_ns)
        start_ns = now_ns - told.age_ns
        if start_ns < row.start_ns:
            if row.job is not None and row.start_ns - start_ns > _EARLIER_NS:
                self.wheel.advance(row.job, row.start_ns - start_ns, now_ns)
            row.start_ns = start_ns
        sequence = told.origin.sequence
        if sequence > row.sequence or sequence == row.sequence == NO_SEQUENCE:
            self._refresh(row, told, process, now_ns)
        return None

    def _span_closed(self, told: SpanClosed, now_ns: int) -> None:
        self.processes.hear(told.origin, now_ns)
        self._bury(told.key, End(told.outcome, "", now_ns), now_ns)
        self._jobs.correct(told.key, told.outcome)

    def _span_finished(self, told: SpanFinished, now_ns: int) -> None:
        if self.wants(told) and not self._is_left(told.key):
            self._bury(told.key, End(told.outcome, "", now_ns, is_inferred=True), now_ns)

    def wants(self, told: SpanFinished) -> bool:
        """Of all the world's finished spans only those leave a trace that we knew, or that may be announced later."""
        return told.foreign or told.key in self.spans

    def _process_state(self, told: ProcessState, now_ns: int) -> str | None:
        process = self.processes.hear(told.origin, now_ns)
        if process is None:
            return PROCESS_CAP
        sequence = told.origin.sequence
        if told.complete:
            self._close_absent(process, sequence, told.span_ids, now_ns)
            self._accepted.close_absent(process, sequence, told.span_ids, now_ns)
        if sequence > process.state_sequence or sequence == NO_SEQUENCE:
            process.state_sequence = sequence
            self.processes.told(process, told, now_ns)
            if told.status is Status.STOPPED:
                for one in (process, *self.processes.left_behind(process)):
                    self.end_process(one, Outcome.SHUTDOWN, now_ns)
        return None

    def _durations(self, told: Durations, now_ns: int) -> str | None:
        process = self.processes.hear(told.origin, now_ns)
        if process is None:
            return PROCESS_CAP
        news = self.counts.durations(process, told)
        if news and told.outcome is Outcome.OK:
            resource = process.resource
            key = Key(resource.environment, resource.service, told.job_name, told.span_name, told.peer)
            self.learner.take(key, news, version=told.origin.resource.service_version, now_ns=now_ns)
        return None

    def _call_seen(self, told: CallSeen, now_ns: int) -> None:
        self.processes.hear(told.origin, now_ns)

    def _job_accepted(self, told: JobAccepted, now_ns: int) -> str | None:
        parent = self.processes.hear(told.origin, now_ns)
        if parent is None:
            return PROCESS_CAP
        return None if self._accepted.observe(told, parent, now_ns) else SPAN_CAP

    def _job_ended(self, told: JobEnded, now_ns: int) -> None:
        self.processes.hear(told.origin, now_ns)
        job = self._jobs.index.find_attempt(told)
        known = self._jobs.index.end_attempt(told, now_ns)
        end = End(told.outcome, told.reason, now_ns, told.signal, told.exit_code)
        if job is None:
            if not known:
                self._jobs.show_unknown(told, end, now_ns)
        elif job.end is None:
            self._jobs.end(job, end, now_ns, killed=True)
        else:  # the child said that it ended, which it has counted, or it is known from absence; its parent knows how
            if job.end.is_inferred:
                self.counts.ended(job, end.outcome)
            job.end = msgspec.structs.replace(end, at_ns=job.end.at_ns)

    # --- spans --------------------------------------------------------------------------------------------------

    def _open(self, told: SpanOpen, process: ProcessRow | None, now_ns: int) -> str | None:
        if told.key in self._spans.closed or self._is_over(told, process):
            return None
        if process is not None and disproved(told, process):
            return None
        if len(self.spans) >= self.limits.max_open_spans:
            return SPAN_CAP
        row = self._spans.add(told, process, now_ns)
        self._link(row, told, now_ns)
        if row.job is not None:
            self._accepted.spoken_of(row.job, now_ns)
        if told.owned is not None:
            self._jobs.own(row, told)
        return None

    def _refresh(self, row: SpanRow, told: SpanOpen, process: ProcessRow | None, now_ns: int) -> None:
        self._spans.move(row, process)
        job, call = row.job, told.call
        if job is not None and (
            row.call is not call
            or row.expected_ns != told.expected_ns
            or row.sequence < 0
            or (job.state is not State.RUNNING and _is_news(row.evidence, told.evidence))
        ):
            self._jobs.touch(job)
        row.sequence = told.origin.sequence
        row.name, row.kind, row.parent_id = told.name, told.kind, told.parent_id
        row.call, row.expected_ns = call, told.expected_ns
        if told.evidence is not None or row.evidence is not None:
            self._spans.keep_evidence(row, told.evidence)
        if told.foreign:
            return
        self._jobs.own(row, told)
        if job is None or (job.span is row and not told.is_job):
            self._relink(row, told, now_ns)
        elif job.span is row:
            self._jobs.retell(job, told, now_ns)

    def _bury(self, key: bytes, end: End, now_ns: int) -> None:
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
        newest = sequence > process.proof_sequence or sequence == NO_SEQUENCE
        for row in process.spans:
            if row.open and (row.sequence < sequence or sequence == NO_SEQUENCE) and row.span_id not in listed:
                if row.job is not None and row.job.parent is not None:
                    continue  # its parent's word: this process does not know of it
                self._close(row, End(Outcome.UNKNOWN, "", now_ns, is_inferred=True), now_ns)
        process.spans = [row for row in process.spans if row.open and row.process is process]
        if newest:
            process.proof_sequence, process.proof_ids = sequence, span_ids

    # --- jobs ---------------------------------------------------------------------------------------------------

    def _relink(self, row: SpanRow, told: SpanOpen, now_ns: int) -> None:
        """Look again for the job of a span: it was in none, or a job of its own because others announced it first."""
        alone = row.job
        if alone is None:
            if told.is_job:
                self._link(row, told, now_ns)
        elif told.job_span_id is not None:
            job = self.jobs.get(row.key[:16] + told.job_span_id)
            if job is not None and job is not alone:
                self._foreign.merge(job, alone)

    def _link(self, row: SpanRow, told: SpanOpen, now_ns: int) -> None:
        """Find the job of a span that is new."""
        if told.foreign:
            if not self._foreign.join(row):
                self._jobs.make(row, told, now_ns)
            self._foreign.gather(row)
        elif told.is_job:
            self._jobs.make(row, told, now_ns)
        elif told.job_span_id is not None:
            job_key = row.key[:16] + told.job_span_id
            job = self.jobs.get(job_key)
            if job is None and job_key not in self._spans.closed:
                job = self._jobs.make_placeholder(job_key, row, told, now_ns)
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

    def settle(self, job: JobRow, state: State, trouble: Trouble | None) -> None:
        """Take a verdict into the counts."""
        self._jobs.settle(job, state, trouble)

    def look_at(self, process: ProcessRow, now_ns: int) -> Outcome | None:
        """Draw the consequences of a process's silence; return the outcome if its jobs ended by it."""
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
        """Let go of what was kept for show or as a tombstone for long enough."""
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

    def _is_left(self, key: bytes) -> bool:
        """Whether it is a job of a process that is being ended: how the job ends, its span does not know."""
        row = self.spans.get(key)
        if row is None or row.job is None or row.job.span is not row or row.process is None:
            return False
        return row.process.status is Status.STOPPING

    def _is_over(self, told: SpanOpen, process: ProcessRow | None) -> bool:
        """Whether its job was killed, or a parent said that this attempt has ended, in this process."""
        if told.job_span_id is not None and self._spans.closed.find(told.key[:16] + told.job_span_id):
            return True
        return process is not None and self._jobs.index.is_over(told, process)


_TAKERS: dict[type, Callable[[Tracker, Any, int], str | None]] = {
    SpanOpen: Tracker._span_open,
    SpanClosed: Tracker._span_closed,
    SpanFinished: Tracker._span_finished,
    ProcessState: Tracker._process_state,
    Durations: Tracker._durations,
    JobEnded: Tracker._job_ended,
    JobAccepted: Tracker._job_accepted,
    CallSeen: Tracker._call_seen,
}


def _is_news(before: Evidence | None, now: Evidence | None) -> bool:
    """Whether what is seen of a thread may change the verdict on a job that is already late."""
    if before is None or now is None:
        return before is not now
    return (
        before.function != now.function
        or before.line != now.line
        or _gist(before) != _gist(now)
        or (before.stack_age_ns or 0) // _MINUTE_NS != (now.stack_age_ns or 0) // _MINUTE_NS
    )


def _gist(evidence: Evidence) -> tuple[object, ...]:
    wait, lock, loop = evidence.wait, evidence.lock, evidence.loop
    return (
        wait and (wait.kind, wait.peer, wait.job_id, wait.session, wait.unbounded),
        lock and (lock.name, lock.holder_job_id, lock.certainty, lock.cycle),
        loop and loop.culprit,
        (evidence.cpu_ratio or 0.0) > _BUSY,
    )
