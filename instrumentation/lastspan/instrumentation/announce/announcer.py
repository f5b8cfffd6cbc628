"""What is announced, and when: the open spans that last, the state of the process, how long things took.

One announcer a process, driven by the watcher's thread alone; the time is an argument. A span that ends before it is
late costs nothing here but a row in the counts.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.trace import SpanKind

from lastspan.semconv import SKETCH_EXPONENTIAL_HISTOGRAM, events
from lastspan.semconv import attributes as a

from ..guest import log, redact
from ..registry.accepted_jobs import AcceptedJobs
from ..registry.children import Child, ChildProcesses
from ..registry.held_locks import held
from ..registry.spans import FIBER, RUN, SPAN, THREAD
from ..send.records import Record
from . import job_facts, process_state
from .durations import DurationKey, Durations
from .ended import EndedSpans
from .job_activity import JobActivity
from .lock_spans import LockSpans, TracerSource
from .places import code_at
from .process_state import Stall
from .sampling import StackSampler
from .tracked import TrackedSpans
from .unbounded_calls import CallKinds

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span

    from ..config.settings import WorkerSettings
    from ..guest.identity import Identity
    from ..registry.run import Run
    from ..registry.session import Session
    from ..registry.spans import Entry, OpenSpans

_log = log.Log(__name__)

ANNOUNCED_MAX: Final = 2000
"""Announced spans of one process; jobs come before what they call. More are counted, not sent."""
STALL_SECONDS: Final = 2.0
"""A watcher that wakes so much too late was stalled, s."""


class Sessions(NamedTuple):
    """Where the database sessions of jobs are known."""

    of: Callable[[Run], list[Session]]
    """Reads the drivers' memory."""
    count: Callable[[Run], int]
    """How many are known; costs next to nothing."""


_NO_SESSIONS: Final = Sessions(lambda run: [], lambda run: 0)


class Announcer:
    """Turns the registry into records, each the full state of its subject."""

    def __init__(
        self,
        spans: OpenSpans,
        identity: Identity,
        settings: WorkerSettings,
        tracer: TracerSource = lambda: None,
        sessions: Sessions = _NO_SESSIONS,
    ) -> None:
        self._spans = spans
        self._identity = identity
        self._settings = settings
        self._tracked = TrackedSpans(spans, settings)
        self._activity = JobActivity(spans, settings)
        self._ended = EndedSpans(spans, self._tracked, self._activity)
        self._sampling = StackSampler(spans, settings, identity.process_id)
        self._call_kinds = CallKinds(spans, refresh=settings.refresh)
        self._lock_spans = LockSpans(spans, self._sampling, tracer, after=settings.announce_after)
        self._sessions = sessions
        self._reported_at: float | None = None
        self._resend = False
        self._children: list[Child] = []
        self._status = "running"
        self._state_due = True
        self.child_processes = ChildProcesses()
        self._accepted = AcceptedJobs(
            after=settings.job_announce_after + settings.announce_after, refresh=settings.refresh
        )
        self.lag = 0.0
        """How late the watcher last woke, s."""
        self._gil_contended = False
        self._stall: Stall | None = None
        self.dropped = 0
        """Records that were lost on the way, for the state record."""

    @property
    def durations(self) -> Durations:
        """How long things took."""
        return self._ended.durations

    def on_job_ended(self, tell: Callable[[Run, float, str], None]) -> None:
        """Have *tell* called with each job that ends, its seconds and its outcome."""
        self._ended.on_job_ended = tell

    def begin(self, now: float) -> None:
        """Start: no span of a job is older than that."""
        self._tracked.looked(now)

    def set_status(self, status: str) -> None:
        """Change the process's status, and report it at the next tick."""
        self._status = status
        self._state_due = True

    def resend_all(self) -> None:
        """An export failed: what we announced may be lost."""
        self._resend = True
        self._state_due = True
        self.durations.put_back([*self.durations.started, *self.durations.ended])

    def collect(self, now: float, wall_ns: int, *, may_announce: bool) -> Iterator[Record | None]:
        """Run one tick: yield the records to send, and None where the host may take the GIL.

        *now* is monotonic (s), *wall_ns* for display. Without *may_announce* only the books are kept.
        """
        # Whatever lets go of the interpreter now may get it back seconds later: files are for a better time.
        self._gil_contended = self._sampling.gil_contended = self.lag >= STALL_SECONDS
        if self._gil_contended:
            self._note_stall(now)
        yield from self._closed(now, wall_ns, frozenset(self._lock_spans.end(wall_ns)))
        self._children, ends = self.child_processes.poll()
        for end in ends:
            yield self._record(events.JOB_ENDED, job_facts.of_end(end), wall_ns, is_kept=True)
        self._accepted.update(self.child_processes.running, now)
        entries = list(self._spans.open.items())
        met = yield from self._tracked.meet(entries, now, wall_ns)
        for run, started in met.began:
            self._ended.begin(run)
            self._activity.begin(run, started)
        self._spans.forget_strays()
        for span_id in self._tracked.gone():
            self._drop(span_id)
        entries += yield from self._sample(entries, met.leaves, now, wall_ns)
        if may_announce:
            yield from self._accepted_jobs(now, wall_ns)
            yield from self._open(entries, now, wall_ns)
            if (call := self._call_kinds.sample(entries, now)) is not None:
                yield self._record(events.CALL_SEEN, call, wall_ns)
            yield from self._periodic(now, wall_ns)
        self._tracked.looked(now)

    def open_runs(self, now: float) -> list[tuple[Run, float]]:
        """Return the runs that were open at the last look, and their ages (s)."""
        return self._tracked.ages(now)

    def _note_stall(self, now: float) -> None:
        """What ran is still where it was."""
        oldest = next((entry for entry in list(self._spans.open.values()) if entry[RUN] is not None), None)
        place = None
        try:
            if oldest is not None and oldest[RUN] is not None:
                place = code_at(self._spans.execution_context(oldest), oldest[RUN].package)
        except Exception as error:  # what one job's code looks like must not silence what is told of all others
            _log.fault("lastspan: the stack of the oldest job cannot be read", error)
        self._stall = Stall(self.lag, place, now)
        self._state_due, self.lag = True, 0.0

    # --- what ended ---------------------------------------------------------------------------------------------------

    def _closed(self, now: float, wall_ns: int, waits: Container[int]) -> Iterator[Record | None]:
        for ended in self._ended.read(now, waits):
            if ended is None:
                yield None
                continue
            if ended.span_id in self._tracked.announced:
                trace_id = self._tracked[ended.span_id].trace_id
                told = {a.SPAN_DURATION: ended.seconds, a.OUTCOME: ended.outcome}
                self._tracked.announced.discard(ended.span_id)
                yield self._record(
                    events.SPAN_CLOSED, told, wall_ns, trace_id=trace_id, span_id=ended.span_id, is_kept=True
                )
            self._drop(ended.span_id)

    def _drop(self, span_id: int) -> None:
        self._tracked.drop(span_id)
        self._sampling.drop(span_id)
        self._activity.drop(span_id)

    # --- what is open -------------------------------------------------------------------------------------------------

    def _accepted_jobs(self, now: float, wall_ns: int) -> Iterator[Record]:
        """Jobs that children accepted a while ago, and may be unable to report."""
        for taken in self._accepted.due(self.child_processes.running, now, again=self._resend):
            run = self.child_processes.facts_of(taken.job)
            if run is None:  # it ended while we looked
                continue
            facts = job_facts.of_accepted(run, taken.job.pid, now - taken.started)
            yield self._record(events.JOB_ACCEPTED, facts, wall_ns, trace_id=taken.trace_id, span_id=taken.span_id)

    def _sample(
        self, entries: list[tuple[int, Entry]], leaves: set[int], now: float, wall_ns: int
    ) -> Generator[None, None, list[tuple[int, Entry]]]:
        """Look at the code of late leaves, and of late jobs whose calls are all young; feed the movement of jobs.

        Returns the waits for locks that became spans: told in this very look, for they have the evidence now.
        """
        is_late, began = self._tracked.is_late, []
        self._activity.follow(lambda span_id, run: is_late(span_id, run, now), now)
        soon = now + 2 * self._settings.tick  # two looks before it is announced: it is told with what it waits for
        in_calls = {
            run.span_id
            for span_id, (_, _, _, run) in entries
            if run is not None and span_id in leaves and is_late(span_id, run, soon)
        }
        for span_id, entry in entries:
            span, run = entry[SPAN](), entry[RUN]
            if run is None or span is None or not is_late(span_id, run, soon):
                continue
            if span_id == run.span_id:
                self._activity.take_progress(run)
            if span_id not in leaves and (
                run.span_id in in_calls or not self._tracked.has_young_calls(span_id, run, now)
            ):
                self._sampling.drop(span_id)
                continue
            if span_id == run.span_id and not is_late(span_id, run, now):
                continue  # most jobs are over before that
            where, is_call = self._spans.execution_context(entry), span.kind is SpanKind.CLIENT
            called_at = self._activity.called_at(run)
            seen = yield from self._sampling.sample(span_id, where, run, now, is_call=is_call, called_at=called_at)
            if seen is None:
                continue
            if seen.steps:
                call, is_beside = self._sampling.call(span_id), self._is_beside_its_job(entry, run)
                self._activity.look(run, seen.steps, call, now, is_beside=is_beside)
            if (wait := self._lock_spans.begin(span_id, entry, now, wall_ns)) is not None:
                made_id, started, trace_id = wait
                self._tracked.add(made_id, started, trace_id)
                began.append((made_id, self._spans.open[made_id]))
        return began

    def _is_beside_its_job(self, entry: Entry, run: Run) -> bool:
        """Say whether a span runs in another thread or task than its job does."""
        job = self._spans.open.get(run.span_id)
        return job is None or job[THREAD] != entry[THREAD] or job[FIBER] is not entry[FIBER]

    def _open(self, entries: list[tuple[int, Entry]], now: float, wall_ns: int) -> Iterator[Record]:
        resend, self._resend = self._resend, False
        late = [(span_id, entry) for span_id, entry in entries if self._tracked.is_late(span_id, entry[RUN], now)]
        if len(late) > ANNOUNCED_MAX:
            late.sort(key=_is_no_job)
            late = late[:ANNOUNCED_MAX]
        for span_id, entry in late:
            span, run = entry[SPAN](), entry[RUN]
            if span is None or span_id not in self._spans.open:  # it ended while we looked
                continue
            fingerprint = self._fingerprint(span_id, run, now)
            if not (resend or self._tracked.is_due(span_id, run, fingerprint, now) or self._has_news(span_id)):
                continue
            tracked = self._tracked[span_id]
            tracked.sent_at, tracked.fingerprint = now, fingerprint
            tracked.is_diagnosed = self._sampling.is_diagnosed(span_id)
            self._tracked.announced.add(span_id)
            attributes = self._span_open(span_id, run, span, now)
            tracked.has_line = a.CODE_FILE in attributes
            yield self._record(events.SPAN_OPEN, attributes, wall_ns, trace_id=tracked.trace_id, span_id=span_id)

    def _has_news(self, span_id: int) -> bool:
        """Say whether why it waits, or its line, is known since it was announced: nobody should wait for that."""
        tracked = self._tracked[span_id]
        return (not tracked.is_diagnosed and self._sampling.is_diagnosed(span_id)) or (
            not tracked.has_line and self._sampling.has_line(span_id)
        )

    def _fingerprint(self, span_id: int, run: Run | None, now: float) -> object:
        """What, when it changes, is worth a record before the refresh."""
        place = self._sampling.fingerprint(span_id, run.package if run is not None else "")
        if run is None or run.span_id != span_id:
            return place
        progress = run.progress and run.progress[:3]
        activity = self._activity.fingerprint(run, now)
        return place, activity, progress, self._sessions.count(run), tuple(run.holds or ())

    def _span_open(self, span_id: int, run: Run | None, span: Span, now: float) -> dict[str, Any]:
        live: Mapping[str, object] = span._attributes.copy()  # type: ignore[union-attr]  # its lock may be held: a copy without it
        is_job = run is not None and run.span_id == span_id
        attributes: dict[str, Any] = {
            **redact.call_attributes(live),
            a.SPAN_NAME: redact.span_name(span.name, str(live.get("db.system.name") or live.get("db.system") or "")),
            a.SPAN_KIND: span.kind.name,
            a.SPAN_PARENT_ID: f"{span.parent.span_id:016x}" if span.parent is not None else None,
            a.SPAN_AGE: now - self._tracked[span_id].started,
            a.SPAN_IS_JOB: is_job,
        }
        if run is not None:
            attributes |= job_facts.of_run(run)
            if is_job:
                attributes |= self._job_state(run, now)
        if span_id in self._lock_spans:
            attributes[a.SPAN_START_ESTIMATED] = True
        attributes |= self._sampling.evidence(span_id, run, now)
        return attributes | (self._activity.repeated(span_id, attributes, now) if is_job else {})

    def _job_state(self, run: Run, now: float) -> dict[str, Any]:
        return {
            a.SPAN_EXPECTED_DURATION: run.expected,
            a.JOB_MOVEMENT_AGE: self._activity.movement_age(run, now),
            a.JOB_HOLDS: [redact.text(key, 512) for key in held.keys(run, now)] or None,
            **job_facts.of_sessions(self._sessions.of(run)),
            **job_facts.of_progress(run, now),
        }

    # --- what is said at each interval --------------------------------------------------------------------------------

    def _periodic(self, now: float, wall_ns: int) -> Iterator[Record]:
        is_due = self._reported_at is None or now - self._reported_at >= self._settings.interval
        if not (is_due or self._state_due):
            return
        self._reported_at, self._state_due = now, False
        for key in self.durations.take_changed():
            yield self._durations(key, wall_ns)
        yield self._process_state(now, wall_ns)

    def _durations(self, key: DurationKey, wall_ns: int) -> Record:
        attributes: dict[str, Any] = {
            a.JOB_NAME: key.job_name,
            a.JOB_QUEUE: key.queue or None,
            a.JOB_SYSTEM: key.system,
            a.SPAN_NAME: key.span_name,
            a.CALL_PEER: key.peer or None,
            a.OUTCOME: key.outcome,
        }
        if key.outcome is None:
            attributes[a.COUNT_STARTED] = self.durations.started[key]
            return self._record(events.PROCESS_DURATIONS, attributes, wall_ns)
        sketch = self.durations.ended[key]
        attributes |= {a.COUNT_ENDED: sketch.count, a.SKETCH_FORMAT: SKETCH_EXPONENTIAL_HISTOGRAM}
        return self._record(events.PROCESS_DURATIONS, attributes, wall_ns, body=sketch.encode())

    def _process_state(self, now: float, wall_ns: int) -> Record:
        # One that has ended since this look began is listed until its end is told.
        announced = [*self._tracked.announced, *self._accepted.span_ids]
        attributes: dict[str, Any] = {
            a.PROCESS_STATUS: self._status,
            a.SPAN_OPEN_COUNT: len(announced),
            a.PROCESS_LOOP_LAG: self.lag,
            a.PROCESS_DROPPED: self.dropped + self._spans.dropped + self.durations.overflowed,
            **process_state.of_usage(gil_contended=self._gil_contended),
            **process_state.of_children(self._children),
        }
        if self._stall is not None and now - self._stall.at < self._settings.refresh:
            attributes |= process_state.of_stall(self._stall)
        body = b"".join(span_id.to_bytes(8, "big") for span_id in announced)
        return self._record(events.PROCESS_STATE, attributes, wall_ns, body=body)

    def _record(
        self,
        event: str,
        attributes: Mapping[str, Any],
        wall_ns: int,
        *,
        trace_id: int = 0,
        span_id: int = 0,
        body: bytes | None = None,
        is_kept: bool = False,
    ) -> Record:
        complete = {
            **attributes,
            a.PROCESS_ID: self._identity.process_id,
            a.PROCESS_SEQUENCE: self._identity.next_sequence(),
            a.REPORT_INTERVAL: self._settings.interval,
        }
        return Record(event, complete, wall_ns, trace_id, span_id, body, is_kept)


def _is_no_job(item: tuple[int, Entry]) -> bool:
    span_id, entry = item
    run = entry[RUN]
    return run is None or run.span_id != span_id
