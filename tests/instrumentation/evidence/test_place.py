"""Where a span's code stands over several looks: a line that waits, or a loop and its lines."""

from __future__ import annotations

from types import CodeType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastspan.instrumentation.evidence.stack.frames import Step
from lastspan.instrumentation.evidence.stack.place import StackHistory


def code(name: str, filename: str = "/srv/shop/billing.py") -> CodeType:
    return (lambda: None).__code__.replace(co_name=name, co_filename=filename)


MAIN, JOB, HELPER, OTHER = code("main"), code("job"), code("helper"), code("other")
LIBRARY = code("recv", "/usr/lib/python3/dist-packages/requests/api.py")


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        # one look: where it is
        ([[(MAIN, 1), (JOB, 5)]], ("job", 5, None)),
        # it stands still
        ([[(MAIN, 1), (JOB, 5)]] * 3, ("job", 5, None)),
        # it waits in a library: the application's line
        ([[(MAIN, 1), (JOB, 5), (LIBRARY, 90)]] * 3, ("job", 5, None)),
        # it was elsewhere before, and stands still now
        ([[(MAIN, 1), (JOB, 3), (HELPER, 8)], [(MAIN, 1), (JOB, 5)], [(MAIN, 1), (JOB, 5)]], ("job", 5, None)),
        # a loop of its own lines
        ([[(MAIN, 1), (JOB, 5)], [(MAIN, 1), (JOB, 7)], [(MAIN, 1), (JOB, 6)]], ("job", 6, (5, 7))),
        # a loop that calls helpers: the loop, not the helper
        ([[(MAIN, 1), (JOB, 5), (HELPER, 20)], [(MAIN, 1), (JOB, 6), (OTHER, 30)]], ("job", 6, (5, 6))),
        # one helper always, its lines differ
        ([[(MAIN, 1), (JOB, 5), (HELPER, 20)], [(MAIN, 1), (JOB, 5), (HELPER, 22)]], ("helper", 22, (20, 22))),
        # recursion to different depths
        ([[(MAIN, 1), (JOB, 5), (JOB, 5)], [(MAIN, 1), (JOB, 5), (JOB, 5), (JOB, 5)]], ("job", 5, None)),
        # no application at all: the innermost frame
        ([[(LIBRARY, 3)]] * 2, ("recv", 3, None)),
        # nothing in common
        ([[(MAIN, 1)], [(OTHER, 9)]], ("other", 9, None)),
    ],
)
def test_where_it_stands(looks: list[list[Step]], expected: tuple[str, int, tuple[int, int] | None]) -> None:
    """Function, line, and the lines of the loop."""
    place = StackHistory()
    for steps in looks:
        place.take(tuple(steps))
    stand = place.location("")
    assert stand is not None
    assert (stand.step[0].co_name, stand.step[1], stand.lines) == expected


def test_code_that_computes_is_where_its_loop_is() -> None:
    """Met twice in one helper by chance: the loop that calls it is the place, if other looks saw it elsewhere."""
    place = StackHistory()
    for steps in ([(JOB, 5), (OTHER, 30)], [(JOB, 6), (HELPER, 20)], [(JOB, 6), (HELPER, 20)]):
        place.take(((MAIN, 1), *steps))
    still, busy = place.location(""), place.location("", is_busy=True)
    assert still is not None
    assert busy is not None
    assert (still.step[0].co_name, busy.step[0].co_name, busy.lines) == ("helper", "job", (5, 6))


def test_what_is_long_ago_counts_no_more() -> None:
    """A loop that is entered after other work is the place, once the work is some looks ago."""
    place = StackHistory()
    place.take(((MAIN, 1), (OTHER, 2)))
    for line in (5, 6, 5, 6, 5, 6, 5):
        place.take(((MAIN, 9), (JOB, line)))
    stand = place.location("")
    assert stand is not None
    assert (stand.step[0].co_name, stand.lines) == ("job", (5, 6))


def test_nothing_seen() -> None:
    """No look, or none that saw a frame: no place."""
    place = StackHistory()
    assert place.location("") is None
    place.take(())
    assert place.location("") is None


STEPS = st.lists(st.tuples(st.sampled_from([MAIN, JOB, HELPER, LIBRARY]), st.integers(1, 4)), max_size=6)


@given(st.lists(STEPS, min_size=1, max_size=12))
def test_the_place_is_one_of_the_last_look(looks: list[list[Step]]) -> None:
    """Whatever the stacks: a step of the last one, or nothing where that was empty."""
    place = StackHistory()
    for steps in looks:
        place.take(tuple(steps))
    stand = place.location("")
    assert (stand is None) == (not looks[-1])
    assert stand is None or stand.step in looks[-1]
