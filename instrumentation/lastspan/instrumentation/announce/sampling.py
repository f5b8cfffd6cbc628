"""Samples the code of late spans: how often, what is kept between samples, and when to search deeper.

A sample is cheap and proves nothing. From two that agree, at least 50 ms apart, a diagnosis is made; it is made again
only when something has changed. The locks are searched once for each place where a job stops, then ever less often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from lastspan.semconv import attributes as a

from ..evidence import CodeLine, StackSample, cpu_time_ns, python, run_queue_ns, sample_stack, stack_text
from ..evidence.diagnosis import SENT, Attributes, Subject, diagnose
from ..evidence.locks.blocked_on import HELD
from ..evidence.locks.find import Holder, WaitedLock, find, known_by
from ..evidence.loops.hubs import Hubs
from ..evidence.loops.lag import Loop, Loops
from ..evidence.objects import futures, values
from ..evidence.objects.reads import read
from ..evidence.stack.frames import application_index, has_ended, live, worker_of
from ..evidence.stack.place import StackHistory
from ..evidence.waits.pools import keeps, waited_pool
from ..evidence.waits.sessions import sessions_in_reach
from ..guest import log, redact
from ..guest.errors import describe_error
from ..registry.spans import RUN, THREAD, ExecutionContext
from .places import OF_HOLDER, OF_LOOP, PATH_MAX, code_at, code_attributes, place_attributes
from .repeated_calls import CALLS, SampledCall, sampled_call

if TYPE_CHECKING:
    from ..config.settings import WorkerSettings
    from ..registry.run import Run
    from ..registry.spans import OpenSpans

_log = log.Log(__name__)

_APART: Final = 0.05
"""Two samples that are closer say nothing of CPU time, s."""
BUSY: Final = 0.05
"""CPU share that tells running from waiting; blocked threads show 0.00, polling ones less than 0.01."""
_RAN_NS: Final = 8_000
"""The kernel books some µs for interrupts to a thread that sleeps; who was woken and waits again takes at least ten."""
_HALF: Final = 0.5
_STACK_MAX: Final = 16_384
_SEARCHED: Final = frozenset(
    {"lock", "semaphore", "condition", "event", "barrier", "queue", "thread", "future", "task"}
)
"""Waits at an object of the process that has a name, or for work of another thread or task."""
_SEARCH_PAUSE_MAX: Final = 600.0
"""Between two searches for the same lock, s."""
_ASKED_MAX: Final = 64
"""Jobs that are asked whether a thread works for them."""
_LAG: Final = 0.5
"""An event loop that is later than that is blocked, s."""


class SampledSpan:
    """What the looks at one leaf have shown."""

    __slots__ = (
        "_cpu_ns",
        "_package",
        "_queue_ns",
        "_thread_at",
        "_turn",
        "call",
        "cpu_ratio",
        "diagnosed_at",
        "found",
        "has_run",
        "holder_run",
        "lock",
        "look",
        "loop",
        "place",
        "queue_ratio",
        "sampled_at",
        "searched_at",
        "searched_next",
        "still_since",
        "taken",
        "waits_since",
    )

    def __init__(self, package: str) -> None:
        self._package = package
        self.look: StackSample | None = None
        self.place = StackHistory()
        self.taken = 0
        self.sampled_at = -1e9
        self.still_since = 0.0
        """Since when the stack is the same; monotonic s."""
        self.waits_since = 0.0
        """The same, but of one wait: code may have got what it waited for, and wait there again."""
        self.cpu_ratio: float | None = None
        self.queue_ratio: float | None = None
        self.found: Attributes = {}
        """What the last diagnosis said; {}: none was made at this place."""
        self.call: SampledCall | None = None
        """The known call of the last sample, though the code is not there."""
        self.has_run = True
        """Between the last two looks its code got on, if only to wait there again."""
        self.loop: Attributes = {}
        """Of its event loop, while that does not run."""
        self.lock: WaitedLock | None = None
        self.holder_run: Run | None = None
        """The job for which the lock's holder works, if that has no span of it."""
        self.diagnosed_at: float | None = None
        self.searched_at: float | None = None
        self.searched_next = 0.0
        self._cpu_ns: int | None = None
        self._queue_ns: int | None = None
        self._thread_at = 0.0
        self._turn: object = None

    @property
    def is_busy(self) -> bool:
        """Its thread computes, or would if it got a core; False also where that is not known."""
        cpu, queue = self.cpu_ratio or 0.0, self.queue_ratio or 0.0
        return cpu > BUSY / 2 and cpu + queue > BUSY

    @property
    def may_sleep(self) -> bool:
        """It wants a core for less than half of the time, as one that polls and sleeps for a moment."""
        return (self.cpu_ratio or 0.0) + (self.queue_ratio or 0.0) < _HALF

    @property
    def computes(self) -> bool:
        """It has a core for half of the time: calls are not what it is busy with."""
        return (self.cpu_ratio or 0.0) >= _HALF

    @property
    def kind(self) -> str:
        """What it waits for, as far as that is known."""
        return str(self.found.get(a.WAIT_KIND, ""))

    def take(self, seen: StackSample, now: float, *, gil_contended: bool = False, called_at: float = 0.0) -> None:
        """Take one sample; *is_hurried*: without what the kernel says in files.

        *called_at*: when a call of its job was last over; who has run since then waits in another one.
        """
        has_called = called_at > self.sampled_at
        is_same = self.look is not None and seen.steps == self.look.steps
        is_known = is_same and self.place.is_still  # it stands where it stood: what most looks see
        before = None if is_known else self.place.location(self._package)
        if not is_same:
            self.still_since = self.waits_since = now
            self.diagnosed_at, self.lock, self.searched_at = None, None, None
        self.look, self.sampled_at = seen, now
        self.taken += 1
        self.place.take(seen.steps)
        stand = None if is_known else self.place.location(self._package)
        if before is not None and stand is not None and before.step[0] is not stand.step[0]:
            self.forget()
        self._take_thread(seen.thread_id if seen.is_on_thread else None, now, gil_contended)
        self._take_turn(seen, now, has_called=has_called)

    def _take_turn(self, seen: StackSample, now: float, *, has_called: bool) -> None:
        """A wait at a lock, queue or event of the process is one sleep: who has run since waits there once more."""
        turn: object = self._cpu_ns if seen.is_on_thread else seen.awaits
        if seen.is_on_thread and isinstance(turn, int) and isinstance(self._turn, int):
            is_another = turn - self._turn > _RAN_NS
        else:
            is_another = turn is not self._turn
        self.has_run = self._turn is None or is_another
        is_one_sleep = has_called or (self.lock is not None and self.lock.identity)
        if is_one_sleep and self._turn is not None and is_another:
            self.waits_since = now
        self._turn = turn

    def forget(self) -> None:
        """Drop the conclusions: the code is in another function, or uses the CPU."""
        self.found, self.lock, self.diagnosed_at, self.searched_at = {}, None, None, None

    def _take_thread(self, thread_id: int | None, now: float, gil_contended: bool) -> None:
        if thread_id is None:
            self.cpu_ratio, self.queue_ratio, self._thread_at = None, None, 0.0
            return
        elapsed = now - self._thread_at
        if self._thread_at and elapsed < _APART:
            return
        cpu_ns, queue_ns = cpu_time_ns(thread_id), self._queue_ns
        if cpu_ns is None or cpu_ns != self._cpu_ns:  # who has not run did not ask for a core; the file costs the most
            queue_ns = None if gil_contended else run_queue_ns(thread_id)
        if self._thread_at:
            self.cpu_ratio = _ratio(self._cpu_ns, cpu_ns, elapsed)
            self.queue_ratio = _ratio(self._queue_ns, queue_ns, elapsed)
        self._cpu_ns, self._queue_ns, self._thread_at = cpu_ns, queue_ns, now


class StackSampler:
    """The late leaves of a process; driven by the watcher alone, the time is an argument."""

    def __init__(self, spans: OpenSpans, settings: WorkerSettings, process_id: str) -> None:
        self._spans = spans
        self._settings = settings
        self._process_id = process_id
        self._every = max(settings.interval / 3, settings.tick)
        self._loops = Loops()
        self._hubs = Hubs()
        self._pinged: set[int] = set()
        """Loops that were asked at this look, by id."""
        self._pinged_at = 0.0
        self._has_warned = False
        self._sampled: dict[int, SampledSpan] = {}
        self.gil_contended = False
        """This look is late, for native code kept the interpreter, and may again at each call of the system."""

    def of(self, span_id: int) -> SampledSpan | None:
        """Return what is known of a leaf."""
        return self._sampled.get(span_id)

    def call(self, span_id: int) -> SampledCall | None:
        """Return the known call that the last look met."""
        sampled = self._sampled.get(span_id)
        return None if sampled is None else sampled.call

    def drop(self, span_id: int) -> None:
        """It has ended, or is no leaf any more."""
        self._sampled.pop(span_id, None)

    def transfer(self, span_id: int, to: int) -> None:
        """What is known of one span is from now on another's: a wait began in it, or ended."""
        if (sampled := self._sampled.pop(span_id, None)) is not None:
            self._sampled[to] = sampled

    def sample(
        self, span_id: int, where: ExecutionContext, run: Run, now: float, *, is_call: bool, called_at: float = 0.0
    ) -> Generator[None, None, StackSample | None]:
        """Look at a leaf, if it is time; yields where the host may want its turn. Returns what was seen."""
        try:
            return (yield from self._sample(span_id, where, run, now, is_call=is_call, called_at=called_at))
        except Exception as error:  # what one job's code looks like must not silence what is told of all others
            self._sampled.pop(span_id, None)
            told = describe_error(error)
            if not self._has_warned:
                self._has_warned = True
                _log.warning("lastspan: the stack of a job cannot be read; the job is reported without it (%s)", told)
            return None

    def _sample(
        self, span_id: int, where: ExecutionContext, run: Run, now: float, *, is_call: bool, called_at: float
    ) -> Generator[None, None, StackSample | None]:
        sampled = self._sampled.get(span_id) or self._sampled.setdefault(span_id, SampledSpan(run.package))
        where = self._place(span_id, where, run)
        loop = self._hubs.of(where.greenlet, run.hub) if where.task is None else futures.loop_of(where.task)
        loop = None if loop is values.MISSING else loop
        lag = 0.0 if loop is None else self._lag(loop, where, now)
        if not (self._is_due(sampled, now) or (lag >= _LAG and not sampled.loop)):
            return None
        seen = self._take_sample(span_id, where, run)
        sampled.call = None
        sampled.take(seen, now, gil_contended=self.gil_contended, called_at=called_at)
        yield
        sampled.loop = {} if loop is None or lag < _LAG else self._of_loop(loop, where, run, lag)
        if sampled.taken < 2 or not seen.steps:
            return seen
        may_look = sampled.place.is_still and not self.gil_contended
        if sampled.is_busy and not (may_look and sampled.may_sleep):
            sampled.forget()
        elif may_look:
            yield from self._sample_deeper(sampled, seen, where, run, now, is_call=is_call)
            if sampled.is_busy and sampled.kind != "sleep":
                sampled.forget()
        if not (sampled.found or sampled.computes or self.gil_contended):
            self._diagnose(sampled, seen, where, run, now, is_call=is_call)
            sampled.found = {}  # it stands nowhere: only the call counts
            yield
        return seen

    def _diagnose(
        self, sampled: SampledSpan, seen: StackSample, where: ExecutionContext, run: Run, now: float, *, is_call: bool
    ) -> None:
        thread_id = seen.thread_id if seen.is_on_thread else None
        stood = now - sampled.waits_since
        found = diagnose(Subject(where, run.package, thread_id, is_call, stood, run.sessions))
        sent = found.pop(SENT, None)
        if found.get(a.WAIT_KIND) in CALLS and sent is not None:
            sampled.waits_since = max(sampled.waits_since, now - sent)  # what it waits for was asked for since
        sampled.found, sampled.call = found, sampled_call(found, sent)

    def _place(self, span_id: int, where: ExecutionContext, run: Run) -> ExecutionContext:
        """Where a span is looked at: where its job is, if what began it has ended and left it open."""
        entry = self._spans.open.get(run.span_id)
        return (
            self._spans.execution_context(entry)
            if entry is not None and span_id != run.span_id and has_ended(where)
            else where
        )

    def _take_sample(self, span_id: int, where: ExecutionContext, run: Run) -> StackSample:
        """Look at a leaf; where it is a task of a library's own, the job's stack has the application's line."""
        seen = sample_stack(where)
        entry = self._spans.open.get(run.span_id)
        if entry is None or span_id == run.span_id or application_index(seen.steps, run.package) is not None:
            return seen
        around = sample_stack(self._spans.execution_context(entry))
        at = application_index(around.steps, run.package)
        return seen if at is None else replace(seen, steps=(*around.steps[: at + 1], *seen.steps))

    def _is_due(self, sampled: SampledSpan, now: float) -> bool:
        """The second sample confirms the first; one more when it has not moved for long enough to be reported."""
        every = self._every if sampled.taken > 1 else _APART
        lasts_at = sampled.still_since + self._settings.announce_after
        return now - sampled.sampled_at >= every or sampled.sampled_at < lasts_at <= now

    def _sample_deeper(
        self, sampled: SampledSpan, seen: StackSample, where: ExecutionContext, run: Run, now: float, *, is_call: bool
    ) -> Iterator[None]:
        may_be_another = sampled.kind in CALLS and sampled.has_run
        is_old = sampled.diagnosed_at is None or now - sampled.diagnosed_at >= self._settings.refresh
        if is_old or may_be_another:
            sampled.diagnosed_at = now
            run.sessions = sessions_in_reach(live(where), run.package)
            yield
            self._diagnose(sampled, seen, where, run, now, is_call=is_call)
            yield
        if sampled.kind not in _SEARCHED and sampled.kind != "pool":
            return
        if sampled.searched_at is not None and now < sampled.searched_next:
            return
        try:
            yield from self._search(sampled, where, run, now)
        except Exception as error:  # it looks at all other jobs, threads and tasks: an odd one is not this job's fault
            _log.fault("lastspan: the search for the holder of a lock failed", error)

    def _search(self, sampled: SampledSpan, where: ExecutionContext, run: Run, now: float) -> Iterator[None]:
        """Find who holds what it waits for; next time after twice as long."""
        waited = self._settings.interval if sampled.searched_at is None else 2 * (now - sampled.searched_at)
        sampled.searched_at = now if sampled.searched_at is None else sampled.searched_at
        sampled.searched_next = now + min(max(waited, self._settings.interval), _SEARCH_PAUSE_MAX)
        if sampled.kind == "pool":
            sampled.lock = yield from self._search_pool(where, run)
            return
        greenlets = self._greenlets() if where.greenlet is not None else ()
        sampled.lock = yield from find(where, self._describe, greenlets)
        yield
        sampled.holder_run = self._run_behind(sampled.lock)

    def _greenlets(self) -> list[Any]:
        places = (self._spans.execution_context(entry) for entry in list(self._spans.open.values()))
        return [where.greenlet for where in places if where.greenlet is not None]

    def _search_pool(self, where: ExecutionContext, run: Run) -> Generator[None, None, WaitedLock | None]:
        """Find the job that keeps a connection of the pool that another one waits for."""
        for other_id, entry in list(self._spans.open.items()):
            other = entry[RUN]
            if other is None or other is run or other.span_id != other_id:
                continue
            yield
            pools = waited_pool(live(where), run.package)
            if not pools:
                return None
            there = self._spans.execution_context(entry)
            if keeps(live(there), pools, other.package):
                seen = sample_stack(there)
                step = seen.place(other.package)
                code = None if step is None else CodeLine.of(step)
                fiber = there.greenlet if there.task is None else there.task
                key = known_by(there.thread if fiber is None else fiber)
                who = Holder(seen.thread_name, there.thread, there.task is not None, code, "likely", key)
                return WaitedLock("", values.class_name(type(pools[0])), "pool", 0, who, ())
        return None

    def _lag(self, loop: Loop, where: ExecutionContext, now: float) -> float:
        """Ask the event loop of a late job whether it runs; return for how long it does not, s."""
        if now != self._pinged_at:
            self._pinged, self._pinged_at = set(), now
        if id(loop) not in self._pinged:
            self._pinged.add(id(loop))
            self._loops.ping(loop, now, where.thread)
        return self._loops.lag(loop, now)

    def _of_loop(self, loop: Loop, where: ExecutionContext, run: Run, lag: float) -> Attributes:
        """Tell the task or greenlet that keeps a loop from running from those that suffer."""
        culprit, thread = self._loops.culprit(loop)
        is_culprit = culprit is where.task if where.task is not None else _runs(where.greenlet)
        if is_culprit:
            return {a.LOOP_LAG: lag, a.LOOP_CULPRIT: True}
        found: Attributes = {a.LOOP_LAG: lag, a.LOOP_CULPRIT: False, a.WAIT_KIND: "loop"}
        keeper = self.run_of(culprit) if culprit is not None else self._run_on(thread)
        if keeper is not None:
            found |= {a.LOOP_JOB_ID: _id_of(keeper), a.LOOP_JOB_NAME: redact.text(keeper.name)}
        elif culprit is not None:
            found[a.LOOP_TASK] = redact.text(futures.name_of(culprit)) or None
        return found | place_attributes(
            OF_LOOP, code_at(ExecutionContext(thread or where.thread, None, None), run.package)
        )

    def _run_on(self, thread: int) -> Run | None:
        """Return the job of the greenlet that runs on a thread now."""
        for entry in list(self._spans.open.values()):
            run = entry[RUN]
            greenlet = self._spans.execution_context(entry).greenlet if entry[THREAD] == thread else None
            if run is not None and greenlet is not None and _runs(greenlet):
                return run
        return None

    def _describe(self, party: int | asyncio.Task[Any]) -> str:
        """Name the job that a thread or task runs; else the task."""
        run = self.run_of(party)
        if run is not None:
            return f"job {run.name} {run.id or f'{run.span_id:016x}'}"
        return "" if type(party) is int else futures.name_of(party)

    def run_of(self, party: object) -> Run | None:
        """Return the job of a thread (by its ident) or a task; None: of none that is known."""
        if party is None:
            return None
        for entry in reversed(list(self._spans.open.values())):
            _, thread, fiber, run = entry
            is_it = type(party) is int and thread == party if fiber is None else fiber() is party
            if run is not None and is_it:
                return run
        return None

    def _run_behind(self, lock: WaitedLock | None) -> Run | None:
        """Return the job that joins a lock's holder, or awaits its result: a thread that has no span of its own."""
        if lock is None or lock.holder is None or lock.wait not in HELD or self.run_of(lock.holder.party) is not None:
            return None
        thread = lock.holder.ident
        if thread is None:
            return None
        entries = (self._spans.open.get(span_id) for span_id in list(self._spans.runs)[:_ASKED_MAX])
        found = (
            entry
            for entry in entries
            if entry is not None and worker_of(self._spans.execution_context(entry)) == thread
        )
        return next((entry[RUN] for entry in found), None)

    # --- as attributes --------------------------------------------------------------------------------------------

    def evidence(self, span_id: int, run: Run | None, now: float) -> Attributes:
        """Return all that is known of a leaf, as it leaves the process."""
        sampled = self._sampled.get(span_id)
        if sampled is None or sampled.look is None:
            return {}
        seen = sampled.look
        if seen.unseen:
            return {a.STACK_UNSEEN: seen.unseen}
        found: Attributes = {
            a.THREAD_ID: seen.thread_id,
            a.THREAD_NAME: redact.text(seen.thread_name) or None,
            a.CODE_STACKTRACE: redact.text(stack_text(seen.steps), _STACK_MAX),
            a.STACK_AGE: now - sampled.waits_since,
            a.THREAD_CPU_RATIO: sampled.cpu_ratio,
            a.THREAD_RUNQUEUE_RATIO: sampled.queue_ratio,
        }
        stand = sampled.place.location(run.package if run is not None else "", is_busy=sampled.is_busy)
        if stand is not None:
            found |= code_attributes(*stand.step)
            if stand.lines is not None:
                found[a.CODE_FIRST_LINE], found[a.CODE_LAST_LINE] = stand.lines
        found |= sampled.found
        if unknown := python.unknown():
            found[a.EVIDENCE_UNSEEN] = "; ".join(filter(None, (unknown, sampled.found.get(a.EVIDENCE_UNSEEN))))
        if sampled.lock is not None:
            found |= self._of_lock(sampled.lock, sampled.holder_run)
        return found | sampled.loop

    def has_line(self, span_id: int) -> bool:
        """Its code was seen."""
        sampled = self._sampled.get(span_id)
        return sampled is not None and sampled.look is not None and bool(sampled.look.steps)

    def is_diagnosed(self, span_id: int) -> bool:
        """Something is known of what it does: it waits for this, or computes, or its loop is blocked."""
        sampled = self._sampled.get(span_id)
        return sampled is not None and bool(sampled.found or sampled.is_busy or sampled.loop)

    def fingerprint(self, span_id: int, package: str) -> object:
        """What, when it changes, is news."""
        sampled = self._sampled.get(span_id)
        if sampled is None:
            return None
        lock, found = sampled.lock, sampled.found
        return (
            sampled.place.location(package, is_busy=sampled.is_busy),
            sampled.is_busy,
            sampled.kind,
            found.get(a.WAIT_PEER),
            lock and (lock.name, lock.cycle, lock.holder and (lock.holder.thread, lock.holder.certainty)),
            sampled.loop.get(a.LOOP_CULPRIT),
        )

    def _of_lock(self, lock: WaitedLock, holder_run: Run | None) -> Attributes:
        found: Attributes = {
            a.LOCK_NAME: redact.text(lock.short) or None,
            a.LOCK_FILE: None if lock.place is None else redact.text(lock.place[0], PATH_MAX),
            a.LOCK_LINE: None if lock.place is None else lock.place[1],
            a.LOCK_KIND: redact.text(lock.kind) or None,
            a.LOCK_KEY: f"lock:{self._process_id}:{lock.identity:x}" if lock.identity else None,
            a.LOCK_CYCLE: [redact.text(part, 512) for part in lock.cycle[:10]] or None,
        }
        if lock.wait:
            found[a.WAIT_KIND] = lock.wait
        return found | ({} if lock.holder is None else self._of_holder(lock.holder, holder_run))

    def _of_holder(self, holder: Holder, behind: Run | None) -> Attributes:
        behind = behind if behind is not None and behind.span_id in self._spans.runs else None
        run = self.run_of(holder.party) or behind
        found: Attributes = {
            a.LOCK_HOLDER_THREAD: redact.text(holder.thread) or None,
            a.LOCK_HOLDER_CERTAINTY: holder.certainty,
            **place_attributes(OF_HOLDER, holder.code),
        }
        if run is not None:
            found[a.LOCK_HOLDER_JOB_ID] = _id_of(run)
            found[a.LOCK_HOLDER_SPAN_ID] = f"{run.span_id:016x}"
        return found


def _runs(greenlet: object) -> bool:
    """Say whether a greenlet is the one that its thread runs now."""
    return read(greenlet, "gr_frame") is None


def _id_of(run: Run) -> str:
    return redact.text(run.id) if run.id else f"{run.span_id:016x}"


def _ratio(before: int | None, now: int | None, elapsed: float) -> float | None:
    if before is None or now is None or elapsed <= 0:
        return None
    return min(max((now - before) / 1e9 / elapsed, 0.0), 1.0)
