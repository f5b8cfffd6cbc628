"""The open-span registry: a span processor that knows which spans of jobs are open, and where each one runs.

The hot path. `on_start` is one dict insert, `on_end` one pop and one append; nothing else happens on the job's
thread, and spans outside of jobs cost less still.
"""

from __future__ import annotations

import asyncio
import sys
from _thread import get_ident
from collections import deque
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from weakref import ref

from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, get_current_span

if TYPE_CHECKING:
    from asyncio import Task

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span
    from opentelemetry.trace import Status

    from .run import Run

RUN_KEY: Final = otel_context.create_key("lastspan-run")
"""Context key of the current run, for spans whose parent has ended."""

_ENDED_MAX: Final = 1024
"""Rows between two looks of the watcher; above 1,000 spans a second not each one is counted."""
_JOBS_ENDED_MAX: Final = 10_000
"""The same, of jobs: each one is counted as long as somebody looks."""
_ORPHAN_MAX: Final = 10_000
_EVENTS_MAX: Final = 8
_CLIENT: Final = SpanKind.CLIENT


class ExecutionContext(NamedTuple):
    """Where a span runs: a thread, and on it perhaps a task or a greenlet."""

    thread: int
    """`threading.get_ident()`; under gevent the native one."""
    task: Task[Any] | None
    greenlet: Any


Entry: TypeAlias = "tuple[ref[Span], int, ref[Any] | None, Run | None]"
"""Span, thread, task or greenlet, run. A plain tuple: made for each span of each job.

It keeps nothing of the host's alive: a task that nobody will ever wake is to go, whatever it holds, the span included.
"""
SPAN: Final = 0
THREAD: Final = 1
FIBER: Final = 2
RUN: Final = 3
"""The places in an entry. `on_start` and `on_end` have the number itself: to look up a name costs them."""


NOWHERE: Final = ExecutionContext(0, None, None)
"""Of a span whose task or greenlet is no more: no thread has this ident."""

Ended: TypeAlias = "tuple[int, str, int, int, Status, Run | None, object, object]"
"""Span id, name, start and end (ns), status, run; of a call the system that it speaks, and its host or URL.

Not the span, nor its attributes: kept alive, they make garbage collection dear (0.3 µs a span).
"""


class Example(NamedTuple):
    """One call of a late job, as it ended: what it said of itself. Kept until the watcher's next look."""

    name: str
    kind: SpanKind
    attributes: Mapping[str, object]
    """As the host set them: cleaned before anything leaves."""
    error: str
    """The type of the exception; empty: none was noted."""


_running_loop: Callable[[], Any] = asyncio._get_running_loop
_current_task: Callable[[Any], Any] = asyncio.current_task


class OpenSpans(SpanProcessor):
    """Spans that are open now, by span id. One for the process, shared by all its tracer providers."""

    def __init__(self, *, all_spans: bool = False) -> None:
        self.open: dict[int, Entry] = {}
        self.ended: deque[Ended] = deque()
        """What ended since the watcher last looked: it counts them, and closes those that were announced."""
        self.dropped = 0
        """Ends that were not counted because the watcher did not keep up."""
        self.claims: dict[int, Run] = {}
        """By thread: the run whose span is about to start there."""
        self.runs: dict[int, Run] = {}
        """Open runs by the span id of their span."""
        self.interrupted: set[int] = set()
        """Jobs whose process is being ended under way: they stay open here, for its parent knows why and tells."""
        self.announced: Container[int] = frozenset()
        """Owned by the watcher."""
        self.wake: Callable[[], None] = _nothing
        self.examples: dict[int, Example] = {}
        """By the span id of a late job: a call of it, which the watcher asked for."""
        self._wanted: frozenset[int] = frozenset()
        self._all_spans = all_spans
        self._greenlet: Callable[[], Any] = _nothing

    # Both read the SDK's private fields: its properties would cost as much again as all the rest (bench/span).
    # `agent.start` tries both on a real span first, so that an SDK without these fields switches us off, loudly.

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember *span*, if it belongs to a job."""
        try:
            run = self._claimed(span) if self.claims else None
            if run is None:
                if not self.runs and not self._all_spans:
                    return
                parent = span._parent
                entry = self.open.get(parent[1]) if parent is not None else None
                # A parent that has ended is gone from here: then the context knows, if we opened the job.
                run = entry[3] if entry is not None else otel_context.get_value(RUN_KEY, parent_context)  # type: ignore[assignment]
                if run is not None and run.span_id not in self.runs:
                    run = None  # what outlives its job is no part of it
                if run is None and not self._all_spans:
                    return
            try:
                loop = _running_loop()
                fiber = self._greenlet() if loop is None else _current_task(loop)
                known = None if fiber is None else ref(fiber)
            except Exception:  # another kind of loop, a task without weak references: it counts as its thread
                known = None
            self.open[span._context[1]] = (ref(span), get_ident(), known, run)  # type: ignore[index]
        except Exception:  # a guest never raises
            return

    def on_end(self, span: ReadableSpan) -> None:
        """Forget *span*; leave a row for the watcher."""
        try:
            span_id = span._context[1]  # type: ignore[index]
            entry = self.open.pop(span_id, None)
            if entry is None:
                return
            run = entry[3]
            is_job = run is not None and run.span_id == span_id
            if is_job:
                self.runs.pop(span_id, None)
            if len(self.ended) < _ENDED_MAX or (is_job and len(self.ended) < _JOBS_ENDED_MAX):
                system = host = None
                if span._kind is _CLIENT:
                    try:
                        told = span._attributes._dict  # type: ignore[union-attr]
                        # `in`, not `get`: a miss costs half, and most of these are misses.
                        if "server.address" in told:
                            host = told["server.address"]
                        else:
                            host = told.get("net.peer.name") or told.get("url.full") or told.get("http.url")
                        if "db.system.name" in told:
                            system = told["db.system.name"]
                        elif "db.system" in told:
                            system = told["db.system"]
                        elif "rpc.system" in told:
                            system = told["rpc.system"]
                    except Exception:  # attributes of another kind: whom it called is not known, but it has ended
                        host = None
                self.ended.append(
                    (span_id, span._name, span._start_time, span._end_time, span._status, run, system, host)  # type: ignore[arg-type]
                )
            else:
                self.dropped += 1
            if span_id in self.announced:
                self.wake()
        except Exception:  # a guest never raises
            return

    def want_examples(self, jobs: frozenset[int]) -> None:
        """Keep the next call that ends of each of these jobs, by the span ids of their own spans.

        Only meanwhile is `on_end` another function: nobody pays for the question who is not asked.
        """
        if bool(jobs) is not bool(self._wanted):
            if jobs:
                self.on_end = self._end_with_example  # type: ignore[method-assign]
            else:
                del self.on_end  # not by `__dict__`: an object whose dictionary was asked for is slower ever after
        self._wanted = jobs

    def _end_with_example(self, span: ReadableSpan) -> None:
        """`on_end`, while examples are wanted."""
        with suppress(Exception):  # a guest never raises
            self._keep_example(span, span._context[1])  # type: ignore[index]
        OpenSpans.on_end(self, span)

    def _keep_example(self, span: ReadableSpan, span_id: int) -> None:
        entry = self.open.get(span_id)
        run = entry[RUN] if entry is not None else None
        if run is None or run.span_id == span_id or run.span_id not in self._wanted or run.span_id in self.examples:
            return
        attributes = span._attributes.copy()  # type: ignore[union-attr]  # its lock may be held: a copy without it
        self.examples[run.span_id] = Example(span._name, span._kind, attributes, _error_of(span))

    def take_examples(self) -> dict[int, Example]:
        """Return what was kept since the last time."""
        examples, self.examples = self.examples, {}
        return examples

    def put(self, span: Span, beside: Entry) -> bool:
        """Let a span of ours run where another one does; False: it is none of ours, or its job has just ended."""
        span_id = span.get_span_context().span_id
        if span_id not in self.open:
            return False
        self.open[span_id] = (ref(span), *beside[1:])
        return True

    def shutdown(self) -> None:
        """Nothing to do: the process may have other providers."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing to wait for: what is urgent is sent by the watcher."""
        return True

    def claim(self, run: Run) -> None:
        """Let the next span that starts on this thread be *run*'s own."""
        if self._greenlet is _nothing and "gevent" in sys.modules:
            self._greenlet = sys.modules["greenlet"].getcurrent  # the main one too: the hub runs while it waits
        if self._greenlet is not _nothing:
            run.hub = _hub()
        self.claims[get_ident()] = run

    def release(self) -> Run | None:
        """Withdraw the claim of this thread, if no span took it; return the run of a claim that was withdrawn."""
        return self.claims.pop(get_ident(), None)

    def run_of(self, span_id: int) -> Run | None:
        """Return the run that an open span belongs to."""
        entry = self.open.get(span_id)
        return entry[RUN] if entry is not None else None

    def is_wanted(self, parent_context: Context | None, kind: SpanKind | None) -> tuple[bool, bool]:
        """Say, for a span about to start: is it a job's own, is it below a job."""
        run = self.claims.get(get_ident()) if self.claims else None
        if run is not None and _fits(run, kind):
            return True, True
        if not self.runs:
            return False, False
        parent = _current_span_id(parent_context)
        return False, parent in self.open or otel_context.get_value(RUN_KEY, parent_context) is not None

    def execution_context(self, entry: Entry) -> ExecutionContext:
        """Read an entry's place."""
        _, thread, known, _ = entry
        if known is None:
            return ExecutionContext(thread, None, None)
        fiber = known()
        if fiber is None:
            return NOWHERE
        is_task = issubclass(type(fiber), asyncio.Future)  # isinstance() would ask its `__class__`
        return ExecutionContext(thread, fiber if is_task else None, None if is_task else fiber)

    def clear(self) -> None:
        """Forget everything: in a child process the spans are its parent's."""
        self.open = {}
        self.ended = deque()
        self.claims = {}
        self.runs = {}
        self.interrupted = set()
        self.dropped = 0
        self.examples = {}
        self.want_examples(frozenset())

    def _claimed(self, span: Span) -> Run | None:
        run = self.claims.get(get_ident())
        if run is None or not _fits(run, span.kind):
            return None
        del self.claims[get_ident()]
        parent = span.parent
        outer = self.open.get(parent.span_id) if parent is not None else None
        run.outer = outer[RUN] if outer is not None else None
        run.span_id = span.context.span_id
        self.runs[run.span_id] = run
        if len(self.open) > _ORPHAN_MAX:
            self.forget_strays()
        return run

    def forget_strays(self) -> None:
        """Drop spans that nobody can end any more: their owner dropped them."""
        for span_id, entry in list(self.open.items()):
            if entry[SPAN]() is None:
                self.open.pop(span_id, None)
                self.runs.pop(span_id, None)


def _error_of(span: ReadableSpan) -> str:
    """The type of the last exception that a span has noted; else what its status says of it first."""
    for event in reversed(list(span._events)[-_EVENTS_MAX:]):
        if kind := (event.attributes or {}).get("exception.type"):
            return str(kind)
    return (span._status.description or "").partition(":")[0]


def _fits(run: Run, kind: SpanKind | None) -> bool:
    return run.is_ours or kind is SpanKind.CONSUMER


def _nothing() -> None:
    """Stands where there is nothing to call yet."""


def _hub() -> ref[Any] | None:
    """The gevent hub of this thread, if it has one: the main greenlet does not know it."""
    find = getattr(sys.modules.get("gevent._hub_local"), "get_hub_if_exists", _nothing)
    hub = find()
    return None if hub is None else ref(hub)


def _current_span_id(parent_context: Context | None) -> int:
    return get_current_span(parent_context).get_span_context().span_id
