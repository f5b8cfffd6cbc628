"""Durations as people write them, and as we write them back."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastspan.semconv.duration import parse, render

WRITTEN = [
    ("90s", 90),
    ("10m", 600),
    ("1h30m", 5400),
    ("1h 30m", 5400),  # spaces do not matter
    (" 2D ", 172_800),  # nor does case
    ("250ms", 0.25),  # ms before m and s
    ("1m1ms", 60.001),
    ("1.5h", 5400),
    ("0", 0),
    ("0s", 0),
    ("12.5", 12.5),  # plain seconds
    ("1e3", 1000),
    (45, 45),
    (0.5, 0.5),
    (timedelta(minutes=2), 120),
]

NO_DURATION: list[object] = [
    "",
    " ",
    "soon",
    "10 minutes",
    "m",
    "1h30",  # thirty what?
    "-5s",
    "-1",
    -0.1,
    "nan",
    math.nan,
    "inf",
    math.inf,
    "1e999",
    "9" * 400 + "s",  # infinite as a float
    10**400,  # no float at all
    "1s; drop table jobs",
    "1s\x00",
    "\ud800",
    timedelta(seconds=-1),
    None,
    [],
    b"10s",
]


@pytest.mark.parametrize(("text", "seconds"), WRITTEN)
def test_what_people_write(text: str | float | timedelta, seconds: float) -> None:
    """Units, sums of units, plain seconds and timedeltas."""
    assert parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize("value", NO_DURATION, ids=lambda value: repr(value)[:24])
def test_what_is_no_duration(value: object) -> None:
    """ValueError, never another error, and the message says how to write one."""
    with pytest.raises(ValueError, match="is not a duration; write 90s, 10m, 1h30m"):
        parse(value)  # type: ignore[arg-type]


@given(st.text() | st.floats() | st.integers() | st.timedeltas())
def test_any_value_is_a_duration_or_a_value_error(value: str | float | timedelta) -> None:
    """Finite and not negative, or ValueError."""
    try:
        seconds = parse(value)
    except ValueError:
        return
    assert math.isfinite(seconds)
    assert seconds >= 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.25, "250 ms"),
        (0.9996, "1 s"),  # not 1000 ms
        (1, "1 s"),
        (1.5, "1.5 s"),
        (9.97, "10 s"),
        (59.9, "59 s"),  # whole seconds are cut, not rounded: 60 s never shows before it is
        (60, "1 min"),
        (843, "14 min 3 s"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (86_399, "23 h 59 min"),
        (90_000, "1 d 1 h"),
        (86_400 * 400, "400 d"),
    ],
)
def test_how_durations_are_shown(seconds: float, text: str) -> None:
    """At most two units."""
    assert render(seconds) == text


@given(st.floats(min_value=0, max_value=1e9))
def test_what_is_shown_can_be_read_again(seconds: float) -> None:
    """`render` then `parse` loses less than the smaller unit that it shows."""
    read = parse(render(seconds).replace("min", "m"))
    assert abs(read - seconds) <= max(seconds * 0.05, 0.001)
