"""The state as plain values, and back: what a snapshot holds beside what processes would say again.

Like signals these carry ages, never timestamps, so they are good under any clock. What is open is saved as the very
signals that opened it; so restoring it is observing it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeAlias, TypeVar

import msgspec

from lastspan.semconv.vocabulary import Outcome

from ..model.records import (
    NO_SEQUENCE,
    Child,
    JobAccepted,
    JobType,
    Origin,
    ProcessStall,
    ProcessStatus,
    Resource,
    Severity,
    Signal,
    SpanOpen,
    State,
)
from ..model.sketch import Histogram
from .counts import Series
from .jobs import all_inside
from .learn import NO_RUN, LearnedKey, LearnedRow
from .rows import UNSEEN, DurationRow, End, JobRow, ProcessRow, Silence, SpanRow, SuspectState
from .tracker import Tracker

CHUNK = 250
"""Rows between two pauses of a snapshot: a few milliseconds."""

T = TypeVar("T")


class SavedVerdict(msgspec.Struct, frozen=True):
    """A verdict that changed what is counted, or an outer job."""

    key: bytes
    state: State
    suspect_state: SuspectState | None
    """`since_ns` is an age here."""
    counted: bool = False
    """It counts as one more that became stuck."""
    outer: bytes | None = None
    stuck_at: tuple[str, ...] = ()
    incident_pages: bool = False
    """Its incident is a page, if only by a job that is gone."""


class SavedSilence(msgspec.Struct, frozen=True):
    """The silence of a process means something else than before."""

    process_id: str
    silence: Silence


class SavedProcessEnd(msgspec.Struct, frozen=True):
    """All jobs of a process ended because it was silent for too long, or shut down."""

    process_id: str
    outcome: Outcome


class SavedReset(msgspec.Struct, frozen=True):
    """Somebody reset what was learned."""

    keys: tuple[LearnedKey, ...]


class SavedLearned(msgspec.Struct, frozen=True):
    """What was learned by one key; also the form in which it is exported."""

    environment: str
    """`deployment.environment.name` of the workers."""
    service: str
    """`service.name` of the workers."""
    job_name: str
    """The task's or function's name."""
    span_name: str | None
    """The call in it; null: the job as a whole."""
    runs: tuple[tuple[int, float], ...]
    """(bucket, weight)."""
    aside: tuple[tuple[int, float], ...] = ()
    """The same of runs that are put aside: they took far longer than allowed."""
    versions: tuple[str, ...] = ()
    """Versions of the service that have spoken, the newest first."""
    age_ns: int = 0
    """Since its weights were faded."""
    aside_age_ns: int = 0
    """Since the first of the runs that are put aside."""
    slow: float = 0.0
    """Share of the recent runs that took far longer than allowed."""
    trusted: float = 0.0
    """So many runs to come count though they are slow."""
    longest: float = NO_RUN
    """The bucket of the longest run; it fades, so it is not whole."""
    second: float = NO_RUN
    """Of the longest but one."""
    peer: str = ""
    """Whom the span calls; empty: nobody, or told by a worker that did not say."""

    @property
    def key(self) -> LearnedKey:
        """What it was learned by."""
        return LearnedKey(self.environment, self.service, self.job_name, self.span_name, self.peer)


class SavedDurations(msgspec.Struct, frozen=True):
    """The cumulative counts that a process last reported."""

    origin: Origin
    rows: tuple[tuple[str, str, str | None, str | None, int, bytes, float], ...]
    """Job name, queue, span name, outcome; count, packed runs, sum of seconds."""
    peers: tuple[str, ...] = ()
    """Whom the span of each row calls; empty: written before they were told apart."""


class SavedSeries(msgspec.Struct, frozen=True):
    """The counters of one series."""

    environment: str
    service: str
    job_name: str
    queue: str
    type: JobType | None
    started: int
    ended: dict[str, int]
    stuck_total: dict[str, int]
    buckets: tuple[int, ...]
    sum_seconds: float


class SavedProcess(msgspec.Struct, frozen=True):
    """What is known of a process beside its spans."""

    origin: Origin
    heard_age_ns: int
    first_age_ns: int
    status: ProcessStatus
    silence: Silence
    state_sequence: int
    last_full_sequence: int
    last_full_list: bytes
    children: dict[int, Child]
    stall: ProcessStall | None
    stalled_age_ns: int
    foreign: bool


class SavedEnded(msgspec.Struct, frozen=True):
    """A job that ended lately, for show."""

    span: SpanOpen
    inside: tuple[SpanOpen, ...]
    end: End
    """`at_ns` is an age here."""


class SavedTombstones(msgspec.Struct, frozen=True):
    """Spans and attempts that are over."""

    young: bool
    age_ns: int
    """Of the young generation."""
    spans: tuple[tuple[bytes, bool], ...] = ()
    attempts: tuple[tuple[str, str, int | None, int | None, str | None], ...] = ()


Saved: TypeAlias = (
    SavedVerdict
    | SavedSilence
    | SavedProcessEnd
    | SavedReset
    | SavedLearned
    | SavedDurations
    | SavedSeries
    | SavedProcess
    | SavedEnded
    | SavedTombstones
)


# --- saving ---------------------------------------------------------------------------------------------------------


def save(tracker: Tracker, clock: Callable[[], int]) -> Iterator[tuple[int, list[Saved | SpanOpen | JobAccepted]]]:
    """Yield the whole state in chunks, each with the time at which it was read; records may be taken in between.

    The counters come first and at once, so that they agree with each other. All else may be older or newer by the time
    it takes: whatever is observed meanwhile is in the log, and to observe it again changes nothing.
    """
    now_ns = clock()
    yield now_ns, [*_durations(tracker), *_series(tracker), *learned(tracker.learner.rows.items(), now_ns)]
    for rows in _chunks(tracker.ended.values()):
        now_ns = clock()
        yield now_ns, [_ended(job, now_ns) for job in rows]
    for keys in _chunks(tracker.spans):
        now_ns, found = clock(), (tracker.spans.get(key) for key in keys)
        yield now_ns, [_records_of(row, now_ns) for row in found if row is not None and row.sequence != UNSEEN]
    for keys in _chunks(tracker.jobs):
        now_ns, jobs = clock(), (tracker.jobs.get(key) for key in keys)
        yield now_ns, [_saved_verdict(tracker, job, now_ns) for job in jobs if job is not None and _has_verdict(job)]
    for ids in _chunks(tracker.processes.rows):
        now_ns, processes = clock(), (tracker.processes.rows.get(id) for id in ids)
        yield now_ns, [_process(row, now_ns) for row in processes if row is not None]
    for saved in _tombstones(tracker, clock):
        yield clock(), [saved]


def _has_verdict(job: JobRow) -> bool:
    return job.state is not State.RUNNING or job.outer is not None or bool(job.stuck_at)


def saved_verdict(job: JobRow, now_ns: int, *, counted: bool = False) -> SavedVerdict:
    """Return the verdict on a job as it is counted."""
    suspect_state, outer = job.suspect_state, job.outer
    if suspect_state is not None:
        suspect_state = _aged(suspect_state, now_ns)
    return SavedVerdict(
        job.span.key, job.state, suspect_state, counted, None if outer is None else outer.span.key, job.stuck_at
    )


def _saved_verdict(tracker: Tracker, job: JobRow, now_ns: int) -> SavedVerdict:
    incident = None if job.suspect_state is None else tracker.counts.incidents.get(job.suspect_state.incident)
    is_page = incident is not None and incident.severity is Severity.PAGE
    return msgspec.structs.replace(saved_verdict(job, now_ns), incident_pages=is_page)


def _aged(suspect_state: SuspectState, now_ns: int) -> SuspectState:
    """Return it with ages for times, or with times for ages."""
    moving_ns = None if suspect_state.moving_ns is None else now_ns - suspect_state.moving_ns
    return msgspec.structs.replace(suspect_state, since_ns=now_ns - suspect_state.since_ns, moving_ns=moving_ns)


def _records_of(row: SpanRow, now_ns: int) -> SpanOpen | JobAccepted:
    """Return the record that would make this row: of its process, or of the parent of that."""
    told, job = record_of(row, now_ns), row.job
    pid = None if row.process is None else row.process.resource.pid
    if job is None or job.parent is None or pid is None:
        return told
    origin = _origin(job.parent, row.sequence)
    return JobAccepted(row.key, origin, job.type, job.job_id, job.attempt, pid, told.age_ns, row.expected_ns)


def record_of(row: SpanRow, now_ns: int) -> SpanOpen:
    """Return the record that would make this row."""
    job = row.job
    is_job = job is not None and job.span is row
    is_foreign = row.sequence == NO_SEQUENCE
    own = job if is_job else None
    return SpanOpen(
        key=row.key,
        origin=_origin(row.process, row.sequence),
        type=_NO_TYPE if job is None else job.type,
        call=row.call,
        progress=None if own is None else own.progress,
        evidence=row.evidence,
        owned=None if own is None else own.owned,
        name=row.name,
        kind=row.kind,
        parent_id=row.parent_id,
        age_ns=now_ns - row.start_ns,
        is_job=is_job and not is_foreign,
        expected_ns=row.expected_ns,
        job_span_id=None if job is None or is_foreign else job.span.span_id,
        outer_span_id=None if own is None or own.outer is None else own.outer.span.span_id,
        job_id=None if job is None else job.job_id,
        attempt=None if job is None else job.attempt,
        movement_ns=None if own is None or own.moved_ns is None else now_ns - own.moved_ns,
        foreign=is_foreign,
    )


def learned(rows: Iterable[tuple[LearnedKey, LearnedRow]], now_ns: int) -> list[Saved | SpanOpen]:
    """Return what was learned."""
    return [
        SavedLearned(
            *key[:4],
            tuple(row.runs),
            tuple((row.aside or {}).items()),
            row.versions,
            now_ns - row.touched_ns,
            now_ns - row.aside_since_ns if row.aside else 0,
            row.slow,
            row.trusted,
            row.longest,
            row.second,
            key.peer,
        )
        for key, row in rows
    ]


def _origin(process: ProcessRow | None, sequence: int) -> Origin:
    if process is None:
        return Origin(_NOWHERE, None, sequence, None)
    return Origin(process.resource, process.id, sequence, process.interval_ns)


def _durations(tracker: Tracker) -> list[Saved | SpanOpen]:
    return [
        SavedDurations(
            _origin(process, NO_SEQUENCE),
            tuple((*key[:4], row.count, row.runs, row.sum_seconds) for key, row in process.durations.items()),
            tuple(key[4] for key in process.durations),
        )
        for process in tracker.processes.rows.values()
        if process.durations
    ]


def _series(tracker: Tracker) -> list[Saved | SpanOpen]:
    return [
        SavedSeries(
            *key,
            series.type,
            series.started,
            dict(series.ended),
            dict(series.stuck_total),
            tuple(series.buckets),
            series.sum_seconds,
        )
        for key, series in tracker.counts.series.items()
    ]


def _ended(job: JobRow, now_ns: int) -> SavedEnded:
    end = job.end or End(Outcome.UNKNOWN, "", now_ns)
    return SavedEnded(
        msgspec.structs.replace(record_of(job.span, now_ns), type=job.type),
        tuple(record_of(span, now_ns) for span in all_inside(job)),
        msgspec.structs.replace(end, at_ns=now_ns - end.at_ns),
    )


def _process(row: ProcessRow, now_ns: int) -> SavedProcess:
    ids = row.last_full_list
    return SavedProcess(
        _origin(row, NO_SEQUENCE),
        now_ns - row.heard_ns,
        now_ns - row.first_ns,
        row.status,
        row.silence,
        row.state_sequence,
        row.last_full_sequence,
        ids if isinstance(ids, bytes) else b"".join(ids),
        row.children,
        row.stall,
        now_ns - row.stalled_at_ns,
        row.foreign,
    )


def _tombstones(tracker: Tracker, clock: Callable[[], int]) -> Iterator[SavedTombstones]:
    spans, attempts = tracker.parts[0].closed, tracker.parts[1].index.over
    for young in (False, True):
        for pairs in _chunks(spans.items(young=young), 20 * CHUNK):
            yield SavedTombstones(young, spans.age_ns(clock()), spans=tuple(pairs))
        for items in _chunks(attempts.items(young=young), 20 * CHUNK):
            yield SavedTombstones(young, attempts.age_ns(clock()), attempts=tuple(attempt for attempt, _ in items))


def _chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    rest = iter(list(items))
    while chunk := list(islice(rest, size)):
        yield chunk


_NOWHERE = Resource()
_NO_TYPE = JobType("", "", "", "", "", None, None, None, None)


# --- restoring ------------------------------------------------------------------------------------------------------


def replay(tracker: Tracker, entry: Signal | Saved, now_ns: int) -> None:
    """Observe a signal again, or bring back what was saved; *now_ns* is when it was."""
    if isinstance(entry, SpanOpen):  # most are
        tracker.observe(entry, now_ns)
    elif isinstance(entry, Saved):
        _restore(tracker, entry, now_ns)
    else:
        tracker.observe(entry, now_ns)


def _restore(tracker: Tracker, saved: Saved, now_ns: int) -> None:
    match saved:
        case SavedVerdict():
            _apply_verdict(tracker, saved, now_ns)
        case SavedSilence():
            if (process := tracker.processes.rows.get(saved.process_id)) is not None:
                tracker.processes.declare(process, saved.silence)
        case SavedProcessEnd():
            if (process := tracker.processes.rows.get(saved.process_id)) is not None:
                tracker.end_process(process, saved.outcome, now_ns)
        case SavedReset():
            tracker.learner.forget(saved.keys)
        case SavedLearned():
            tracker.learner.put(*_row(saved, now_ns))
        case SavedDurations():
            _restore_durations(tracker, saved, now_ns)
        case SavedSeries():
            _restore_series(tracker, saved)
        case SavedProcess():
            _restore_process(tracker, saved, now_ns)
        case SavedEnded():
            _restore_ended(tracker, saved, now_ns)
        case SavedTombstones():
            spans, jobs = tracker.parts
            spans.closed.load(dict(saved.spans), young=saved.young, since_ns=now_ns - saved.age_ns)
            jobs.index.over.load(dict.fromkeys(saved.attempts, True), young=saved.young, since_ns=now_ns - saved.age_ns)


def resume(tracker: Tracker, now_ns: int) -> None:
    """Go on: the silence until now was ours, and time has passed."""
    tracker.processes.note_stall(1 << 62, now_ns)
    tracker.forget(now_ns)


def _apply_verdict(tracker: Tracker, saved: SavedVerdict, now_ns: int) -> None:
    job = tracker.jobs.get(saved.key)
    if job is None:
        return
    suspect_state = saved.suspect_state
    if suspect_state is not None:
        suspect_state = _aged(suspect_state, now_ns)
    job.stuck_at = tuple(saved.stuck_at)
    tracker.apply_verdict(job, saved.state, suspect_state)
    incident = None if suspect_state is None else tracker.counts.incidents.get(suspect_state.incident)
    if incident is not None and saved.incident_pages:
        incident.severity = Severity.PAGE
    if saved.counted and suspect_state is not None:
        tracker.counts.of_job(job).stuck_total[suspect_state.cause] += 1
    outer = None if saved.outer is None else tracker.jobs.get(saved.outer)
    if outer is not None and job.outer is None and outer is not job:
        tracker.parts[1].nest(job, outer)


def _row(saved: SavedLearned, now_ns: int) -> tuple[LearnedKey, LearnedRow]:
    row = LearnedRow(Histogram(saved.runs), now_ns - saved.age_ns, slow=saved.slow, trusted=saved.trusted)
    row.versions, row.longest, row.second = tuple(saved.versions), saved.longest, saved.second
    if saved.aside:
        row.aside, row.aside_since_ns = dict(saved.aside), now_ns - saved.aside_age_ns
    return saved.key, row


def _restore_durations(tracker: Tracker, saved: SavedDurations, now_ns: int) -> None:
    process = tracker.processes.heard_from(saved.origin, now_ns)
    if process is None:
        return
    peers = saved.peers or [""] * len(saved.rows)
    for (name, queue, span_name, outcome, count, runs, seconds), peer in zip(saved.rows, peers, strict=True):
        row = DurationRow(count, runs, seconds)
        tracker.counts.put_durations(process, (name, queue, span_name, outcome, peer), row)


def _restore_series(tracker: Tracker, saved: SavedSeries) -> None:
    series: Series = tracker.counts.of(saved.environment, saved.service, saved.job_name, saved.queue, saved.type)
    series.started, series.sum_seconds = saved.started, saved.sum_seconds
    series.ended, series.stuck_total = Counter(saved.ended), Counter(saved.stuck_total)
    if len(saved.buckets) == len(series.buckets):
        series.buckets = list(saved.buckets)


def _restore_process(tracker: Tracker, saved: SavedProcess, now_ns: int) -> None:
    processes = tracker.processes
    row = processes.heard_from(saved.origin, now_ns)
    if row is None:
        return
    row.heard_ns, row.first_ns = now_ns - saved.heard_age_ns, now_ns - saved.first_age_ns
    row.foreign = saved.foreign
    row.state_sequence, row.last_full_sequence = saved.state_sequence, saved.last_full_sequence
    row.last_full_list = saved.last_full_list
    row.stall, row.stalled_at_ns = saved.stall, now_ns - saved.stalled_age_ns
    processes.describe(row, status=saved.status, children=saved.children)
    processes.declare(row, saved.silence)


def _restore_ended(tracker: Tracker, saved: SavedEnded, now_ns: int) -> None:
    told, end = saved.span, msgspec.structs.replace(saved.end, at_ns=now_ns - saved.end.at_ns)
    row = _closed_row(tracker, told, now_ns)
    job = JobRow(row, told.type, told.job_id or "", told.attempt, progress=told.progress, state=State.ENDED, end=end)
    job.moved_ns = None if told.movement_ns is None else now_ns - told.movement_ns
    row.job = job
    for inside in saved.inside:
        span = _closed_row(tracker, inside, now_ns)
        span.job = job
        job.attach(span)
    tracker.parts[1].show(job)


def _closed_row(tracker: Tracker, record: SpanOpen, now_ns: int) -> SpanRow:
    origin, process = record.origin, None
    if origin.process_id is not None:
        process = tracker.processes.rows.get(origin.process_id) or ProcessRow(
            origin.process_id, origin.resource, origin.interval_ns or 0, now_ns, now_ns
        )
    return SpanRow(
        record.key,
        process,
        None,
        record.name,
        record.kind,
        record.parent_id,
        now_ns - record.age_ns,
        origin.sequence,
        record.expected_ns,
        record.call,
        record.evidence,
        open=False,
    )
