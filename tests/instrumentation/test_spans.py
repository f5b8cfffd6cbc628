"""The registry: which spans of jobs are open. Driven by real spans of a real provider."""

from __future__ import annotations

import asyncio
import gc
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, set_span_in_context
from tests.examples import examples

from lastspan.instrumentation.registry.run import Run
from lastspan.instrumentation.registry.spans import RUN_KEY, OpenSpans


class Tracing:
    """A provider with the registry, on the test's own thread."""

    def __init__(self, *, all_spans: bool = False) -> None:
        self.registry = OpenSpans(all_spans=all_spans)
        self.provider = TracerProvider(resource=Resource.get_empty(), shutdown_on_exit=False)
        self.provider.add_span_processor(self.registry)
        self.tracer = self.provider.get_tracer("tests")

    def start(self, name: str = "GET", parent: Any = None, **how: Any) -> Any:
        context = Context() if parent is None else set_span_in_context(parent, Context())
        return self.tracer.start_span(name, how.pop("context", context), **how)

    def job(self, name: str = "nightly", parent: Any = None, run: Run | None = None) -> Any:
        run = run or Run(name)
        run.is_ours = True
        self.registry.claim(run)
        return self.start(name, parent)

    def run_of(self, span: Any) -> Run | None:
        return self.registry.run_of(span.context.span_id)


def test_only_spans_of_jobs_are_known() -> None:
    """Before, beside and after a job a span leaves no trace here."""
    tracing = Tracing()
    before = tracing.start()
    job = tracing.job()
    beside = tracing.start()
    inside = tracing.start(parent=job)
    assert set(tracing.registry.open) == {job.context.span_id, inside.context.span_id}
    for span in (inside, job, beside, before):
        span.end()
    tracing.start().end()
    assert (tracing.registry.open, tracing.registry.runs) == ({}, {})
    assert [row[1] for row in tracing.registry.ended] == ["GET", "nightly"]


def test_all_spans_if_so_set() -> None:
    """OTEL_LASTSPAN_SPANS=all: also those outside of jobs, which have no run."""
    tracing = Tracing(all_spans=True)
    span = tracing.start()
    assert tracing.run_of(span) is None
    assert span.context.span_id in tracing.registry.open
    span.end()
    assert tracing.registry.open == {}


def test_the_chain_of_parents_leads_to_the_job() -> None:
    """However deep."""
    tracing = Tracing()
    run = Run("nightly")
    span = tracing.job(run=run)
    for _ in range(50):
        span = tracing.start(parent=span)
        assert tracing.run_of(span) is run


def test_a_parent_that_has_ended_is_found_by_the_context() -> None:
    """A late child of an ended span belongs to the job that the context names."""
    tracing = Tracing()
    run = Run("nightly")
    job = tracing.job(run=run)
    middle = tracing.start(parent=job)
    middle.end()
    context = otel_context.set_value(RUN_KEY, run, set_span_in_context(middle, Context()))
    assert tracing.run_of(tracing.start(context=context)) is run
    assert tracing.run_of(tracing.start(parent=middle)) is None  # nobody knows


def test_what_outlives_its_job_is_no_part_of_it() -> None:
    """A span that starts after the job has ended, though the context still names it."""
    tracing = Tracing()
    run = Run("nightly")
    job = tracing.job(run=run)
    other = tracing.job("other")
    job.end()
    context = otel_context.set_value(RUN_KEY, run, set_span_in_context(job, Context()))
    late = tracing.start(context=context)
    assert tracing.run_of(late) is None
    assert set(tracing.registry.open) == {other.context.span_id}


def test_a_job_inside_a_job_names_the_outer_one() -> None:
    """It is a run of its own; its spans are its own; a job below a span names the job of that span."""
    tracing = Tracing()
    outer, inner = Run("outer"), Run("inner")
    span = tracing.start(parent=tracing.job(run=outer))
    job = tracing.job(parent=span, run=inner)
    assert inner.outer is outer
    assert outer.outer is None
    assert tracing.run_of(tracing.start(parent=job)) is inner
    job.end()
    assert tracing.run_of(tracing.start(parent=span)) is outer


def test_the_next_span_of_the_thread_takes_the_claim() -> None:
    """One span, once; the one after it is its child or nothing."""
    tracing = Tracing()
    first = tracing.job()
    second = tracing.start()
    assert set(tracing.registry.runs) == {first.context.span_id}
    assert tracing.run_of(second) is None
    assert tracing.registry.release() is None


def test_a_frameworks_span_is_its_consumer_span() -> None:
    """Spans of other kinds that start in between (a trace of the broker client) are not the job."""
    tracing = Tracing()
    run = Run("resize", system="celery")
    tracing.registry.claim(run)
    tracing.start("SET", kind=SpanKind.CLIENT)
    assert tracing.registry.runs == {}
    consumer = tracing.start("run/resize", kind=SpanKind.CONSUMER)
    assert tracing.run_of(consumer) is run


def test_a_claim_that_nobody_took() -> None:
    """The framework opened no span: withdrawn, the next one is not mistaken for it."""
    tracing = Tracing()
    run = Run("resize")
    tracing.registry.claim(run)
    assert tracing.registry.release() is run
    tracing.start(kind=SpanKind.CONSUMER)
    assert (tracing.registry.open, tracing.registry.runs) == ({}, {})


def test_a_claim_is_its_threads_own() -> None:
    """A span that starts on another thread meanwhile is not the job's."""
    tracing = Tracing()
    run = Run("nightly")
    run.is_ours = True
    tracing.registry.claim(run)
    other = threading.Thread(target=tracing.start)
    other.start()
    other.join()
    assert tracing.registry.runs == {}
    assert tracing.run_of(tracing.start()) is run


@pytest.mark.parametrize("is_job", [True, False])
def test_an_abandoned_span_is_free_to_go(is_job: bool) -> None:
    """Its owner let go of it without an end: the registry does not keep it alive."""
    tracing = Tracing()
    job = tracing.job()
    span = job if is_job else tracing.start(parent=job)
    entry = tracing.registry.open[span.context.span_id]
    assert entry[0]() is span
    del span, job
    gc.collect()
    assert entry[0]() is None


def test_strays_do_not_pile_up() -> None:
    """Jobs that are abandoned by the thousand, with nobody watching, are forgotten by those that follow."""
    tracing = Tracing()
    for _ in range(25_000):
        tracing.job()
    assert len(tracing.registry.open) <= 10_002
    assert len(tracing.registry.runs) <= 10_002


def test_ended_rows_are_bounded_but_jobs_always_count() -> None:
    """A watcher that does not keep up loses short spans, and says how many; no job."""
    tracing = Tracing()
    job = tracing.job()
    for _ in range(5000):
        tracing.start(parent=job).end()
    job.end()
    rows = [row[1] for row in tracing.registry.ended]
    assert len(rows) == 1025
    assert rows[-1] == "nightly"
    assert tracing.registry.dropped == 5000 - 1024


def test_rows_of_jobs_are_bounded_too_where_nobody_looks() -> None:
    """The watcher is off, or no thread could be started."""
    tracing = Tracing()
    for _ in range(10_100):
        tracing.job().end()
    assert (len(tracing.registry.ended), tracing.registry.dropped) == (10_000, 100)
    assert tracing.registry.runs == {}


def test_a_call_whose_attributes_cannot_be_read_has_ended_all_the_same() -> None:
    """It is counted, and closed; whom it called is not known."""
    tracing = Tracing()
    job = tracing.job()
    woken: list[bool] = []
    tracing.registry.wake = lambda: woken.append(True)
    call = tracing.start(parent=job, kind=SpanKind.CLIENT, attributes={"server.address": "api.example"})
    tracing.registry.announced = {call.context.span_id}
    call._attributes = SimpleNamespace()
    call.end()
    [row] = tracing.registry.ended
    assert (row[1], row[6:]) == ("GET", (None, None))
    assert woken == [True]


class _Slotted:
    """A task of another kind, which cannot be referred to weakly."""

    __slots__ = ()


def test_a_job_in_a_task_that_cannot_be_referred_to_weakly() -> None:
    """It counts as its thread's, and leaves nothing behind."""
    tracing = Tracing()
    loop, task = asyncio.new_event_loop(), _Slotted()
    asyncio._set_running_loop(loop)
    asyncio.tasks._enter_task(loop, task)  # type: ignore[arg-type]
    try:
        job = tracing.job()
        assert tracing.registry.open[job.context.span_id][1:3] == (threading.get_ident(), None)
        job.end()
    finally:
        asyncio.tasks._leave_task(loop, task)  # type: ignore[arg-type]
        asyncio._set_running_loop(None)
        loop.close()
    assert (tracing.registry.open, tracing.registry.runs) == ({}, {})


def test_the_end_of_an_announced_span_wakes_the_watcher() -> None:
    """And no other end does."""
    tracing = Tracing()
    woken: list[int] = []
    tracing.registry.wake = lambda: woken.append(1)
    job = tracing.job()
    quick, late = tracing.start(parent=job), tracing.start(parent=job)
    tracing.registry.announced = {late.context.span_id}
    quick.end()
    assert woken == []
    late.end()
    assert woken == [1]


def test_a_second_end_is_none() -> None:
    """Ended twice by its host, counted once."""
    tracing = Tracing()
    job = tracing.job()
    job.end()
    tracing.registry.on_end(job)
    assert len(tracing.registry.ended) == 1


def test_forgetting_everything() -> None:
    """In a child process the spans are its parent's: ends of theirs mean nothing here."""
    tracing = Tracing()
    job = tracing.job()
    child = tracing.start(parent=job)
    tracing.registry.clear()
    child.end()
    job.end()
    assert (tracing.registry.open, tracing.registry.runs) == ({}, {})
    assert not tracing.registry.ended


class Odd:
    """Not a span at all: every look at it raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize("odd", [None, 7, "span", Odd(), object()], ids=["None", "int", "str", "raises", "object"])
def test_odd_input_never_raises(odd: Any) -> None:
    """A guest never raises, whatever a provider hands over."""
    registry = OpenSpans(all_spans=True)
    registry.claim(Run("nightly"))
    registry.on_start(odd)
    registry.on_end(odd)
    assert registry.open == {}


def test_it_survives_shutdown_and_flush() -> None:
    """Another provider of the process may still be in use."""
    tracing = Tracing()
    job = tracing.job()
    assert tracing.registry.force_flush(0)
    tracing.provider.shutdown()
    assert job.context.span_id in tracing.registry.open


@examples(60)
@given(st.lists(st.tuples(st.sampled_from(["job", "span", "end"]), st.integers(0, 9)), max_size=60))
def test_open_is_what_started_below_a_job_and_has_not_ended(history: list[tuple[str, int]]) -> None:
    """Against a model: in whatever order jobs and spans start and end."""
    tracing = Tracing()
    spans: list[Any] = []
    job_of: dict[int, int | None] = {}
    open_: set[int] = set()
    for what, pick in history:
        chosen = spans[pick % len(spans)] if spans else None
        if what == "end":
            if chosen is not None:
                chosen.end()
                open_.discard(chosen.context.span_id)
            continue
        parent_id = chosen.context.span_id if chosen is not None else None
        span = tracing.job(parent=chosen) if what == "job" else tracing.start(parent=chosen)
        spans.append(span)
        span_id = span.context.span_id
        inherited = job_of.get(parent_id) if parent_id in open_ and parent_id is not None else None
        inherited = inherited if inherited in open_ else None
        job_of[span_id] = span_id if what == "job" else inherited
        if job_of[span_id] is not None:
            open_.add(span_id)
    assert set(tracing.registry.open) == open_
    for span_id in open_:
        run = tracing.registry.run_of(span_id)
        assert run is not None
        assert run.span_id == job_of[span_id]
