"""A worker process on a clock that the test holds: real spans, registry and announcer; no thread that watches."""

from __future__ import annotations

import linecache
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import SpanKind, set_span_in_context

from lastspan.instrumentation.announce.announcer import Announcer
from lastspan.instrumentation.config.settings import WorkerSettings
from lastspan.instrumentation.evidence import sample_stack
from lastspan.instrumentation.guest.identity import Identity
from lastspan.instrumentation.registry.run import Run
from lastspan.instrumentation.registry.sampler import JobRecordingSampler
from lastspan.instrumentation.registry.spans import ExecutionContext, OpenSpans
from lastspan.instrumentation.send.records import Record
from lastspan.semconv import attributes as a

_T = TypeVar("_T")

SECOND = 1_000_000_000
WALL = 1_700_000_000 * SECOND


class Worker:
    """Jobs run on one thread, which waits between two calls: its stack stands still."""

    def __init__(self, *, sampler: Sampler = ALWAYS_ON, **settings: Any) -> None:
        self.settings = WorkerSettings(**settings)
        self.spans = OpenSpans(all_spans=self.settings.announce_all)
        self.provider = TracerProvider(
            sampler=JobRecordingSampler(sampler, self.spans, record_all=self.settings.record_all),
            resource=Resource.get_empty(),
            shutdown_on_exit=False,
        )
        self.provider.add_span_processor(self.spans)
        self.tracer = self.provider.get_tracer("tests")
        self.identity = Identity()
        self.announcer = Announcer(self.spans, self.identity, self.settings, lambda: self.tracer)
        self.now = 5000.0
        """Monotonic, s."""
        self.wall_ns = WALL
        self.said: list[Record] = []
        """Everything that was to be sent so far."""
        self.kept: dict[int, Any] = {}
        """Spans that their owner holds, by id: all that are open, unless a test lets one go."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="job")
        self._ident = self._thread.submit(threading.get_ident).result()
        self._native_id = self._thread.submit(threading.get_native_id).result()
        self.announcer.begin(self.now)

    def close(self) -> None:
        self._thread.shutdown()

    def on_thread(self, function: Callable[[], _T]) -> _T:
        """Do something on the jobs' thread; it waits for work again when this returns, so that its stack stands."""
        result = self._thread.submit(function).result()
        while not self._is_idle():
            pass
        return result

    def _is_idle(self) -> bool:
        """On a busy machine it may have come to the line and have no core to go to sleep: then it will have run."""
        frame = sys._current_frames()[self._ident]
        is_there = "work_queue.get(block=True)" in linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        return is_there and _sleeps(self._native_id)

    @contextmanager
    def stopped_in(self, wait: Callable[[], object], release: Callable[[], object]) -> Iterator[None]:
        """Let the jobs' thread wait in *wait*; let it go in the end."""
        where = ExecutionContext(self.on_thread(threading.get_ident), None, None)
        done = self._thread.submit(wait)
        while not _has_stopped_in(wait, where):
            pass
        try:
            yield
        finally:
            release()
            done.result(10)

    def job(self, name: str = "nightly", *, inside: Any = None, **facts: Any) -> Any:
        """Start a job; its span is the caller's to end."""
        run = Run(name, **facts)
        run.is_ours = True

        def begin() -> Any:
            self.spans.claim(run)
            return self._start(name, inside, SpanKind.CONSUMER, {})

        return self.on_thread(begin)

    def span(
        self,
        name: str = "GET",
        *,
        inside: Any = None,
        kind: SpanKind = SpanKind.CLIENT,
        elsewhere: bool = False,
        **attributes: Any,
    ) -> Any:
        """Start a span below *inside*; *elsewhere*: on the thread that calls."""
        named = {key.replace("__", "."): value for key, value in attributes.items()}
        if elsewhere:
            return self._start(name, inside, kind, named)
        return self.on_thread(lambda: self._start(name, inside, kind, named))

    def end(self, span: Any) -> None:
        """End a span now."""
        self.on_thread(lambda: self.end_here(span))

    def end_here(self, span: Any) -> None:
        """The same, on the thread that calls."""
        span.end(end_time=self.wall_ns)
        self.kept.pop(span.get_span_context().span_id, None)

    def run_of(self, span: Any) -> Run:
        run = self.spans.run_of(span.context.span_id)
        assert run is not None
        return run

    def wait(self, seconds: float) -> None:
        """Let time pass, unwatched."""
        self.now += seconds
        self.wall_ns += round(seconds * SECOND)

    def look(self, *, after: float = 0.0, may_announce: bool = True) -> list[Record]:
        """Look once, after *after* seconds."""
        self.wait(after)
        looked = self.announcer.collect(self.now, self.wall_ns, may_announce=may_announce)
        records = [record for record in looked if record is not None]
        self.said += records
        return records

    def watch(self, seconds: float, **how: Any) -> list[Record]:
        """Look at each tick for *seconds*; return what was to be sent."""
        records: list[Record] = []
        until = self.now + seconds
        while self.now < until - 1e-9:
            records += self.look(after=min(self.settings.tick, until - self.now), **how)
        return records

    def _start(self, name: str, inside: Any, kind: SpanKind, attributes: dict[str, Any]) -> Any:
        context = Context() if inside is None else set_span_in_context(inside, Context())
        span = self.tracer.start_span(name, context, kind, attributes=attributes, start_time=self.wall_ns)
        self.kept[span.get_span_context().span_id] = span
        return span


def _sleeps(native_id: int) -> bool:
    """Say whether a thread waits in the kernel without end, so not for the interpreter; True where that is not told."""
    try:
        call = Path(f"/proc/self/task/{native_id}/syscall").read_text().split()
    except OSError:
        return True
    return len(call) > _TIMEOUT and int(call[_TIMEOUT], 16) == 0


_TIMEOUT = 4
"""Of the number and the arguments of futex(2)."""


def _has_stopped_in(wait: Any, where: ExecutionContext) -> bool:
    before = sample_stack(where).steps
    time.sleep(0.02)
    now = sample_stack(where).steps
    return before == now and wait.__code__ in [code for code, _ in now]


@contextmanager
def worker(**settings: Any) -> Iterator[Worker]:
    """Run a worker for a test, or for one example of a property."""
    made = Worker(**settings)
    try:
        yield made
    finally:
        made.close()


def of(records: list[Record], event: str) -> list[Record]:
    """Return the records of one event."""
    return [record for record in records if record.event == event]


def names(records: list[Record]) -> list[str]:
    """Return the names of the spans that are announced."""
    return [record.attributes[a.SPAN_NAME] for record in records if a.SPAN_AGE in record.attributes]


def span_id(span: Span) -> int:
    return int(span.context.span_id)
