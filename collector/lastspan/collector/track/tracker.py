"""Remembers what is open. Records come late, twice, out of order or not at all; see DESIGN, "Order, loss, duplication".

No clock and no I/O: the caller says what time it is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ..model import (
    NO_SEQUENCE,
    SUSPECT,
    Durations,
    Evidence,
    JobEnded,
    JobType,
    ProcessState,
    Signal,
    SpanClosed,
    SpanFinished,
    SpanOpen,
    State,
    Status,
)
from .counts import Counts
from .generations import Generations
from .processes import Processes
from .rows import UNSEEN, End, JobRow, ProcessRow, Silence, SpanRow, Trouble
from .wheel import Wheel

_TOMBSTONE_NS = 15 * 60 * 1_000_000_000
_EARLIER_NS = 100_000_000
"""A start that moves back by less, or a movement that is news by less, changes no verdict."""
_MINUTE_NS = 60_000_000_000
_MERGED = 1000
"""Spans of a foreign job that are moved to another one; a bigger job stays on its own."""
_KEPT = 100
"""Open spans that are kept for show with a job that was killed."""


class Limits(msgspec.Struct, frozen=True):
    """What bounds the memory, and for how long things are kept."""

    max_open_spans: int = 1_000_000
    max_processes: int = 200_000
    max_types: int = 2000
    max_ended: int = 10_000
    max_tombstones: int = 500_000
    evidence_bytes: int = 16_384
    """Of one span: a longer stack loses its outer frames."""
    evidence_total: int = 256 * 1024 * 1024
    """Of all spans: beyond it, stacks are not kept."""
    silent_after: float = 3.0
    """Report intervals."""
    lost_keep_ns: int = 3_600_000_000_000
    ended_keep_ns: int = _TOMBSTONE_NS


SPAN_CAP = "span_cap"
PROCESS_CAP = "process_cap"

_Attempt = tuple[str, str, int | None, int | None, str | None]
"""(system, job id, attempt, pid, worker id): one attempt of a job in one process."""


class Tracker:
    """Open spans, jobs and processes."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.spans: dict[bytes, SpanRow] = {}
        self.jobs: dict[bytes, JobRow] = {}
        """Open jobs by the key of their span."""
        self.suspects: dict[bytes, JobRow] = {}
        """Stuck, lost and frozen jobs, the first found first."""
        self.ended: OrderedDict[bytes, JobRow] = OrderedDict()
        """Jobs that ended lately, for show."""
        self.processes = Processes(
            silent_after=limits.silent_after, forget_after_ns=limits.lost_keep_ns, limit=limits.max_processes
        )
        self.counts = Counts(max_types=limits.max_types)
        self.wheel: Wheel[JobRow] = Wheel()
        self.evidence_bytes = 0
        self.touched: list[JobRow] = []
        """Jobs of which something has changed that may change the verdict."""
        self._by_id: dict[str, JobRow | list[JobRow]] = {}
        self._closed: Generations[bytes, bool] = Generations(keep_ns=_TOMBSTONE_NS, limit=limits.max_tombstones)
        """Tombstones of spans; True: of a job that was killed, with all that was open in it."""
        self._attempts: Generations[_Attempt, bool] = Generations(keep_ns=_TOMBSTONE_NS, limit=limits.max_tombstones)
        self._waiting: dict[bytes, dict[bytes, SpanRow]] = {}
        """Foreign spans by the key of a parent that is not known (yet)."""

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
        self._bury(told.key, told.outcome, now_ns)

    def _span_finished(self, told: SpanFinished, now_ns: int) -> None:
        # Of all the world's finished spans only those leave a trace here that we knew, or that may be announced later.
        if told.foreign or told.key in self.spans:
            self._bury(told.key, told.outcome, now_ns)

    def _process_state(self, told: ProcessState, now_ns: int) -> str | None:
        process = self.processes.hear(told.origin, now_ns)
        if process is None:
            return PROCESS_CAP
        sequence = told.origin.sequence
        if told.complete:
            self._close_absent(process, sequence, told.span_ids, now_ns)
        if sequence > process.state_sequence or sequence == NO_SEQUENCE:
            process.state_sequence = sequence
            self.processes.told(process, told)
            if told.status is Status.STOPPED:
                self._end_process(process, "shutdown", now_ns)
        return None

    def _durations(self, told: Durations, now_ns: int) -> str | None:
        process = self.processes.hear(told.origin, now_ns)
        if process is None:
            return PROCESS_CAP
        self.counts.durations(process, told)
        return None

    def _job_ended(self, told: JobEnded, now_ns: int) -> None:
        self.processes.hear(told.origin, now_ns)
        attempt = (told.system, told.job_id, told.attempt, told.pid, told.origin.resource.worker_id)
        job = self._find_attempt(told)
        known = attempt in self._attempts
        self._attempts.put(attempt, True, now_ns)
        end = End(told.outcome, told.reason, now_ns, told.signal, told.exit_code)
        if job is None:
            if not known:
                self._show_unknown(told, end, now_ns)
        elif job.end is None:
            self._end_job(job, end, now_ns, killed=True)
        else:  # the child said that it ended; its parent knows how
            job.end = msgspec.structs.replace(end, at_ns=job.end.at_ns)

    # --- spans --------------------------------------------------------------------------------------------------

    def _open(self, told: SpanOpen, process: ProcessRow | None, now_ns: int) -> str | None:
        if told.key in self._closed or self._is_over(told, process):
            return None
        if process is not None and _disproved(told, process):
            return None
        if len(self.spans) >= self.limits.max_open_spans:
            return SPAN_CAP
        row = SpanRow(
            told.key,
            process,
            None,
            told.name,
            told.kind,
            told.parent_id,
            now_ns - told.age_ns,
            told.origin.sequence,
            told.expected_ns,
            told.call,
        )
        self.spans[told.key] = row
        _adopt(process, row)
        if told.evidence is not None:
            self._keep_evidence(row, told.evidence)
        self._link(row, told, now_ns)
        return None

    def _refresh(self, row: SpanRow, told: SpanOpen, process: ProcessRow | None, now_ns: int) -> None:
        if process is not row.process or row.sequence == UNSEEN:
            _abandon(row)
            row.process = process
            _adopt(process, row)
        job, call = row.job, told.call
        if job is not None and (
            row.call is not call
            or row.expected_ns != told.expected_ns
            or row.sequence < 0
            or (job.state is not State.RUNNING and _is_news(row.evidence, told.evidence))
        ):
            self.touch(job)
        row.sequence = told.origin.sequence
        row.name, row.kind, row.parent_id = told.name, told.kind, told.parent_id
        row.call, row.expected_ns = call, told.expected_ns
        if told.evidence is not None or row.evidence is not None:
            self._keep_evidence(row, told.evidence)
        if told.foreign:
            return
        if job is None or (job.span is row and not told.is_job):
            self._relink(row, told, now_ns)
        elif job.span is row:
            self._retell(job, told, now_ns)

    def _bury(self, key: bytes, outcome: str, now_ns: int) -> None:
        self._closed.put(key, bool(self._closed.find(key)), now_ns)
        row = self.spans.get(key)
        if row is not None:
            self._close(row, End(outcome, "", now_ns), now_ns)

    def _close(self, row: SpanRow, end: End, now_ns: int) -> None:
        job = row.job
        if job is not None and job.span is row:
            self._end_job(job, end, now_ns, killed=False)
            return
        self._drop(row)
        if job is not None:
            row.job = None
            job.detach(row)
            self.touch(job)
            if job.span.sequence == UNSEEN and job.inside is None:
                self._end_job(job, End("unknown", "", now_ns), now_ns, killed=False, shown=False)

    def _drop(self, row: SpanRow) -> None:
        """Take a span out of all that finds it; its job is the caller's."""
        if self.spans.pop(row.key, None) is None:
            return
        _abandon(row)
        row.open = False
        if row.evidence is not None:
            self.evidence_bytes -= row.evidence.size()
        if row.sequence == NO_SEQUENCE and row.parent_id is not None:
            self._stop_waiting(row)

    def _close_absent(self, process: ProcessRow, sequence: int, span_ids: bytes, now_ns: int) -> None:
        listed = _split(span_ids)
        newest = sequence > process.proof_sequence or sequence == NO_SEQUENCE
        for row in process.spans:
            if row.open and (row.sequence < sequence or sequence == NO_SEQUENCE) and row.span_id not in listed:
                self._close(row, End("unknown", "", now_ns), now_ns)
        process.spans = [row for row in process.spans if row.open and row.process is process]
        if newest:
            process.proof_sequence, process.proof_ids = sequence, span_ids

    def _keep_evidence(self, row: SpanRow, evidence: Evidence | None) -> None:
        before = 0 if row.evidence is None else row.evidence.size()
        after = 0 if evidence is None else evidence.size()
        if evidence is not None and after:
            if after > self.limits.evidence_bytes:
                evidence = _trim(evidence, self.limits.evidence_bytes)
                after = evidence.size()
            if self.evidence_bytes - before + after > self.limits.evidence_total:
                evidence, after = msgspec.structs.replace(evidence, stacktrace=None), 0
        self.evidence_bytes += after - before
        row.evidence = evidence

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
                self._merge(job, alone)

    def _link(self, row: SpanRow, told: SpanOpen, now_ns: int) -> None:
        """Find the job of a span that is new."""
        if told.foreign:
            self._link_foreign(row, told, now_ns)
        elif told.is_job:
            self._make_job(row, told, now_ns)
        elif told.job_span_id is not None:
            job_key = row.key[:16] + told.job_span_id
            job = self.jobs.get(job_key)
            if job is None and job_key not in self._closed:
                job = self._make_placeholder(job_key, row, told, now_ns)
            if job is not None:
                row.job = job
                job.attach(row)
                self.touch(job)

    def _make_job(self, row: SpanRow, told: SpanOpen, now_ns: int) -> JobRow:
        job = JobRow(row, told.type, told.job_id or row.span_id.hex(), told.attempt)
        row.job = job
        reopened = self.ended.pop(row.key, None)
        if reopened is not None:
            self._release(reopened)
        self.jobs[row.key] = job
        self.counts.enter(job, State.RUNNING)
        self._index(job)
        self._retell(job, told, now_ns)
        self._end_lost_twins(job, now_ns)
        self.touch(job)
        return job

    def _make_placeholder(self, key: bytes, child: SpanRow, told: SpanOpen, now_ns: int) -> JobRow:
        """Make a job that only a child of it has spoken of; its own record fills it in."""
        row = SpanRow(key, child.process, None, told.type.name, "", None, child.start_ns, UNSEEN)
        self.spans[key] = row
        return self._make_job(row, told, now_ns)

    def _retell(self, job: JobRow, told: SpanOpen, now_ns: int) -> None:
        """Take the facts of a job from a record."""
        if told.type is not job.type and not told.foreign:
            self.counts.retype(job, told.type)
        if told.job_id is not None and told.job_id != job.job_id:
            self._unindex(job)
            job.job_id = told.job_id
            self._index(job)
        if told.attempt is not None:
            job.attempt = told.attempt
        if job.span.key != told.key:
            return
        moved_ns = None if told.movement_ns is None else now_ns - told.movement_ns
        if job.state is not State.RUNNING and (moved_ns or 0) > (job.moved_ns or 0) + _EARLIER_NS:
            self.touch(job)
        job.moved_ns = moved_ns
        if told.progress is not None:
            if job.progress is not None and told.progress.done > job.progress.done:
                moved_ns = now_ns - (told.progress.age_ns or 0)
                job.moved_ns = moved_ns if job.moved_ns is None else max(job.moved_ns, moved_ns)
                self.touch(job)
            job.progress = told.progress
        if job.outer is None and told.outer_span_id is not None:
            self._nest(job, told.outer_span_id)

    def _nest(self, job: JobRow, outer_span_id: bytes) -> None:
        outer = self.jobs.get(job.span.key[:16] + outer_span_id)
        if outer is not None and outer is not job:
            job.outer = outer
            outer.attach(job.span)
            self.touch(outer)

    def _end_job(self, job: JobRow, end: End, now_ns: int, *, killed: bool, shown: bool = True) -> None:
        """End a job. If it was *killed* its open spans end with it, and nothing of it opens again."""
        if job.end is not None:
            return
        self.settle(job, State.ENDED, None)
        job.end = end
        self.jobs.pop(job.span.key, None)
        inside = list(_all_inside(job))
        self._drop(job.span)
        for span in inside:
            if span.job is not job:
                self._unnest(span, end, now_ns, killed=killed)
            elif killed:
                self._drop(span)
                self._closed.put(span.key, False, now_ns)
            else:
                span.job = None
        if killed:
            self._closed.put(job.span.key, True, now_ns)
            self.counts.ended(job, end.outcome)
        job.inside = {span.key: span for span in inside[:_KEPT]} if killed and inside else None
        if job.outer is not None:
            job.outer.detach(job.span)
            self.touch(job.outer)
            job.outer = None
        if shown:
            self._show(job)
        else:
            self._unindex(job)
            job.span.job = None

    def _unnest(self, span: SpanRow, end: End, now_ns: int, *, killed: bool) -> None:
        inner = span.job
        if inner is None:
            return
        inner.outer = None
        if killed and inner.span.process is span.process:
            self._end_job(inner, end, now_ns, killed=True)

    def _show(self, job: JobRow) -> None:
        self.ended[job.span.key] = job
        while len(self.ended) > self.limits.max_ended:
            _, oldest = self.ended.popitem(last=False)
            self._release(oldest)

    def _show_unknown(self, told: JobEnded, end: End, now_ns: int) -> None:
        """Show the end of a job that was never announced."""
        resource = told.origin.resource
        type = JobType(
            resource.service, resource.environment, told.name, told.queue, told.system, None, None, None, None
        )
        key = told.key or f"{told.job_id}/{told.attempt}/{told.pid}".encode()
        row = SpanRow(key, None, None, told.name, "", None, now_ns, UNSEEN, open=False)
        job = JobRow(row, type, told.job_id, told.attempt, state=State.ENDED, end=end)
        row.job = job
        if told.key is not None:
            self._closed.put(told.key, True, now_ns)
        self._index(job)
        self.counts.ended(job, told.outcome)
        self._show(job)

    def _release(self, job: JobRow) -> None:
        """Cut the circle of an ended job."""
        self._unindex(job)
        job.span.job = None
        for span in _all_inside(job):
            span.job = None
        job.inside = None

    def _end_process(self, process: ProcessRow, outcome: str, now_ns: int) -> None:
        """End all jobs of a process, and forget its other spans."""
        for row in process.spans:
            job = row.job
            if row.open and job is not None and job.span is row:
                # Not as killed: a record that comes after all (with a higher sequence) opens it again.
                self._end_job(job, End(outcome, "", now_ns), now_ns, killed=False)
                self.counts.ended(job, outcome)
        for row in process.spans:
            if row.open:
                self._close(row, End(outcome, "", now_ns), now_ns)
        process.spans = []

    def _end_lost_twins(self, job: JobRow, now_ns: int) -> None:
        """End the lost ones of which this is the next attempt: the queue gave the job out again."""
        for other in self.with_id(job.job_id):
            if other is not job and other.state is State.LOST and other.type.system == job.type.system:
                self._end_job(other, End("lost", "it was started again elsewhere", now_ns), now_ns, killed=True)

    # --- other people's spans -----------------------------------------------------------------------------------

    def _link_foreign(self, row: SpanRow, told: SpanOpen, now_ns: int) -> None:
        """A span whose parent is not known is a job; children find their parent in any order of arrival."""
        parent_key = None if row.parent_id is None else row.key[:16] + row.parent_id
        parent = None if parent_key is None else self.spans.get(parent_key)
        if parent is not None:
            job = row.job = parent.job
            if job is not None:
                job.attach(row)
                self.touch(job)
        else:
            job = self._make_job(row, told, now_ns)
            if parent_key is not None:
                self._waiting.setdefault(parent_key, {})[row.key] = row
        for child in self._waiting.pop(row.key, {}).values():
            if job is not None and child.job is not None and child.job.span is child and child.job is not job:
                self._merge(job, child.job)

    def _merge(self, job: JobRow, inner: JobRow) -> None:
        """Make a foreign job, whose parent has turned up, part of its parent's job."""
        if inner.size() > _MERGED:
            return
        self.settle(inner, State.ENDED, None)
        self.jobs.pop(inner.span.key, None)
        self._unindex(inner)
        for span in [inner.span, *_all_inside(inner)]:
            span.job = job
            job.attach(span)
        inner.inside = None
        inner.end = End("unknown", "", 0)
        self.touch(job)

    def _stop_waiting(self, row: SpanRow) -> None:
        parent_key = row.key[:16] + (row.parent_id or b"")
        waiting = self._waiting.get(parent_key)
        if waiting is not None:
            waiting.pop(row.key, None)
            if not waiting:
                del self._waiting[parent_key]

    # --- verdicts -----------------------------------------------------------------------------------------------

    def touch(self, job: JobRow) -> None:
        """Have a job judged at the next tick."""
        if not job.dirty:
            job.dirty = True
            self.touched.append(job)

    def settle(self, job: JobRow, state: State, trouble: Trouble | None) -> None:
        """Take a verdict into the counts."""
        if job.trouble is not trouble:
            self.counts.trouble(job, trouble)
        self.counts.move(job, state)
        if state in SUSPECT:
            self.suspects[job.span.key] = job
        else:
            self.suspects.pop(job.span.key, None)

    def look_at(self, process: ProcessRow, now_ns: int) -> None:
        """Draw the consequences of a process's silence."""
        if process.silence is Silence.SHUTDOWN:
            self._end_process(process, "shutdown", now_ns)
        elif process.silence is Silence.LOST and self._is_given_up(process, now_ns):
            self._end_process(process, "lost", now_ns)
        else:
            for row in process.spans:
                if row.open and row.job is not None and row.job.span is row:
                    self.touch(row.job)

    def forget(self, now_ns: int) -> None:
        """Let go of what was kept for show or as a tombstone for long enough."""
        self._closed.forget(now_ns)
        self._attempts.forget(now_ns)
        while self.ended:
            job = next(iter(self.ended.values()))
            if job.end is None or now_ns - job.end.at_ns < self.limits.ended_keep_ns:
                return
            self.ended.popitem(last=False)
            self._release(job)

    def _is_given_up(self, process: ProcessRow, now_ns: int) -> bool:
        return self.processes.silent_ns(process, now_ns) >= self.limits.lost_keep_ns

    # --- finding ------------------------------------------------------------------------------------------------

    def with_id(self, job_id: str) -> list[JobRow]:
        """Return the jobs, open or ended lately, that have this id: its attempts."""
        found = self._by_id.get(job_id)
        return [] if found is None else list(found) if isinstance(found, list) else [found]

    def _index(self, job: JobRow) -> None:
        found = self._by_id.get(job.job_id)
        if found is None:
            self._by_id[job.job_id] = job
        elif isinstance(found, list):
            found.append(job)
        else:
            self._by_id[job.job_id] = [found, job]

    def _unindex(self, job: JobRow) -> None:
        rest = [other for other in self.with_id(job.job_id) if other is not job]
        if rest:
            self._by_id[job.job_id] = rest
        else:
            self._by_id.pop(job.job_id, None)

    def _find_attempt(self, told: JobEnded) -> JobRow | None:
        """Return the job that a parent speaks of: an open one rather than one that has ended."""
        found = None
        for job in self.with_id(told.job_id):
            resource = job.span.process.resource if job.span.process is not None else None
            if (
                job.type.system == told.system
                and _fits(job.attempt, told.attempt)
                and (resource is None or _fits(resource.pid, told.pid))
                and (resource is None or _fits(resource.worker_id, told.origin.resource.worker_id))
            ):
                found = job
                if job.end is None:
                    break
        return found

    def _is_over(self, told: SpanOpen, process: ProcessRow | None) -> bool:
        """Whether its job was killed, or a parent said that this attempt has ended, in this process."""
        if told.job_span_id is not None and self._closed.find(told.key[:16] + told.job_span_id):
            return True
        if told.job_id is None or process is None or not len(self._attempts):
            return False
        system, pid, worker_id = told.type.system, process.resource.pid, process.resource.worker_id
        return any(
            (system, told.job_id, attempt, told_pid, worker_id) in self._attempts
            for attempt in {told.attempt, None}
            for told_pid in {pid, None}
        )


_TAKERS: dict[type, Callable[[Tracker, Any, int], str | None]] = {
    SpanOpen: Tracker._span_open,
    SpanClosed: Tracker._span_closed,
    SpanFinished: Tracker._span_finished,
    ProcessState: Tracker._process_state,
    Durations: Tracker._durations,
    JobEnded: Tracker._job_ended,
}


def _adopt(process: ProcessRow | None, row: SpanRow) -> None:
    if process is None:
        return
    if len(process.spans) > 2 * process.live + 64:  # no `process.state` comes to tidy up
        process.spans = [span for span in process.spans if span.open and span.process is process]
    process.spans.append(row)
    process.live += 1


def _abandon(row: SpanRow) -> None:
    if row.process is not None and row.sequence != UNSEEN:
        row.process.live -= 1


def _disproved(told: SpanOpen, process: ProcessRow) -> bool:
    """Whether a later, complete list of the process's open spans lacks this one."""
    if not 0 <= told.origin.sequence < process.proof_sequence:
        return False
    if isinstance(process.proof_ids, bytes):
        process.proof_ids = _split(process.proof_ids)
    return told.key[16:] not in process.proof_ids


def _split(span_ids: bytes) -> frozenset[bytes]:
    return frozenset(span_ids[index : index + 8] for index in range(0, len(span_ids), 8))


def _is_news(before: Evidence | None, now: Evidence | None) -> bool:
    """Whether what is seen of a thread may change the verdict on a job that is already late."""
    if before is None or now is None:
        return before is not now
    return (
        before.function != now.function
        or before.line != now.line
        or before.wait_kind != now.wait_kind
        or before.lock_name != now.lock_name
        or before.lock_holder_job_id != now.lock_holder_job_id
        or (before.stack_age_ns or 0) // _MINUTE_NS != (now.stack_age_ns or 0) // _MINUTE_NS
    )


def _trim(evidence: Evidence, limit: int) -> Evidence:
    return msgspec.structs.replace(evidence, stacktrace="…\n" + (evidence.stacktrace or "")[-limit:])


def _fits(ours: object, theirs: object) -> bool:
    return ours is None or theirs is None or ours == theirs


def _all_inside(job: JobRow) -> Iterator[SpanRow]:
    match job.inside:
        case None:
            return iter(())
        case dict() as many:
            return iter(many.values())
        case one:
            return iter((one,))
