"""`stuck` is taken back by what cannot be the same loop or wait, and by nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.held import Held
from tests.collector.records import Process, job_key
from tests.examples import examples

DECLARED: dict[str, Any] = {"span_expected_duration": 2.0}
WINDOW = 30.0
"""In which movement counts, of a job that has moved before and reports every 15 s."""


class Watched:
    """A job beyond its declared time, and all verdicts on it."""

    def __init__(self) -> None:
        self.held, self.worker, self.age = Held(), Process(), 10.0
        self.states: list[tuple[float, str]] = []

    def say(self, **values: Any) -> str:
        self.held.tell(self.worker, self.worker.job(1, age=self.age, **DECLARED, **values))
        return self.look()

    def call(self, number: int, **values: Any) -> str:
        self.held.tell(self.worker, self.worker.span(number, 1, age=1.0, **values))
        return self.look()

    def close(self, number: int) -> str:
        self.held.tell(self.worker, self.worker.closed(number))
        return self.look()

    def wait(self, seconds: float) -> str:
        whole, rest = divmod(seconds, 10.0)
        for part in (*[10.0] * int(whole), rest):
            self.age += part
            self.held.wait(part)
            self.held.tell(self.worker, self.worker.state(*self._open()))
            self.look()
        return self.look()

    def look(self) -> str:
        state = self.held.job(job_key(1)).state
        self.states.append((self.age, state))
        return state

    def _open(self) -> list[int]:
        return [int.from_bytes(key[16:], "big") for key in self.held.tracker.spans]


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_loop_that_seems_to_move_stays_stuck(watched: Watched) -> None:
    """As an endless parser: each look finds it elsewhere in the same loop, now and then at a line not seen before."""
    assert (
        watched.say(job_movement_age=10.0, thread_cpu_ratio=1.0, code_line_number=7, code_file_path="a.py") == "stuck"
    )
    for line in (8, 9, 12):
        watched.wait(3)
        assert (
            watched.say(job_movement_age=0.5, thread_cpu_ratio=1.0, code_line_number=line, code_file_path="a.py")
            == "stuck"
        )
        assert watched.held.job("id-1").cause == "cpu_loop"


def test_progress_takes_it_back_at_once(watched: Watched) -> None:
    assert watched.say(job_movement_age=10.0, job_progress_done=3.0) == "stuck"
    assert watched.say(job_movement_age=0.1, job_progress_done=3.0, job_progress_age=10.0) == "stuck"
    assert watched.say(job_movement_age=0.1, job_progress_done=4.0, job_progress_age=0.1) == "overdue"


@pytest.mark.parametrize(
    ("one", "other", "after"),
    [
        ({"name": "GET"}, {"name": "POST"}, "overdue"),
        # A retry, or the next page of many.
        ({"name": "GET"}, {"name": "GET"}, "stuck"),
        ({"name": "GET /page/1"}, {"name": "GET /page/2"}, "stuck"),
        (
            {"name": "GET", "code_file_path": "a.py", "code_line_number": 7},
            {"name": "GET", "code_file_path": "a.py", "code_line_number": 9},
            "overdue",
        ),
        (
            {"name": "GET", "code_file_path": "a.py", "code_line_number": 7},
            {"name": "GET", "code_file_path": "a.py", "code_line_number": 7},
            "stuck",
        ),
    ],
)
def test_another_span_takes_it_back_if_it_is_another_one(
    watched: Watched, one: dict[str, Any], other: dict[str, Any], after: str
) -> None:
    watched.say(job_movement_age=10.0)
    watched.call(2, **one)
    watched.wait(40)
    watched.say(job_movement_age=50.0)
    assert watched.look() == "stuck"
    watched.close(2)
    watched.call(3, **other)
    assert watched.say(job_movement_age=0.5) == after


def test_a_job_that_goes_on_moving_is_believed(watched: Watched) -> None:
    """No span, no progress(): but a loop does not find new lines for half a minute."""
    assert watched.say(job_movement_age=10.0) == "stuck"
    told = []
    for _ in range(8):
        watched.wait(10)
        told.append(watched.say(job_movement_age=1.0))
    assert told[:3] == ["stuck"] * 3
    assert told[4:] == ["overdue"] * 4


def test_what_was_late_and_is_named_otherwise_is_still_late(watched: Watched) -> None:
    """A wait for a lock that is seen to be one for a future at the next look: nothing has moved."""
    held, worker = Held(), Process()
    held.tell(worker, worker.job(1, age=100.0))
    for kind in ("lock", "future", "lock"):
        held.tell(worker, worker.span(2, 1, age=90.0, name="wait", wait_kind=kind))
        assert held.job("id-1").state == "stuck"
    held.tell(worker, worker.closed(2))
    assert held.job("id-1").state == "running"


HISTORY = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from([0.5, 3.0, 12.0, 31.0])),
        st.tuples(st.just("moved"), st.sampled_from([0.0, 0.5, 3.0, 25.0, 40.0])),
        st.tuples(st.just("progress"), st.integers(0, 2)),
        st.tuples(st.just("call"), st.sampled_from(["GET /1", "GET /2", "POST"])),
        st.tuples(st.just("close"), st.none()),
    ),
    max_size=25,
)


@examples(100)
@given(history=HISTORY)
def test_no_verdict_flaps(history: list[tuple[str, Any]]) -> None:
    """From stuck to anything better and back within half a minute: only if it did go on in between."""
    watched, real, moved, done, calls = Watched(), [], [], 0, 1
    seen: set[str] = set()
    watched.say(job_movement_age=10.0, job_progress_done=0.0)
    for what, value in history:
        if what == "wait":
            watched.wait(value)
        elif what == "moved":
            moved.append(watched.age - value)
            watched.say(job_movement_age=value, job_progress_done=float(done))
        elif what == "progress":
            if value > done:
                real.append(watched.age)
            done = max(done, value)
            watched.say(job_movement_age=0.0, job_progress_done=float(done), job_progress_age=0.0)
            moved.append(watched.age)
        elif what == "call":
            if value[:3] not in seen:
                real.append(watched.age)
            seen.add(value[:3])
            calls += 1
            watched.call(calls, name=value)
        elif calls > 1:
            watched.close(calls)
    for began, left, back in flaps(watched.states):
        went_on = any(began <= at <= back for at in real)
        in_it = [at for at in moved if began <= at <= left]
        assert went_on or (in_it and max(in_it) - min(in_it) >= WINDOW), (began, left, back)


def flaps(states: list[tuple[float, str]]) -> list[tuple[float, float, float]]:
    """Return when `stuck` began, was left, and was back, where that was soon."""
    found, began, left, before = [], 0.0, None, ""
    for at, state in states:
        if before == "stuck" != state:
            left = at
        if state == "stuck" and left is not None:
            found.append((began, left, at))
            began, left = at, None
        before = state
    return [(began, left, back) for began, left, back in found if back - left < 3 * WINDOW]
