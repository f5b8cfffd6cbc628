"""Whatever the order, the losses and the duplicates: the final view is the same, and nothing stuck stays hidden."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from tests.collector.held import Held
from tests.collector.records import Process
from tests.examples import examples

ACTIONS = st.lists(
    st.tuples(st.sampled_from(["job", "call", "refresh", "close", "state", "cut state"]), st.integers(0, 5)),
    max_size=40,
)


@dataclass
class History:
    """What one process does, and the records that tell of it in their order."""

    process: Process
    records: list[LogRecord] = field(default_factory=list)
    closes: list[LogRecord] = field(default_factory=list)
    open: dict[int, int] = field(default_factory=dict)
    """Open span → its job."""
    age: float = 0.0
    opened: int = 0

    def play(self, actions: list[tuple[str, int]]) -> History:
        for action, choice in actions:
            self.age += 7.0
            jobs = [number for number, job in self.open.items() if number == job]
            match action:
                case "job":
                    self._open(None)
                case "call" if jobs:
                    self._open(jobs[choice % len(jobs)])
                case "refresh" if self.open:
                    self.records.append(self._announce(list(self.open)[choice % len(self.open)]))
                case "close" if self.open:
                    self._close(list(self.open)[choice % len(self.open)])
                case "state":
                    self.records.append(self.process.state(*self.open))
                case "cut state":
                    self.records.append(self.process.state(*list(self.open)[:choice], open_count=len(self.open)))
        return self

    def refresh(self) -> list[LogRecord]:
        return [self._announce(number) for number in self.open]

    def _open(self, job: int | None) -> None:
        self.opened += 1
        self.open[self.opened] = self.opened if job is None else job
        self.records.append(self._announce(self.opened))

    def _announce(self, number: int) -> LogRecord:
        job = self.open[number]
        if number == job:
            return self.process.job(number, age=self.age, job_movement_age=0.0)
        return self.process.http(number, job, age=self.age / 4)

    def _close(self, number: int) -> None:
        ended = [number, *(child for child, job in self.open.items() if job == number and child != number)]
        for span in reversed(ended):
            del self.open[span]
            self.closes.append(self.process.closed(span))
            self.records.append(self.closes[-1])


def seen(held: Held) -> dict[bytes, str | None]:
    """Return what is open, and the verdict on each job."""
    held.tick()
    return {
        key: row.job.state.value if row.job is not None and row.job.span is row else None
        for key, row in held.tracker.spans.items()
    }


def deliver(held: Held, process: Process, records: list[LogRecord]) -> None:
    for record in records:
        held.tell(process, record)


@examples(150)
@given(actions=ACTIONS, data=st.data())
def test_order_loss_and_duplication_change_nothing(actions: list[tuple[str, int]], data: st.DataObject) -> None:
    """Two connections in any interleaving, retries, and closes that never arrive."""
    history = History(Process()).play(actions)
    refresh, last = history.refresh(), history.process.state(*history.open)

    ordered = Held()
    deliver(ordered, history.process, [*history.records, *refresh, last])

    lost = data.draw(st.sets(st.integers(0, max(0, len(history.closes) - 1))), label="lost closes")
    kept = [
        record
        for record in history.records
        if record not in [history.closes[i] for i in lost if i < len(history.closes)]
    ]
    twice = data.draw(st.lists(st.sampled_from(kept), max_size=10) if kept else st.just([]), label="sent twice")
    scrambled = Held()
    deliver(scrambled, history.process, data.draw(st.permutations([*kept, *twice]), label="arrival"))
    deliver(scrambled, history.process, data.draw(st.permutations(refresh), label="refresh"))
    truth = set(ordered.tracker.spans)
    assert truth <= set(scrambled.tracker.spans), "a refresh brings back all that is open"
    deliver(scrambled, history.process, [last, *data.draw(st.permutations(kept), label="late")])

    assert {int.from_bytes(key[16:], "big") for key in truth} == set(history.open)
    assert seen(scrambled) == seen(ordered)
    assert scrambled.tracker.evidence_bytes == 0
    assert scrambled.states().get("stuck") == ordered.states().get("stuck")


@examples(60)
@given(actions=ACTIONS, shift=st.integers(-600, 600))
def test_the_workers_clock_does_not_matter(actions: list[tuple[str, int]], shift: int) -> None:
    """A clock that is ten minutes wrong changes no verdict and no age."""
    views = []
    for shift_ns in (0, shift * 1_000_000_000):
        held, history = Held(), History(Process(shift_ns=shift_ns)).play(actions)
        deliver(held, history.process, history.records)
        held.wait(5)
        views.append((seen(held), [held.job(job.job_id).age_s for job in held.tracker.jobs.values()]))
    assert views[0] == views[1]


@examples(60)
@given(actions=ACTIONS, waits=st.lists(st.floats(0.1, 40), min_size=1, max_size=6))
def test_left_alone_a_job_only_gets_worse(actions: list[tuple[str, int]], waits: list[float]) -> None:
    """Without news a verdict never improves, and the counts by state always add up to the open jobs."""
    worse = ["running", "overdue", "stuck", "lost"]
    held, history = Held(), History(Process()).play(actions)
    deliver(held, history.process, history.records)
    before = seen(held)
    for seconds in waits:
        held.wait(seconds)
        after = seen(held)
        for key, state in before.items():
            assert state is None or worse.index(after[key] or "") >= worse.index(state)
        counts = held.states()
        counts.pop("ended", None)
        assert sum(counts.values()) == len(held.tracker.jobs)
        before = after
