"""CPU for each started and ended span, on the job's own thread, beside the other ways to see open spans."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from lastspan.instrumentation import job
from lastspan.instrumentation.agent import Agent, start, stop

from .peers import PeerMissingError, environment, packages
from .report import Bound, Column, Options, Progress, Report
from .spans import NoOp, Variant, rounds

_SPANS: Final = 300
_ROUNDS: Final = 300
_LIMIT_US: Final = 1.5
_ROOT: Final = Path(__file__).parent.parent

_LOGFIRE: Final = ("logfire==5.2.0", "executing")
_PARTIAL: Final = ("partial-span-processor==0.0.9", "opentelemetry-sdk==1.37.0")


def run(options: Options) -> Report:
    """Measure all variants in one process, in shuffled rounds; the old SDK in another."""
    count, number = options.of(_SPANS, 20), options.rounds_of(_ROUNDS)
    rows, watcher = _here(count, number, with_logfire=not options.quick)
    rows += _partial(count, number) if not options.quick else []
    added = next(row["added"] for row in rows if row["variant"] == "lastspan, in a job")
    return Report(
        "span",
        "CPU for each span that a worker starts and ends",
        [
            Column("us", "µs a span"),
            Column("added", "added to no-op"),
            Column("times", "× no-op"),
            Column("added_p10", "p10 of added"),
            Column("added_p90", "p90 of added"),
        ],
        rows,
        bounds=[Bound(f"at most +{_LIMIT_US} µs over a no-op processor (median)", added, _LIMIT_US)],
        ratios={f"{row['variant']} × no-op": row.get("times") for row in rows if row.get("times")},
        notes=[
            f"{number} rounds of {count} spans each, 12 attributes, thread CPU time; order shuffled in each round.",
            "'added' is the median of the differences within a round: steadier than the difference of the medians.",
            "'no-op again' is a second no-op processor: what it differs by is noise.",
            f"Not in the table: lastspan's own thread takes {watcher:.2f} µs for each span of a job, beside the job.",
        ],
        packages=("opentelemetry-sdk", "opentelemetry-api"),
    )


def _here(count: int, number: int, *, with_logfire: bool) -> tuple[list[dict[str, Any]], float]:
    variants = [
        _plain("no processor"),
        _plain("no-op", NoOp()),
        _plain("no-op again", NoOp()),
    ]
    missing: list[dict[str, Any]] = []
    if with_logfire:
        try:
            variants.append(_plain("logfire pending", _pending_span_processor()))
        except PeerMissingError as error:
            missing.append(_missing("logfire pending", error))
    # From here on each new provider has lastspan's registry and sampler.
    os.environ["OTEL_LASTSPAN_ENDPOINT"] = "http://127.0.0.1:9"  # nobody is there: the hot path does not care
    lastspan = start()
    assert lastspan is not None
    try:
        provider = TracerProvider(shutdown_on_exit=False)
        trace.set_tracer_provider(provider)
        tracer = provider.get_tracer("bench")
        elsewhere = _JobElsewhere()
        variants += [
            Variant("lastspan, no job", tracer, lambda: tracer.start_as_current_span("request")),
            Variant("lastspan, job elsewhere", tracer, lambda: elsewhere.around(tracer)),
            Variant("lastspan, in a job", tracer, lambda: job("bench")),
        ]
        progress = Progress("span", number)
        began = other_threads_ns()
        taken = rounds(variants, count=count, rounds=number, after_round=progress.step)
        settle(lastspan)
        watcher = (other_threads_ns() - began) / 1000 / (count * number)
        elsewhere.close()
    finally:
        stop()
    return _rows(taken) + missing, watcher


def _plain(name: str, *processors: SpanProcessor) -> Variant:
    provider = TracerProvider(shutdown_on_exit=False)
    for processor in processors:
        provider.add_span_processor(processor)
    tracer = provider.get_tracer("bench")
    return Variant(name, tracer, lambda: tracer.start_as_current_span("job"))


class _Nowhere(SpanProcessor):
    """Where the pending spans go: as cheap for logfire as it can be."""

    def on_end(self, span: ReadableSpan) -> None:
        return None


def _pending_span_processor() -> SpanProcessor:
    sys.path.append(str(packages("logfire", _LOGFIRE)))
    try:
        from logfire._internal.tracer import PendingSpanProcessor  # type: ignore[import-not-found,unused-ignore]
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    except ImportError as error:
        raise PeerMissingError(f"it cannot be imported here: {error}") from error
    processor: SpanProcessor = PendingSpanProcessor(RandomIdGenerator(), _Nowhere())
    return processor


class _JobElsewhere:
    """A thread with an open job, so that the process has jobs while this thread has none."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._state = "idle"
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    @contextmanager
    def around(self, tracer: trace.Tracer) -> Iterator[None]:
        self._go("open")
        try:
            with tracer.start_as_current_span("request"):
                yield
        finally:
            self._go("close")

    def close(self) -> None:
        self._go("end")

    def _go(self, order: str) -> None:
        with self._turn:
            self._state = order
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._state == "idle", 10)

    def _wait(self, *orders: str) -> str:
        self._turn.wait_for(lambda: self._state in orders)
        return self._state

    def _done(self) -> None:
        self._state = "idle"
        self._turn.notify_all()

    def _work(self) -> None:
        with self._turn:
            while self._wait("open", "end") == "open":
                with job("elsewhere"):
                    self._done()
                    self._wait("close")
                self._done()
            self._done()


def settle(lastspan: Agent) -> None:
    """Let the watcher take what has ended."""
    deadline = time.monotonic() + 5
    while lastspan.spans.ended and time.monotonic() < deadline:
        time.sleep(0.05)


def other_threads_ns() -> int:
    """Return the CPU of all threads but this one."""
    return time.process_time_ns() - time.thread_time_ns()


def _partial(count: int, number: int) -> list[dict[str, Any]]:
    name = "partial-span-processor"
    try:
        python = environment("partial", _PARTIAL)
        done = subprocess.run(
            [str(python), "-m", "bench.span_partial", str(count), str(number)],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            timeout=600,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise PeerMissingError(f"it does not run here: {(done.stderr.strip().splitlines() or [''])[-1]}")
        taken = json.loads(done.stdout)
    except (PeerMissingError, subprocess.TimeoutExpired) as error:
        return [_missing(name, error)]
    renamed = {"no-op, old SDK": taken["no-op"], name: taken["partial"]}
    return _rows(renamed, base="no-op, old SDK")


_MEANS: Final = {
    "no processor": "the SDK alone",
    "no-op": "a processor that does nothing: what the others are compared with",
    "no-op again": "the same again: the noise of this table",
    "logfire pending": "Logfire's PendingSpanProcessor, its pending spans thrown away at once",
    "lastspan, no job": "lastspan is loaded, and no job is open in the process",
    "lastspan, job elsewhere": "another thread runs a job; these spans belong to none",
    "lastspan, in a job": "each span is remembered while it is open",
    "no-op, old SDK": "the base of the next row: opentelemetry-sdk 1.37.0, a process of its own",
    "partial-span-processor": "G-Research's 0.0.9, which needs that SDK; compared with the no-op there",
}


def _rows(taken: dict[str, list[float]], base: str = "no-op") -> list[dict[str, Any]]:
    rows = []
    for name, values in taken.items():
        differences = sorted(mine - theirs for mine, theirs in zip(values, taken[base], strict=True))
        us = median(values)
        rows.append(
            {
                "variant": name,
                "us": us,
                "added": median(differences),
                "times": us / median(taken[base]),
                "added_p10": differences[len(differences) // 10],
                "added_p90": differences[len(differences) * 9 // 10],
                "means": _MEANS[name],
            }
        )
    return rows


def _missing(name: str, why: Exception) -> dict[str, Any]:
    return {"variant": name, "means": f"skipped: {why}"}
