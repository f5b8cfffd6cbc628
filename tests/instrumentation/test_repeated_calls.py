"""Which call a late job makes again and again: counted as spans end, or met by looks; and at which line."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from types import CodeType
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, Status, StatusCode
from tests.instrumentation.worker import Worker, of, worker

from lastspan.instrumentation.announce.repeated_calls import RepeatedCalls, SampledCall
from lastspan.instrumentation.evidence import Step
from lastspan.instrumentation.registry.spans import Example
from lastspan.semconv import attributes as a
from lastspan.semconv import events

URL = "http://api.example:8000/orders"


def repeats(*names: str, every: float = 1.0, is_error: bool = False, times: int = 20) -> RepeatedCalls:
    """Of a job whose calls of these names end one after the other."""
    made = RepeatedCalls(0.0)
    for turn in range(times):
        for name in names:
            made.ended(name, 0.01, turn * every, is_error=is_error)
    return made


def example(name: str = "GET", url: str = URL, *, error: str = "", **attributes: Any) -> Example:
    named = {"url.full": url, **{key.replace("__", "."): value for key, value in attributes.items()}}
    return Example(name, SpanKind.CLIENT, named, error)


# --- by spans ---------------------------------------------------------------------------------------------------------


def test_equal_calls_are_counted_since_the_first() -> None:
    made = repeats("GET")
    made.example(example(server__address="api.example", server__port=8000), 20.0)
    assert made.attributes(20.0) == {
        a.REPEAT_CALL: "GET api.example:8000/orders",
        a.REPEAT_VARIES: False,
        a.REPEAT_PEER: "api.example:8000",
        a.REPEAT_COUNT: 20,
        a.REPEAT_WINDOW: 20.0,
        a.REPEAT_ERRORS: 0,
        a.REPEAT_ERROR: None,
    }


@pytest.mark.parametrize(
    ("times", "every", "now", "is_told"),
    [
        (4, 1.0, 4.0, False),  # a few calls are no loop
        (5, 1.0, 5.0, True),
        (20, 1.0, 24.0, True),  # the last one was just now
        (20, 1.0, 25.0, False),  # it does something else
        (20, 30.0, 650.0, True),  # one that polls twice a minute may sleep for longer
        (20, 30.0, 700.0, False),
    ],
)
def test_a_loop_is_one_that_goes_on(times: int, every: float, now: float, is_told: bool) -> None:
    assert bool(repeats("GET", times=times, every=every).attributes(now)) is is_told


def test_what_was_before_the_job_moved_does_not_count() -> None:
    made = repeats("GET")
    made.reset(20.0)
    assert made.attributes(20.0) == {}


@pytest.mark.parametrize(
    ("urls", "target"),
    [
        ([URL, f"{URL}?page=2&token=s3cret"], "api.example:8000/orders"),  # what differs behind `?` never leaves
        ([f"{URL}/1", f"{URL}/2"], "api.example:8000/orders/…"),
        ([f"{URL}/1/items", f"{URL}/2/items", f"{URL}/1/items"], "api.example:8000/orders/…/items"),
        ([f"{URL}/1", f"{URL}/1/items"], "api.example:8000/orders/1/…"),
        ([URL, "http://other:80/x"], "…/…"),
        ([URL, "not a url"], "…"),
    ],
)
def test_the_path_is_what_its_examples_have_in_common(urls: list[str], target: str) -> None:
    made = repeats("GET")
    for turn, url in enumerate(urls):
        made.example(example(url=url), 20.0 + turn)
    told = made.attributes(22.0)
    assert (told[a.REPEAT_CALL], told[a.REPEAT_VARIES]) == (f"GET {target}", "…" in target)


def test_a_key_in_a_path_stays_here() -> None:
    """It would stand in the sentence on the page, which goes to chat rooms."""
    made = repeats("GET")
    made.example(example(url="https://api.telegram.org/bot123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/getUpdates"), 20.0)
    assert made.attributes(20.0)[a.REPEAT_CALL] == "GET api.telegram.org/{id}/getUpdates"


def test_of_two_calls_in_one_loop_the_one_that_fails_is_told() -> None:
    """BEGIN goes well each time; the SELECT does not."""
    made = RepeatedCalls(0.0)
    for turn in range(20):
        made.ended("BEGIN", 0.5, float(turn), is_error=False)
        made.ended("SELECT", 0.1, float(turn), is_error=True)
    made.example(example("SELECT", url="", error="psycopg.errors.LockNotAvailable"), 20.0)
    told = made.attributes(20.0)
    assert (told[a.REPEAT_CALL], told[a.REPEAT_ERRORS], told[a.REPEAT_ERROR]) == ("SELECT", 20, "LockNotAvailable")


@pytest.mark.parametrize(
    ("attributes", "error", "said"),
    [
        ({"http__response__status_code": 503}, "", "503"),
        ({"http__status_code": 429}, "", "429"),  # under its older name
        ({}, "requests.exceptions.ConnectionError", "ConnectionError"),
        ({}, "", None),
        ({}, "no seat left for bob", None),  # a message instead of a type stays here
        ({}, "x" * 1000, "x" * 64),
    ],
)
def test_how_it_fails(attributes: dict[str, Any], error: str, said: str | None) -> None:
    made = repeats("GET", is_error=True)
    made.example(example(error=error, **attributes), 20.0)
    assert made.attributes(20.0)[a.REPEAT_ERROR] == said


def test_it_does_not_grow() -> None:
    """Names without end: a job that names its spans by what they work on."""
    made = repeats(*(f"GET /{number}" for number in range(1000)), times=6)
    assert len(made._calls) <= 32


# --- by looks ---------------------------------------------------------------------------------------------------------


def code(name: str) -> CodeType:
    namespace: dict[str, Any] = {}
    exec(compile(f"def {name}(): pass", f"/srv/app/{name}.py", "exec"), namespace)
    made: CodeType = namespace[name].__code__
    return made


MAIN, LOOP, FETCH = code("main"), code("loop"), code("fetch")
STEPS: list[tuple[Step, ...]] = [((MAIN, 1), (LOOP, line), (FETCH, line)) for line in (10, 11, 10, 12)]


def looked(seen: Callable[[int], SampledCall | None], *, is_still: bool = False) -> RepeatedCalls:
    made = RepeatedCalls(0.0)
    for turn in range(12):
        made.sample(STEPS[0 if is_still else turn % len(STEPS)], "", seen(turn), 5.0 * turn)
    return made


@pytest.mark.parametrize(
    ("sent", "is_still", "is_told"),
    [
        (0.01, True, True),  # it asks anew between two looks, though each meets it at one line
        (300.0, True, False),  # it waits for an answer
        (300.0, False, False),  # which comes byte by byte
        (None, True, False),
        (None, False, True),  # of a client that hides its socket: the stack is another one each time
    ],
)
def test_one_long_call_is_no_loop(sent: float | None, is_still: bool, is_told: bool) -> None:
    made = looked(lambda turn: SampledCall("requests.get", "10.0.0.9:443", sent), is_still=is_still)
    told = {a.REPEAT_CALL: "requests.get", a.REPEAT_PEER: "10.0.0.9:443"}
    assert made.attributes(60.0) == (told if is_told else {})


def test_code_that_calls_now_and_then_is_no_loop_of_calls() -> None:
    assert looked(lambda turn: SampledCall("requests.get", "", 0.1) if turn % 6 == 0 else None).attributes(60.0) == {}


def test_the_line_is_the_one_of_the_loop_that_is_met_most() -> None:
    """Not that of the function that it calls, which the looks do not share."""
    assert looked(lambda turn: None).code() == {
        a.CODE_FUNCTION: "loop",
        a.CODE_FILE: "/srv/app/loop.py",
        a.CODE_LINE: 10,
    }


def test_a_task_that_runs_and_waits_in_turn() -> None:
    """It is met below its event loop or alone; its line is the loop's all the same."""
    made = RepeatedCalls(0.0)
    for turn in range(12):
        steps = STEPS[turn % len(STEPS)][1:]
        made.sample(steps if turn % 2 else ((MAIN, 1), *steps), "", None, 5.0 * turn)
    assert made.code()[a.CODE_FUNCTION] == "loop"


# --- in a worker ------------------------------------------------------------------------------------------------------


def call(made: Worker, job: Any, *, seconds: float = 0.1, fails: bool = False) -> None:
    """Make one call, on the job's thread."""
    span = made.span("GET", inside=job, url__full=f"{URL}?key=s3cret", server__address="api.example", server__port=8000)
    made.wait(seconds)
    if fails:
        span.record_exception(TimeoutError("s3cret"))
        span.set_status(Status(StatusCode.ERROR, "TimeoutError: s3cret"))
    made.end(span)


def of_job(made: Worker) -> dict[str, Any]:
    """The last record of the job."""
    *_, record = [r for r in of(made.said, events.SPAN_OPEN) if r.attributes[a.SPAN_IS_JOB]]
    return dict(record.attributes)


def test_a_late_job_tells_what_it_repeats() -> None:
    """Ten calls a second, none of which is late: the call, its count, how it fails, and the line."""
    with worker() as made:
        job = made.job()
        for _ in range(700):
            call(made, job, fails=True)
            made.look()
        told = of_job(made)
    assert told[a.REPEAT_CALL] == "GET api.example:8000/orders"
    assert told[a.REPEAT_COUNT] == told[a.REPEAT_ERRORS] > 100
    assert told[a.REPEAT_ERROR] == "TimeoutError"
    assert told[a.CODE_FILE]
    assert not any("s3cret" in str(record.attributes) for record in made.said)


def test_a_job_whose_calls_last_has_its_line_between_two_of_them() -> None:
    """Each try waits for 10 s, and is a late span of its own; when it gives up, the job is not without a place."""
    with worker() as made:
        job = made.job()
        for _ in range(8):
            span = made.span("SELECT", inside=job)
            made.watch(10)
            made.end(span)
            made.watch(1)
        records = [r.attributes for r in of(made.said, events.SPAN_OPEN) if r.attributes[a.SPAN_IS_JOB]]
    assert all(record.get(a.CODE_FILE) for record in records[1:])
    assert records[-1][a.REPEAT_CALL] == "SELECT"


def test_a_job_that_is_late_before_its_calls_would_be_has_a_line() -> None:
    """Declared to take 2 s: its line is told then, not only after the 5 s of a call."""
    with worker() as made:
        job = made.job(expected=2.0)
        for _ in range(40):
            call(made, job)
            made.look()
        assert of_job(made)[a.CODE_FILE]


def test_nobody_pays_for_examples_who_is_not_late() -> None:
    """The hot path is the class's own function, but while an example is asked for."""
    with worker() as made:
        job = made.job()
        for _ in range(5):
            call(made, job)
            made.look()
        assert "on_end" not in vars(made.spans)
        made.watch(10)
        for _ in range(3):
            call(made, job)
        made.look()
        assert "on_end" in vars(made.spans)  # asked for
        call(made, job)
        made.look()
        assert "on_end" not in vars(made.spans)  # and got
        assert made.spans.examples == {}


def test_an_example_keeps_no_span() -> None:
    """What it said of itself is copied; the span is gone when its owner lets go of it."""
    with worker() as made:
        job = made.job()
        made.watch(10)
        gc.disable()
        try:
            spans = []
            for _ in range(6):
                span = made.span(inside=job)
                spans.append(weakref.ref(span))
                made.end(span)
                del span
                made.on_thread(lambda: None)
                made.look(after=0.1)
            assert [ref() for ref in spans] == [None] * 6
        finally:
            gc.enable()


def test_an_example_that_cannot_be_read_is_left_out() -> None:
    """The span ends as it would have: a guest never raises."""
    with worker() as made:
        job = made.job()
        made.watch(10)
        for _ in range(3):
            call(made, job)
        made.look()
        span = made.span(inside=job)
        span._events = None
        made.end(span)
        assert made.spans.examples == {}
        assert span.get_span_context().span_id not in made.spans.open
        made.look()


def test_two_jobs_are_counted_apart() -> None:
    with worker() as made:
        first, second = made.job("first"), made.job("second")
        made.watch(10)
        for _ in range(100):
            call(made, first)
            made.look()
        told = {r.attributes[a.JOB_NAME]: r.attributes.get(a.REPEAT_CALL) for r in of(made.said, events.SPAN_OPEN)}
        made.end(second)
    assert told == {"first": "GET api.example:8000/orders", "second": None}


def test_threads_that_call_beside_the_job() -> None:
    """Their calls are the job's, their stacks are not: its line is where its own thread is."""
    with worker() as made:
        job = made.job()
        for _ in range(300):
            span = made.span("GET", inside=job, elsewhere=True)
            made.wait(0.1)
            span.end(end_time=made.wall_ns)
            made.look()
        told = of_job(made)
    assert told[a.REPEAT_CALL] == "GET"
