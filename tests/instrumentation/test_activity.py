"""Does a job still do something new? Its stacks over time, its spans, its own word."""

from types import CodeType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastspan.instrumentation.announce.activity import Activity, common, is_same_place
from lastspan.instrumentation.evidence import Step

WINDOW = 30.0
EVERY = 5.0


def code(name: str) -> CodeType:
    namespace: dict[str, object] = {}
    exec(f"def {name}(): pass", namespace)
    return namespace[name].__code__  # type: ignore[attr-defined, no-any-return]


MAIN, STEP1, STEP2, FETCH, SLEEP = (code(name) for name in ("main", "step1", "step2", "fetch", "sleep"))

LOOP: list[tuple[Step, ...]] = [
    ((MAIN, 10), (STEP1, 20), (FETCH, 30)),
    ((MAIN, 10), (STEP1, 21), (SLEEP, 40)),
    ((MAIN, 10), (STEP1, 22)),
]
"""One loop of three lines in step1."""


def moved_at(stacks: list[tuple[Step, ...]], *, windows: int) -> float:
    """Feed *stacks* in turn, one sample each 5 s, for so many windows."""
    movement = Activity(0.0, window=WINDOW)
    now = 0.0
    while now < windows * WINDOW:
        movement.stack(stacks[round(now / EVERY) % len(stacks)], now)
        now += EVERY
    return movement.moved_at


@pytest.mark.parametrize(
    "stacks",
    [
        [((MAIN, 10), (SLEEP, 40))],  # one place
        LOOP,  # the same lines again and again
        [((MAIN, 10), (STEP1, 20)), ((MAIN, 10), (STEP1, 20), (FETCH, 30))],  # seen with and without its call
        [((MAIN, 10), (STEP1, 20)), ((MAIN, 11), (STEP2, 20))],  # a loop over two functions
    ],
    ids=["still", "loop", "call", "alternating"],
)
def test_repeating_is_not_movement(stacks: list[tuple[Step, ...]]) -> None:
    """However long it goes on, a job that only repeats its lines moved when it began."""
    assert moved_at(stacks, windows=20) == 0.0


def test_line_after_line_of_one_function() -> None:
    """A long function makes a short call at each line: it comes further down than it ever was."""
    movement = Activity(0.0, window=WINDOW)
    for tick in range(60):
        movement.stack(((MAIN, 10 + tick), (FETCH, 30)), tick * EVERY)
    assert movement.moved_at >= 50 * EVERY
    for tick in range(60, 120):  # and then in one call
        movement.stack(((MAIN, 70), (FETCH, 30)), tick * EVERY)
    assert movement.moved_at <= 66 * EVERY


def test_from_step_to_step() -> None:
    """step1 for two windows, then step2: that is movement, and so is nothing after it."""
    movement = Activity(0.0, window=WINDOW)
    for tick in range(60):
        now = tick * EVERY
        stack = ((MAIN, 10), (STEP1, 20)) if now < 70 else ((MAIN, 11), (STEP2, 20))
        movement.stack(stack, now)
    assert 70 <= movement.moved_at <= 70 + 2 * WINDOW


def test_going_back_is_not_movement() -> None:
    """A place known from before is not new, whenever the job returns to it."""
    movement = Activity(0.0, window=WINDOW)
    moved: list[float] = []
    for window in range(12):
        place = ((MAIN, 10), (STEP1 if window % 2 else STEP2, 20))
        for sample in range(7):
            movement.stack(place, window * 35.0 + sample * EVERY)
        moved.append(movement.moved_at)
    assert moved[4:] == [moved[4]] * 8


def test_a_span_of_a_new_name() -> None:
    """New name: movement. The same again: none. The same after it was absent for a window: new again."""
    movement = Activity(0.0, window=WINDOW)
    movement.span("GET", 10.0)
    assert movement.moved_at == 10.0
    for now in range(11, 200):
        movement.span("GET", float(now))
    assert movement.moved_at == 10.0
    movement.span("SELECT", 200.0)
    assert movement.moved_at == 200.0
    movement.span("GET", 199.0 + WINDOW + 1)
    assert movement.moved_at == 199.0 + WINDOW + 1


@pytest.mark.parametrize(("pause", "moved_at"), [(10.0, 0.0), (60.0, 60.0), (600.0, 600.0)])
def test_polling_at_long_intervals_is_not_movement(pause: float, moved_at: float) -> None:
    """The same call each minute: the second one may be something new, those that follow are not."""
    movement = Activity(0.0, window=WINDOW)
    for turn in range(20):
        movement.span("GET", turn * pause)
    assert movement.moved_at == moved_at


def test_names_without_end() -> None:
    """Names that never repeat (a client's bug) cost a bounded memory."""
    movement = Activity(0.0, window=WINDOW)
    for number in range(10_000):
        movement.span(f"GET /{number}", float(number))
    assert len(movement._names) <= 256


def test_its_own_word() -> None:
    """progress() that rises is movement; told again, or falling, it is not."""
    movement = Activity(0.0, window=WINDOW)
    movement.progress(1.0, 10.0)
    assert movement.moved_at == 10.0
    movement.progress(1.0, 20.0)
    movement.progress(0.5, 30.0)
    assert movement.moved_at == 10.0
    movement.progress(0.6, 40.0)  # from the lower one on it rises again: a new batch
    assert movement.moved_at == 40.0


steps = st.lists(st.tuples(st.sampled_from([MAIN, STEP1, STEP2, FETCH]), st.integers(1, 3)), max_size=4).map(tuple)


@given(steps, steps)
def test_a_common_prefix_leads_into_both(one: tuple[Step, ...], other: tuple[Step, ...]) -> None:
    """What two stacks have in common is the same place as each of them, and it matters not which comes first."""
    shared = common(one, other)
    assert shared == common(other, one)
    assert is_same_place(shared, one)
    assert is_same_place(shared, other)
    assert len(shared) <= min(len(one), len(other))


@given(steps)
def test_a_stack_is_where_it_is(one: tuple[Step, ...]) -> None:
    """With itself a stack has all in common."""
    assert common(one, one) == one


@given(st.lists(st.tuples(steps, st.floats(0, 20)), max_size=60))
def test_movement_is_never_in_the_future_and_never_goes_back(samples: list[tuple[tuple[Step, ...], float]]) -> None:
    """Whatever the stacks: `moved_at` only rises, and never beyond now."""
    movement, now, last = Activity(0.0, window=WINDOW), 0.0, 0.0
    for stack, pause in samples:
        now += pause
        movement.stack(stack, now)
        assert last <= movement.moved_at <= now
        last = movement.moved_at
