"""Workers that run the world's jobs and tell of them as real ones do: late announcement, state, counts, losses."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Iterator
from itertools import count

from lastspan.instrumentation.announce.durations import DurationKey, Durations
from lastspan.instrumentation.send.records import Record, encode
from lastspan.semconv import SKETCH_EXPONENTIAL_HISTOGRAM, events
from lastspan.semconv import attributes as a

from .parameters import SILENT, Job, Parameters
from .world import Call, Event, Run, World

_EPOCH_NS = 1_790_000_000 * 10**9
_STATES = {"stopped": "T", "interpreter lock held": "R"}
_CALL: dict[str, dict[str, object]] = {
    "http": {"http.request.method": "GET", "server.address": "partner.example", "server.port": 443},
    "db": {"db.system.name": "postgresql", "server.address": "db-1", "server.port": 5432},
    "lock": {a.LOCK_NAME: "stock", a.WAIT_KIND: "lock"},
    "other": {},
}


class Process:
    """A process of a worker: a child runs one job at a time, a parent none."""

    def __init__(self, fleet: Fleet, *, slot: int, worker: int, parent: Process | None) -> None:
        self.fleet = fleet
        self.id, self.pid = fleet.new_id()
        self.slot = slot
        self.worker = worker
        """A worker has a host of its own."""
        self.parent = parent
        self.version = fleet.world.version
        self.run: Run | None = None
        self.alive = True
        self.silent = False
        self.stale = False
        """It restarts when its job has ended."""
        self.announced: dict[int, tuple[Run, Call | None]] = {}
        self.durations = Durations()
        self.outbox: list[Record] = []
        self.lost = False
        """The last request failed: say all again."""
        self.tries = 1
        """How often it says its last words again if they are lost."""
        self._sequence = 0
        self._skew_ns = int(random.Random(worker).uniform(-1, 1) * fleet.parameters.clock_skew * 1e9)
        self._interval = fleet.parameters.interval

    def say(
        self,
        event: str,
        facts: dict[str, object],
        now: float,
        *,
        run: Run | None = None,
        span: int = 0,
        body: bytes | None = None,
    ) -> None:
        """Put a record out."""
        self._sequence += 1
        attributes = {
            **facts,
            a.PROCESS_ID: self.id,
            a.PROCESS_SEQUENCE: self._sequence,
            a.REPORT_INTERVAL: self._interval,
        }
        time_ns = _EPOCH_NS + int(now * 1e9) + self._skew_ns
        is_kept = event in {events.SPAN_CLOSED, events.JOB_ENDED}
        self.outbox.append(Record(event, attributes, time_ns, run.id if run else 0, span, body, is_kept))
        self.fleet.speaking[self] = None

    def cut_off(self, now: float) -> None:
        """Say nothing more; what it has just put out is not on the wire yet."""
        self.silent = True
        limit_ns = _EPOCH_NS + int((now - self.fleet.parameters.wake) * 1e9) + self._skew_ns
        self.outbox = [record for record in self.outbox if record.time_ns <= limit_ns]

    def resource(self) -> dict[str, object]:
        """Who speaks."""
        return {
            "service.name": "shop",
            "service.version": str(self.version),
            "deployment.environment.name": "prod",
            "host.name": f"host-{self.worker}",
            a.PID: self.pid,
            a.PARENT_PID: self.parent.pid if self.parent is not None else 1,
            a.WORKER_ID: f"worker-{self.worker}",
        }


class Fleet:
    """All processes, driven by events."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.world = World(parameters)
        self.runs: dict[int, Run] = {}
        """All that began, by id."""
        self._chance = random.Random(parameters.seed + 1000)
        self._events: list[Event] = []
        self._numbers, self._pids = count(), count()
        self._queue: deque[Job] = deque()
        self._until = parameters.weeks * 7 * 86_400
        self._arrivals = self.world.arrivals(self._until)
        self.speaking: dict[Process, None] = {}
        """Who has something to say."""
        workers = -(-parameters.processes // parameters.children)
        self._parents = {
            worker: Process(self, slot=-1, worker=worker, parent=None)
            for worker in range(workers)
            if int((worker + 1) * parameters.parents) > int(worker * parameters.parents)
        }
        for parent in self._parents.values():
            self._at(self._chance.uniform(0, parameters.interval), "report", parent)
        self._slots = [self._new_process(slot, 0.0) for slot in range(parameters.processes)]
        self._next_arrival()
        self._at(parameters.deploy_every, "deploy", None)

    def new_id(self) -> tuple[str, int]:
        """Return a process's id, and its pid."""
        return f"{self._chance.getrandbits(64):016x}", 100 + next(self._pids) % 4_000_000

    def seconds(self) -> Iterator[tuple[float, list[bytes]]]:
        """Yield each second, and the requests that arrive in it."""
        second = 0.0
        while second < self._until:
            second += 1.0
            while self._events and self._events[0].at <= second:
                event = heapq.heappop(self._events)
                getattr(self, f"_on_{event.what}")(event.subject, event.at)
            yield second, list(self._requests(second))

    # --- what goes out ------------------------------------------------------------------------------------------

    def _requests(self, now: float) -> Iterator[bytes]:
        p, speaking = self.parameters, self.speaking
        self.speaking = {}
        for process in speaking:
            if process.lost and process.alive and not process.silent:
                process.lost = False
                self._say_all(process, now)
            outbox, process.outbox = process.outbox, []
            if not outbox:
                continue
            if self._chance.random() < p.request_lost:
                process.lost = True
                if process.tries > 0:
                    process.tries -= not process.alive
                    process.outbox = [record for record in outbox if record.is_kept or not process.alive]
                    self.speaking[process] = None
                continue
            body = encode(process.resource(), [r for r in outbox if self._chance.random() >= p.record_lost], "0")
            yield body
            if self._chance.random() < p.record_twice:
                yield body

    def _say_all(self, process: Process, now: float) -> None:
        for run, call in process.announced.values():
            self._announce(process, run, call, now)
        process.durations.put_back([*process.durations.started, *process.durations.ended])
        self._report(process, now)

    def _announce(self, process: Process, run: Run, call: Call | None, now: float) -> None:
        facts: dict[str, object] = {
            a.SPAN_NAME: f"run/{run.job.name}" if call is None else call.name,
            a.SPAN_KIND: "CONSUMER" if call is None else "CLIENT",
            a.SPAN_AGE: now - (run.start if call is None else call.start),
            a.SPAN_IS_JOB: call is None,
            a.JOB_SPAN_ID: f"{run.id:016x}",
            a.JOB_NAME: run.job.name,
            a.JOB_ID: str(run.id),
            a.JOB_QUEUE: "default",
            a.JOB_SYSTEM: "celery",
        }
        if call is None:
            moved = max((at for at in run.movements if at <= now), default=run.start)
            facts[a.JOB_MOVEMENT_AGE] = now - moved
        else:
            facts |= {a.SPAN_PARENT_ID: f"{run.id:016x}", **_CALL[call.kind]}
        span = run.id if call is None else call.id
        process.announced[span] = (run, call)
        process.say(events.SPAN_OPEN, facts, now, run=run, span=span)

    def _report(self, process: Process, now: float, status: str = "running") -> None:
        for key in process.durations.take_changed():
            facts: dict[str, object] = {
                a.JOB_NAME: key.job_name,
                a.JOB_QUEUE: key.queue,
                a.JOB_SYSTEM: key.system,
                a.SPAN_NAME: key.span_name,
                a.OUTCOME: key.outcome,
            }
            if key.outcome is None:
                process.say(events.PROCESS_DURATIONS, {**facts, a.COUNT_STARTED: process.durations.started[key]}, now)
            else:
                sketch = process.durations.ended[key]
                facts |= {a.COUNT_ENDED: sketch.count, a.SKETCH_FORMAT: SKETCH_EXPONENTIAL_HISTOGRAM}
                process.say(events.PROCESS_DURATIONS, facts, now, body=sketch.encode())
        body = b"".join(span.to_bytes(8, "big") for span in process.announced)
        state = {a.PROCESS_STATUS: status, a.SPAN_OPEN_COUNT: len(process.announced), **self._children(process)}
        process.say(events.PROCESS_STATE, state, now, body=body)

    def _children(self, process: Process) -> dict[str, object]:
        """What a parent sees of its children that run jobs."""
        children = [other for other in self._slots if other.parent is process and other.run is not None]
        if not children:
            return {}
        states = [_STATES.get(child.run.hang if child.silent and child.run else "", "S") for child in children]
        return {a.PROCESS_CHILD_PIDS: [child.pid for child in children], a.PROCESS_CHILD_STATES: states}

    # --- what happens -------------------------------------------------------------------------------------------

    def _at(self, at: float, what: str, subject: object) -> None:
        heapq.heappush(self._events, Event(at, next(self._numbers), what, subject))

    def _new_process(self, slot: int, now: float) -> Process:
        p = self.parameters
        worker = slot // p.children
        process = Process(self, slot=slot, worker=worker, parent=self._parents.get(worker))
        self._at(now + self._chance.uniform(0, p.interval), "report", process)
        self._at(now + self._chance.expovariate(1 / p.restart_every), "restart", process)
        return process

    def _next_arrival(self) -> None:
        found = next(self._arrivals, None)
        if found is not None:
            self._at(found[0], "arrival", found[1])

    def _on_arrival(self, job: Job, now: float) -> None:
        self._queue.append(job)
        self._next_arrival()
        for process in self._slots:
            if process.run is None and process.alive and self._queue:
                self._begin(process, now)

    def _begin(self, process: Process, now: float) -> None:
        run = process.run = self.world.run(self._queue.popleft(), now)
        self.runs[run.id] = run
        p = self.parameters
        self._at(now + p.job_announce_after, "late", (process, run, None))
        for call in run.calls:
            if call.end - call.start >= p.announce_after:
                self._at(call.start + p.announce_after, "late", (process, run, call))
                if call.end < run.end:
                    self._at(call.end, "returned", (process, run, call))
        for at in run.movements[:200]:
            self._at(at + 1.0, "moved", (process, run))
        if run.end < math.inf:
            self._at(run.end, "end", (process, run, "ok"))
        else:
            self._at(run.hang_at + p.hang_hold, "end", (process, run, "killed"))
        if run.hang in SILENT:
            self._at(run.hang_at, "silence", (process, run))

    def _is_on(self, process: Process, run: Run) -> bool:
        return process.run is run and process.alive and not process.silent

    def _on_late(self, subject: tuple[Process, Run, Call | None], now: float) -> None:
        process, run, call = subject
        if not self._is_on(process, run) or (call is not None and call.end <= now):
            return
        self._announce(process, run, call, now)
        self._at(now + self.parameters.refresh, "late", subject)

    def _on_returned(self, subject: tuple[Process, Run, Call], now: float) -> None:
        process, run, call = subject
        if self._is_on(process, run) and process.announced.pop(call.id, None) is not None:
            facts = {a.SPAN_DURATION: now - call.start, a.OUTCOME: "ok"}
            process.say(events.SPAN_CLOSED, facts, now, run=run, span=call.id)

    def _on_moved(self, subject: tuple[Process, Run], now: float) -> None:
        process, run = subject
        if self._is_on(process, run) and run.id in process.announced:
            self._announce(process, run, None, now)

    def _on_end(self, subject: tuple[Process, Run, str], now: float) -> None:
        process, run, outcome = subject
        if process.run is not run or not process.alive:
            return
        if process.silent or (outcome == "killed" and process.parent is not None):  # somebody kills it
            self._die(process, run, now)
            return
        self._count(process, run, outcome, now)
        for span, (other, _) in list(process.announced.items()):
            if other is run:
                del process.announced[span]
                process.say(
                    events.SPAN_CLOSED, {a.SPAN_DURATION: now - run.start, a.OUTCOME: outcome}, now, run=run, span=span
                )
        process.run = None
        if process.stale or outcome == "killed":
            self._report(process, now, "stopping")
            self._replace(process, now)
        elif self._queue:
            self._begin(process, now)

    def _count(self, process: Process, run: Run, outcome: str, now: float) -> None:
        key = DurationKey(run.job.name, "default", "celery", None, None)
        process.durations.start(key)
        calls = [(call.name, min(call.end, now) - call.start, 1, call.end <= now) for call in run.calls]
        for name, seconds, often, is_ok in (*((*told, True) for told in run.durations), *calls):
            self._add(process, key._replace(span_name=name, outcome="ok" if is_ok else "error"), seconds, often)
        self._add(process, key._replace(outcome=outcome), now - run.start, 1)

    def _add(self, process: Process, key: DurationKey, seconds: float, often: int) -> None:
        sketch = process.durations.of(key)
        for _ in range(often if sketch is not None else 0):
            sketch.add(seconds)  # type: ignore[union-attr]

    def _on_silence(self, subject: tuple[Process, Run], now: float) -> None:
        process, run = subject
        if process.run is not run:
            return
        if run.hang == "killed":
            self._die(process, run, now)
        else:
            process.cut_off(now)

    def _die(self, process: Process, run: Run, now: float) -> None:
        """A process is killed: its parent, if it has one, notices within a second."""
        process.cut_off(now)
        if process.parent is not None:
            self._at(now + self._chance.random(), "death", (process, run))
        self._replace(process, now)

    def _on_death(self, subject: tuple[Process, Run], now: float) -> None:
        process, run = subject
        facts = {
            a.JOB_SYSTEM: "celery",
            a.JOB_ID: str(run.id),
            a.JOB_NAME: run.job.name,
            a.OUTCOME: "killed",
            a.REASON: "its process was killed by signal 9",
            a.PID: process.pid,
            a.EXIT_SIGNAL: 9,
        }
        if process.parent is not None:
            process.parent.say(events.JOB_ENDED, facts, now)

    def _replace(self, process: Process, now: float) -> None:
        process.alive, process.run = False, None
        self._slots[process.slot] = self._new_process(process.slot, now)
        if self._queue:
            self._begin(self._slots[process.slot], now)

    def _on_report(self, process: Process, now: float) -> None:
        if process.alive and not process.silent:
            self._report(process, now)
            self._at(now + self.parameters.interval, "report", process)

    def _on_restart(self, process: Process, now: float) -> None:
        if not process.alive:
            return
        process.stale = True
        if process.run is None:
            self._report(process, now, "stopping")
            self._replace(process, now)

    def _on_deploy(self, _: None, now: float) -> None:
        self.world.deploy()
        for process in self._slots:
            self._at(now + self._chance.uniform(0, 600), "restart", process)
        self._at(now + self.parameters.deploy_every, "deploy", None)
