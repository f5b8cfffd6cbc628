"""What is remembered: one row for an open span, a job, a process, a worker.

Rows are `msgspec` structures outside Python's garbage collector: small, and a million of them cost no collection. They
refer to each other in circles, so whoever removes a row cuts its references (`JobRow.detach_all`, `Tracker._forget`).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import msgspec

from lastspan.semconv.vocabulary import LOCK_WAITS, Outcome

from ..model.evidence import Evidence, OwnedByJob
from ..model.records import (
    NO_CALL,
    Call,
    Child,
    JobType,
    Kind,
    ProcessStall,
    ProcessStatus,
    Progress,
    Resource,
    Severity,
    State,
)

UNSEEN = -2
"""Sequence of a span that is known from its children only."""

MAX_JUDGED = 2000
"""Open spans of one job that are looked at; the oldest come first."""


class Silence(Enum):
    """What the silence of a process means."""

    NONE = "none"
    LOST = "lost"
    FROZEN = "frozen"
    SHUTDOWN = "shutdown"


class SpanRow(msgspec.Struct, gc=False, eq=False):
    """An open span."""

    key: bytes
    process: ProcessRow | None
    job: JobRow | None
    """None: in no job, or in one that has ended."""
    name: str
    kind: str
    parent_id: bytes | None
    start_ns: int
    """By our clock: the least of (arrival − age)."""
    sequence: int
    expected_ns: int | None = None
    call: Call = NO_CALL
    evidence: Evidence | None = None
    open: bool = True

    @property
    def span_id(self) -> bytes:
        """The 8 bytes of its span id."""
        return self.key[16:]

    @property
    def policy_kind(self) -> Kind:
        """What it does, as far as the policy cares."""
        if self.job is not None and self.job.span is self:
            return Kind.JOB
        return Kind.LOCK if self._waits_for_a_lock else self.call.kind

    @property
    def _waits_for_a_lock(self) -> bool:
        """Whether somebody holds what it waits for: a queue or an event has a name too, and may be empty for long."""
        wait, lock = (None, None) if self.evidence is None else (self.evidence.wait, self.evidence.lock)
        if lock is not None and lock.cycle:
            return True
        kind = None if wait is None else wait.kind
        return kind in LOCK_WAITS or (kind is None and lock is not None)


class End(msgspec.Struct, frozen=True, gc=False):
    """How and when a job ended."""

    outcome: Outcome
    reason: str
    at_ns: int
    signal: int | None = None
    exit_code: int | None = None
    is_inferred: bool = False
    """From absence, or from a finished span, which knows nothing of retries: what its process says goes before."""
    is_elsewhere: bool = False
    """It was lost, and has been started again in another process."""


class SuspectState(msgspec.Struct, gc=False, eq=False):
    """The state of a job that became stuck, lost or frozen; the rest of the verdict is judged again each time."""

    incident: str
    """Named as soon as it is plain what is in the way, and never anew while this lasts; empty: not yet."""
    cause: str
    last_span: str
    severity: Severity
    """The highest so far."""
    since_ns: int
    was_stuck: bool = False
    """Not only silent."""
    span: bytes = b""
    """Key of the last span where it is."""
    where: str = ""
    """Its `judge.place`."""
    done: float = 0.0
    """What `progress()` had said then."""
    moving_ns: int | None = None
    """Since when there has been what may be movement, or the same loop again; None: there is none."""


class JobRow(msgspec.Struct, gc=False, eq=False):
    """A job: its own span, and the open spans in it."""

    span: SpanRow
    type: JobType
    job_id: str
    attempt: int | None = None
    outer: JobRow | None = None
    """The job that this one runs in."""
    inside: SpanRow | dict[bytes, SpanRow] | None = None
    """Other open spans of the job; most have one or none, which costs nothing here."""
    moved_ns: int | None = None
    """When it last moved, by our clock; None: it never said."""
    progress: Progress | None = None
    state: State = State.RUNNING
    """The last verdict, for the counts; the truth is judged when it is asked for."""
    due: int = -1
    """Slot of the wheel in which it is judged next."""
    dirty: bool = False
    suspect_state: SuspectState | None = None
    end: End | None = None
    owned: OwnedByJob | None = None
    """What it keeps others from."""
    stuck_at: tuple[str, ...] = ()
    """Where it has been while it was stuck, this time and before: `judge.place`, the last 8."""
    parent: ProcessRow | None = None
    """The parent of its process, if only the parent has reported it."""

    def members(self) -> Iterator[SpanRow]:
        """Yield the open spans in the job, without its own."""
        match self.inside:
            case None:
                return
            case dict() as many:
                for index, span in enumerate(many.values()):
                    if index == MAX_JUDGED:
                        return
                    yield span
            case one:
                yield one

    def attach(self, span: SpanRow) -> None:
        """Take in an open span."""
        match self.inside:
            case None:
                self.inside = span
            case dict() as many:
                many[span.key] = span
            case one if one is not span:
                self.inside = {one.key: one, span.key: span}

    def detach(self, span: SpanRow) -> None:
        """Let a span go."""
        if self.inside is span:
            self.inside = None
        elif isinstance(self.inside, dict):
            self.inside.pop(span.key, None)
            if not self.inside:
                self.inside = None

    def size(self) -> int:
        """Return how many spans are in it, without its own."""
        return len(self.inside) if isinstance(self.inside, dict) else int(self.inside is not None)


GIL_TURNS = 6
"""Of the interpreter, that a report takes at most (measured: two to five)."""
STALL_GRACE_MAX_NS = 60_000_000_000
"""A machine that was suspended for a night is no reason to wait for two."""


class ProcessRow(msgspec.Struct, gc=False, eq=False):
    """A process that reports."""

    id: str
    resource: Resource
    interval_ns: int
    heard_ns: int
    """Arrival of its last record."""
    first_ns: int
    status: ProcessStatus = ProcessStatus.RUNNING
    silence: Silence = Silence.NONE
    state_sequence: int = -1
    """Of its newest `process.state`."""
    last_full_sequence: int = -1
    """Of its newest complete list of open spans: what that one lacks, and is not newer, is closed."""
    last_full_list: bytes | frozenset[bytes] = b""
    children: dict[int, Child] = {}
    """Its children that run jobs, by pid."""
    stall: ProcessStall | None = None
    """It could not run for a while."""
    stalled_at_ns: int = 0
    """When it reported the stall."""
    frameworks: tuple[str, ...] = ()
    """Job frameworks that are loaded in it, and whose jobs are not seen."""
    spans: list[SpanRow] = []
    """Its open spans, and some that have closed since the last `process.state`."""
    accepted: list[SpanRow] = []
    """Jobs that its children accepted and have not reported themselves; and some that have ended."""
    live: int = 0
    """How many of `spans` are open."""
    worker: WorkerRow | None = None
    due: int = -1
    """Slot of the wheel in which its silence is looked at next."""
    quiet_since_ns: int | None = None
    """When it was first overdue; not yet silent."""
    durations: dict[DurationKey, DurationRow] | None = None
    foreign: bool = False
    is_expected: bool = False
    """It has never reported: its parent reports that it accepted a job."""

    @property
    def stall_grace_ns(self) -> int:
        """How much longer it may be silent: it last reported that native code stalled it.

        Each report needs a few turns of the interpreter, and each may take as long again.
        """
        if self.stall is None or self.heard_ns - self.stalled_at_ns > self.interval_ns:
            return 0
        return min(GIL_TURNS * self.stall.for_ns, STALL_GRACE_MAX_NS)


class DurationRow(msgspec.Struct, gc=False, eq=False):
    """The last cumulative counts that a process told."""

    count: int = 0
    runs: bytes = b""
    """By duration; see `sketch.packed`."""
    sum_seconds: float = 0.0


DurationKey = tuple[str, str, str | None, str | None, str]
"""Job name, queue, span name (None: the job), outcome (None: the counts of starts), whom the span calls."""


class WorkerRow(msgspec.Struct, eq=False):
    """A parent process and its children."""

    processes: dict[str, ProcessRow] = {}
