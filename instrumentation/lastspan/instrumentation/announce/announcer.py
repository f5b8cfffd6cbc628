"""What is announced, and when: the open spans that last, the state of the process, how long things took.

One announcer a process, driven by the watcher's thread alone; the time is an argument. A span that ends before it is
late costs nothing here but a row in the counts.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Container, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.trace import SpanKind, StatusCode

from lastspan.semconv import SKETCH_EXPONENTIAL_HISTOGRAM, events
from lastspan.semconv import attributes as a
from lastspan.semconv.peers import named
from lastspan.semconv.vocabulary import FRAMEWORKS, SUPPORTED_FRAMEWORKS

from ..evidence import look
from ..guest import log, redact
from ..registry.accepted import Accepted
from ..registry.children import Child, Death, Family
from ..registry.held_locks import held
from ..send.records import Record
from .activity import Movement
from .durations import Durations, Key, Sketch
from .lock_spans import LockSpans, TracerSource
from .repeats import Repeats
from .sampling import Sampling, code_text
from .unbounded_calls import CallsSeen

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span

    from ..config.settings import Settings
    from ..guest.identity import Identity
    from ..registry.run import Run
    from ..registry.spans import Entry, OpenSpans

_log = log.Log(__name__)

ANNOUNCED_MAX: Final = 2000
"""Announced spans of one process; jobs come before what they call. More are counted, not sent."""

_WINDOW_MIN: Final = 30.0
_ROWS_A_TURN: Final = 32
OVERSLEPT: Final = 2.0
"""A watcher that wakes so much too late was kept from running, s."""


class Seen:
    """An open span that the watcher has met."""

    __slots__ = ("expected_passed", "fingerprint", "has_line", "is_diagnosed", "sent_at", "started", "trace_id")

    def __init__(self, started: float, trace_id: int) -> None:
        self.started = started
        """Monotonic, s."""
        self.trace_id = trace_id
        self.sent_at: float | None = None
        """None: not announced."""
        self.fingerprint: object = None
        self.is_diagnosed = False
        """What it waits for was told."""
        self.has_line = False
        """Its code line was."""
        self.expected_passed = False


class Sessions(NamedTuple):
    """Where the database sessions of jobs are known."""

    of: Callable[[Run], list[str]]
    """As attribute `lastspan.job.db.sessions`; reads the drivers' memory."""
    count: Callable[[Run], int]
    """How many are known; costs next to nothing."""


_NO_SESSIONS: Final = Sessions(lambda run: [], lambda run: 0)


class Announcer:
    """Turns the registry into records, each the full state of its subject."""

    def __init__(
        self,
        spans: OpenSpans,
        identity: Identity,
        settings: Settings,
        tracer: TracerSource = lambda: None,
        sessions: Sessions = _NO_SESSIONS,
    ) -> None:
        self._spans = spans
        self._identity = identity
        self._settings = settings
        self._seen: dict[int, Seen] = {}
        self._sampling = Sampling(spans, settings, identity.process_id)
        self._calls_seen = CallsSeen(spans, refresh=settings.refresh)
        self._lock_spans = LockSpans(spans, self._sampling, tracer, after=settings.announce_after)
        self._sessions = sessions
        self._movement: dict[int, Movement] = {}
        self._repeats: dict[int, Repeats] = {}
        """Of jobs that are late."""
        self._announced: set[int] = set()
        self._gone: set[int] = set()
        """Seen, and not open any more when we last looked."""
        self._looked_at: float | None = None
        self._reported_at: float | None = None
        self._resend = False
        self._children: list[Child] = []
        self._status = "running"
        self._state_due = True
        self.durations = Durations()
        self.family = Family()
        self._accepted = Accepted(after=settings.job_announce_after + settings.announce_after, refresh=settings.refresh)
        self.lag = 0.0
        """How late the watcher last woke, s."""
        self._is_hurried = False
        self._overslept: tuple[float, str, float] | None = None
        """How long it could not run, where a job stood then, and when (monotonic s)."""
        self.dropped = 0
        """Records that were lost on the way, for the state record."""
        self.on_job_ended: Callable[[Run, float, str], None] | None = None
        spans.announced = self._announced

    def begin(self, now: float) -> None:
        """The watch begins: no span of a job is older than that."""
        self._looked_at = now

    def say(self, status: str) -> None:
        """Change the process's status, and tell it at the next look."""
        self._status = status
        self._state_due = True

    def send_all_again(self) -> None:
        """An export failed: nobody may have heard of what we announced."""
        self._resend = True
        self._state_due = True
        self.durations.put_back([*self.durations.started, *self.durations.ended])

    def look(self, now: float, wall_ns: int, *, may_announce: bool) -> Iterator[Record | None]:
        """Look once; yield what is to be sent, and None where the host may want its turn.

        *now* is monotonic (s), *wall_ns* for display. Without *may_announce* only the books are kept.
        """
        # Whatever lets go of the interpreter now may get it back seconds later: files are for a better time.
        self._is_hurried = self._sampling.is_hurried = self.lag >= OVERSLEPT
        if self._is_hurried:
            self._note_overslept(now)
        waits = frozenset(self._lock_spans.end(wall_ns))
        yield from self._ended(now, wall_ns, waits)
        yield from self._deaths(wall_ns)
        self._accepted.look(self.family.running, now)
        entries = list(self._spans.open.items())
        leaves = yield from self._meet(entries, now, wall_ns)
        self._forget(entries)
        yield from self._sample(entries, leaves, now, wall_ns)
        if may_announce:
            yield from self._accepted_jobs(now, wall_ns)
            yield from self._open(entries, leaves, now, wall_ns)
            if (call := self._calls_seen.look(entries, now)) is not None:
                yield self._record(events.CALL_SEEN, call, wall_ns)
            yield from self._periodic(now, wall_ns)
        self._looked_at = now

    def _note_overslept(self, now: float) -> None:
        """The whole process stood still, or native code held the interpreter: what ran is still where it was."""
        oldest = next((entry for entry in list(self._spans.open.values()) if entry[3] is not None), None)
        step = None
        try:
            if oldest is not None and oldest[3] is not None:
                step = look(self._spans.where(oldest)).place(oldest[3].package)
        except Exception as error:  # what one job's code looks like must not silence what is told of all others
            _log.fault("lastspan: the stack of the oldest job cannot be read", error)
        self._overslept = (self.lag, "" if step is None else code_text(*step), now)
        self._state_due, self.lag = True, 0.0

    def open_runs(self, now: float) -> list[tuple[Run, float]]:
        """Return the runs that were open at the last look, and their ages (s)."""
        met = ((run, self._seen.get(span_id)) for span_id, run in list(self._spans.runs.items()))
        return [(run, now - seen.started) for run, seen in met if seen is not None]

    # --- what ended ---------------------------------------------------------------------------------------------

    def _ended(self, now: float, wall_ns: int, waits: Container[int]) -> Iterator[Record | None]:
        """Count what ended, but not *waits*: only those that last are spans, so their durations would mislead."""
        ended = self._spans.ended
        sketches: dict[tuple[Run, str, str, bool], Sketch | None] = {}  # what rows of one name share: found once a look
        for row in range(len(ended)):
            span_id, name, start_ns, end_ns, status, run, system, host = ended.popleft()
            seconds = max(end_ns - start_ns, 0) / 1e9
            is_error = status.status_code is StatusCode.ERROR
            outcome = "error" if is_error else "ok"
            if run is None or span_id in waits:
                pass
            elif span_id in self._spans.left:  # its parent tells the end, and it is counted by that
                if span_id not in self._seen:
                    self.durations.start(_key(run, None, None))
                continue
            elif run.span_id == span_id:
                outcome = run.outcome or outcome
                self._count_job(run, seconds, outcome, is_met=span_id in self._seen)
            else:
                called = named(system, host)
                kind = (run, name, called, is_error)
                if kind not in sketches:
                    sketches[kind] = self._sketch_of(run, name, called, outcome, now)
                if (sketch := sketches[kind]) is not None:
                    sketch.add(seconds)
                if (repeats := self._repeats.get(run.span_id)) is not None:
                    repeats.ended(redact.span_name(name), seconds, now, is_error=is_error)
            if row % _ROWS_A_TURN == _ROWS_A_TURN - 1:
                yield None
            if span_id not in self._seen:
                continue
            if span_id in self._announced:
                self._announced.discard(span_id)
                yield self._record(
                    events.SPAN_CLOSED,
                    {a.SPAN_DURATION: seconds, a.OUTCOME: outcome},
                    wall_ns,
                    trace_id=self._seen[span_id].trace_id,
                    span_id=span_id,
                    is_kept=True,
                )
            self._drop(span_id)

    def _count_job(self, run: Run, seconds: float, outcome: str, *, is_met: bool) -> None:
        if not is_met:  # too short for us to have met it
            self.durations.start(_key(run, None, None))
        if (sketch := self.durations.of(_key(run, None, outcome))) is not None:
            sketch.add(seconds)
        if self.on_job_ended is not None:
            self.on_job_ended(run, seconds, outcome)

    def _sketch_of(self, run: Run, name: str, called: str, outcome: str, now: float) -> Sketch | None:
        """Return where durations of a job's spans of one name and peer are kept; such spans are movement, if new."""
        cleaned = redact.span_name(name)
        if (movement := self._movement.get(run.span_id)) is not None:
            movement.span(cleaned, now)
        return self.durations.of(_key(run, cleaned, outcome, redact.text(called)))

    def _deaths(self, wall_ns: int) -> Iterator[Record]:
        self._children, deaths = self.family.look()
        for death in deaths:
            yield self.death(death, wall_ns)

    def death(self, death: Death, wall_ns: int) -> Record:
        """The record of a job whose process is no more."""
        return self._record(
            events.JOB_ENDED,
            {
                a.JOB_SYSTEM: death.system,
                a.JOB_ID: redact.text(death.job_id),
                a.JOB_NAME: redact.text(death.job_name),
                a.JOB_ATTEMPT: death.attempt,
                a.OUTCOME: death.outcome,
                a.REASON: redact.text(death.reason),
                a.PID: death.pid,
                a.EXIT_SIGNAL: death.signal,
                a.EXIT_CODE: death.code,
            },
            wall_ns,
            is_kept=True,
        )

    def _accepted_jobs(self, now: float, wall_ns: int) -> Iterator[Record]:
        """The jobs that children took a while ago: the child may be kept from telling of them."""
        for taken in self._accepted.due(self.family.running, now, again=self._resend):
            run = self.family.facts_of(taken.job)
            if run is None:  # it ended while we looked
                continue
            facts = _job_facts(run)
            for own in (a.JOB_SPAN_ID, a.JOB_OUTER_SPAN_ID):
                del facts[own]
            facts |= {
                a.SPAN_AGE: now - taken.started,
                a.SPAN_EXPECTED_DURATION: run.expected,
                a.PID: taken.job.pid,
            }
            yield self._record(events.JOB_ACCEPTED, facts, wall_ns, trace_id=taken.trace_id, span_id=taken.span_id)

    # --- what is open -------------------------------------------------------------------------------------------

    def _meet(self, entries: list[tuple[int, Entry]], now: float, wall_ns: int) -> Generator[None, None, set[int]]:
        """Note spans that are new, with their age; return the leaves."""
        parents: set[int] = set()
        since_last = None if self._looked_at is None else now - self._looked_at
        for index, (span_id, entry) in enumerate(entries):
            if index % _ROWS_A_TURN == _ROWS_A_TURN - 1:
                yield None
            span, run = entry[0](), entry[3]
            if span is None:
                continue
            if span.parent is not None:
                parents.add(span.parent.span_id)
            if span_id not in self._seen:
                age = max((wall_ns - (span.start_time or wall_ns)) / 1e9, 0.0)
                # The wall clock may have been set meanwhile: the span is not older than our last look.
                age = age if since_last is None else min(age, since_last)
                self._seen[span_id] = Seen(now - age, span.context.trace_id)
                if run is not None and run.span_id == span_id:
                    self._meet_run(run, now - age)
        return {span_id for span_id, _ in entries if span_id not in parents}

    def _meet_run(self, run: Run, started: float) -> None:
        self.durations.start(_key(run, None, None))
        window = max(3 * self._settings.interval, _WINDOW_MIN)
        if run.expected is not None:
            window = min(window, max(run.expected, 3 * self._settings.tick))
        self._movement[run.span_id] = Movement(started, window=window)

    def _forget(self, entries: list[tuple[int, Entry]]) -> None:
        """Drop what nobody can end any more (its owner let go of it), and what ended without a row in the count."""
        for span_id, entry in entries:
            if entry[0]() is None:
                self._spans.open.pop(span_id, None)
                self._spans.runs.pop(span_id, None)
        gone = {span_id for span_id in self._seen if span_id not in self._spans.open} - self._spans.left
        for span_id in gone & self._gone:  # gone before this look began: its row, if there is one, was read
            self._announced.discard(span_id)  # its absence from the next state record closes it
            self._drop(span_id)
        self._gone = gone

    def _drop(self, span_id: int) -> None:
        self._seen.pop(span_id, None)
        self._sampling.drop(span_id)
        self._movement.pop(span_id, None)
        self._repeats.pop(span_id, None)

    def _sample(self, entries: list[tuple[int, Entry]], leaves: set[int], now: float, wall_ns: int) -> Iterator[None]:
        """Look at the code of late leaves, and of late jobs whose calls are all young; feed the movement of jobs."""
        self._follow_repeats(now)
        soon = now + 2 * self._settings.tick  # two looks before it is announced: it is told with what it waits for
        in_calls = {
            run.span_id
            for span_id, (_, _, _, run) in entries
            if run is not None and span_id in leaves and self._is_late(span_id, run, soon)
        }
        for span_id, entry in entries:
            span, run = entry[0](), entry[3]
            if run is None or span is None or not self._is_late(span_id, run, soon):
                continue
            movement = self._movement.get(run.span_id)
            if movement is not None and span_id == run.span_id and run.progress is not None:
                movement.progress(run.progress[0], run.progress[3])
            if span_id not in leaves and (run.span_id in in_calls or not self._has_young_calls(span_id, run, now)):
                self._sampling.drop(span_id)
                continue
            if span_id == run.span_id and not self._is_late(span_id, run, now):
                continue  # most jobs are over before that
            where, is_call = self._spans.where(entry), span.kind is SpanKind.CLIENT
            repeats = self._repeats.get(run.span_id)
            called_at = repeats.called_at if repeats is not None else 0.0
            seen = yield from self._sampling.sample(span_id, where, run, now, is_call=is_call, called_at=called_at)
            if seen is None:
                continue
            if movement is not None and seen.steps:
                movement.stack(seen.steps, now)
            if repeats is not None and seen.steps and self._is_with_its_job(entry, run):
                repeats.look(seen.steps, run.package, self._sampling.call(span_id), now)
            begun = self._lock_spans.begin(span_id, entry, now, wall_ns)
            if begun is not None:
                made_id, started, trace_id = begun
                self._seen[made_id] = Seen(started, trace_id)
                entries.append((made_id, self._spans.open[made_id]))  # told in this very look: it has the evidence now
                leaves.add(made_id)

    def _follow_repeats(self, now: float) -> None:
        """Count the calls of jobs that are late, from when they last did something new; ask for examples of them."""
        for span_id, movement in self._movement.items():
            repeats = self._repeats.get(span_id)
            if repeats is None:
                if self._is_late(span_id, self._spans.runs.get(span_id), now):
                    self._repeats[span_id] = Repeats(movement.moved_at)
            elif movement.moved_at > repeats.since:
                repeats.restart(movement.moved_at)
        examples, self._spans.examples = self._spans.examples, {}
        for span_id, example in examples.items():
            if (repeats := self._repeats.get(span_id)) is not None:
                repeats.example(example, now)
        wanted = (span_id for span_id, repeats in self._repeats.items() if repeats.wants_example(now))
        self._spans.want_examples(frozenset(wanted))

    def _is_with_its_job(self, entry: Entry, run: Run) -> bool:
        """Say whether a span runs where its job does, not in a thread or task beside it."""
        job = self._spans.open.get(run.span_id)
        return job is not None and job[1] == entry[1] and job[2] is entry[2]

    def _has_young_calls(self, span_id: int, run: Run, now: float) -> bool:
        """Say whether it is a job, and as late as a call would have to be: it makes one short call after another."""
        soon = (
            self._settings.announce_after if run.expected is None else min(self._settings.announce_after, run.expected)
        )
        return span_id == run.span_id and now - self._seen[span_id].started >= soon

    def _is_late(self, span_id: int, run: Run | None, now: float) -> bool:
        seen = self._seen.get(span_id)
        if run is not None and run.span_id not in self._spans.runs:  # its job has ended: told of already, or never
            return seen is not None and seen.sent_at is not None
        is_job = run is not None and run.span_id == span_id
        limit = self._settings.job_announce_after if is_job else self._settings.announce_after
        return seen is not None and now - seen.started >= limit

    def _open(
        self, entries: list[tuple[int, Entry]], leaves: set[int], now: float, wall_ns: int
    ) -> Iterator[Record | None]:
        resend, self._resend = self._resend, False
        late = [(span_id, entry) for span_id, entry in entries if self._is_late(span_id, entry[3], now)]
        if len(late) > ANNOUNCED_MAX:
            late.sort(key=lambda item: item[1][3] is None or item[1][3].span_id != item[0])
            late = late[:ANNOUNCED_MAX]
        for span_id, entry in late:
            span, seen = entry[0](), self._seen[span_id]
            if span is None or span_id not in self._spans.open:  # it ended while we looked
                continue
            fingerprint = self._fingerprint(span_id, entry[3], now)
            if not (resend or self._is_due(seen, entry[3], span_id, fingerprint, now)):
                continue
            seen.sent_at, seen.fingerprint = now, fingerprint
            seen.is_diagnosed = self._sampling.is_diagnosed(span_id)
            self._announced.add(span_id)
            record = self._span_open(span_id, entry[3], span, seen, now, wall_ns)
            seen.has_line = a.CODE_FILE in record.attributes
            yield record

    def _is_due(self, seen: Seen, run: Run | None, span_id: int, fingerprint: object, now: float) -> bool:
        if seen.sent_at is None or now - seen.sent_at >= self._settings.refresh:
            return True
        is_job = run is not None and run.span_id == span_id
        if is_job and run.expected is not None and not seen.expected_passed and now - seen.started >= run.expected:  # type: ignore[union-attr]
            seen.expected_passed = True
            return True
        if not seen.is_diagnosed and self._sampling.is_diagnosed(span_id):  # why it waits: nobody should wait for that
            return True
        if not seen.has_line and self._sampling.has_line(span_id):
            return True
        return fingerprint != seen.fingerprint and now - seen.sent_at >= self._settings.interval

    def _fingerprint(self, span_id: int, run: Run | None, now: float) -> object:
        """What, when it changes, is worth a record before the refresh."""
        place = self._sampling.fingerprint(span_id, run.package if run is not None else "")
        if run is None or run.span_id != span_id:
            return place
        movement = self._movement.get(span_id)
        moved_at = movement and movement.moved_at
        repeats = self._repeats.get(span_id)
        repeated = repeats and repeats.fingerprint(now)
        return (
            place,
            moved_at,
            repeated,
            run.progress and run.progress[:3],
            self._sessions.count(run),
            tuple(run.holds or ()),
        )

    def _span_open(self, span_id: int, run: Run | None, span: Span, seen: Seen, now: float, wall_ns: int) -> Record:
        live: Mapping[str, object] = span._attributes.copy()  # type: ignore[union-attr]  # its lock may be held: a copy without it
        is_job = run is not None and run.span_id == span_id
        attributes: dict[str, Any] = {
            **redact.call_attributes(live),
            a.SPAN_NAME: redact.span_name(span.name, str(live.get("db.system.name") or live.get("db.system") or "")),
            a.SPAN_KIND: span.kind.name,
            a.SPAN_PARENT_ID: f"{span.parent.span_id:016x}" if span.parent is not None else None,
            a.SPAN_AGE: now - seen.started,
            a.SPAN_IS_JOB: is_job,
        }
        if run is not None:
            attributes |= _job_facts(run)
            if is_job:
                attributes |= self._job_state(run, now)
        if span_id in self._lock_spans:
            attributes[a.SPAN_START_ESTIMATED] = True
        attributes |= self._sampling.evidence(span_id, run, now)
        if is_job and (repeats := self._repeats.get(span_id)) is not None:
            attributes |= _repeated(repeats, attributes, now)
        return self._record(events.SPAN_OPEN, attributes, wall_ns, trace_id=seen.trace_id, span_id=span_id)

    def _job_state(self, run: Run, now: float) -> dict[str, Any]:
        movement = self._movement.get(run.span_id)
        state: dict[str, Any] = {
            a.SPAN_EXPECTED_DURATION: run.expected,
            a.JOB_MOVEMENT_AGE: now - movement.moved_at if movement is not None else None,
            a.JOB_HOLDS: [redact.text(key, 512) for key in held.keys(run, now)] or None,
            a.JOB_DB_SESSIONS: self._sessions.of(run) or None,
        }
        if run.progress is not None:
            done, total, message, at = run.progress
            state |= {
                a.JOB_PROGRESS_DONE: done,
                a.JOB_PROGRESS_TOTAL: total,
                a.JOB_PROGRESS_MESSAGE: redact.text(message) if message else None,
                a.JOB_PROGRESS_AGE: now - at,
            }
        return state

    # --- what is said at each interval ----------------------------------------------------------------------------

    def _periodic(self, now: float, wall_ns: int) -> Iterator[Record]:
        is_due = self._reported_at is None or now - self._reported_at >= self._settings.interval
        if not (is_due or self._state_due):
            return
        self._reported_at, self._state_due = now, False
        for key in self.durations.take_changed():
            yield self._durations(key, wall_ns)
        yield self._process_state(now, wall_ns)

    def _durations(self, key: Key, wall_ns: int) -> Record:
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
        announced = [
            *self._announced,
            *self._accepted.span_ids,
        ]  # one that has ended since this look began is listed until its end is told
        usage = resource.getrusage(resource.RUSAGE_SELF)
        attributes: dict[str, Any] = {
            a.PROCESS_STATUS: self._status,
            a.SPAN_OPEN_COUNT: len(announced),
            a.PROCESS_LOOP_LAG: self.lag,
            a.PROCESS_CPU_TIME: usage.ru_utime + usage.ru_stime,
            a.PROCESS_RSS: None if self._is_hurried else _resident_bytes(),
            a.PROCESS_DROPPED: self.dropped + self._spans.dropped + self.durations.overflowed,
            a.PROCESS_FRAMEWORKS: _unseen_frameworks() or None,
        }
        if self._children:
            attributes[a.PROCESS_CHILD_PIDS] = [child.pid for child in self._children]
            attributes[a.PROCESS_CHILD_STATES] = [child.state for child in self._children]
            attributes[a.PROCESS_CHILD_CPU_RATIOS] = [child.cpu_ratio for child in self._children]
            attributes[a.PROCESS_CHILD_WAITS] = [child.wait for child in self._children]
        if self._overslept is not None and now - self._overslept[2] < self._settings.refresh:
            attributes[a.PROCESS_OVERSLEPT] = self._overslept[0]
            attributes[a.PROCESS_OVERSLEPT_CODE] = self._overslept[1] or None
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


def _repeated(repeats: Repeats, told: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Tell which call a job repeats, and where: its line, too, where no look has caught it standing."""
    found = repeats.attributes(now)
    return {**found, **repeats.code()} if found or a.CODE_FILE not in told else {}


def _key(run: Run, span_name: str | None, outcome: str | None, called: str = "") -> Key:
    return Key(redact.text(run.name), redact.text(run.queue), run.system, span_name, outcome, called)


def _unseen_frameworks() -> list[str]:
    """Job frameworks that are loaded here and whose jobs we do not see."""
    return [name for name, module in FRAMEWORKS.items() if module in sys.modules and name not in SUPPORTED_FRAMEWORKS]


def _job_facts(run: Run) -> dict[str, Any]:
    return {
        a.JOB_SPAN_ID: f"{run.span_id:016x}",
        a.JOB_OUTER_SPAN_ID: f"{run.outer.span_id:016x}" if run.outer is not None else None,
        a.JOB_NAME: redact.text(run.name),
        a.JOB_ID: redact.text(run.id) if run.id else f"{run.span_id:016x}",
        a.JOB_ATTEMPT: run.attempt,
        a.JOB_QUEUE: redact.text(run.queue) if run.queue else None,
        a.JOB_SYSTEM: run.system,
        a.JOB_TIMEOUT: run.timeout,
        a.JOB_REDELIVERY_AFTER: run.redelivery_after,
        a.JOB_ACKS_LATE: run.acks_late,
        a.JOB_ON_LOST: run.on_lost,
        a.JOB_ON_TIMEOUT: run.on_timeout,
        a.JOB_BROKER: run.broker,
        a.JOB_MAX_ATTEMPTS: run.max_attempts,
    }


def _resident_bytes() -> int | None:
    try:
        file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return int(os.read(file, 256).split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, ValueError, IndexError):
        return None
    finally:
        os.close(file)
