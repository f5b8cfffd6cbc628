"""What learning costs: on the job's thread, on the watcher's, in the collector's memory."""

from __future__ import annotations

import gc
import os
import time
import tracemalloc
from statistics import median
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from lastspan.collector.track.learn import LearnedKey, Learner
from lastspan.instrumentation import job
from lastspan.instrumentation.agent import start, stop
from lastspan.instrumentation.registry.spans import OpenSpans

from .report import Bound, Column, Options, Progress, Report
from .span import other_threads_ns, settle
from .spans import Variant, block, rounds

_SPANS: Final = 300
_ROUNDS: Final = 200
_KEYS: Final = 10_000
_RUNS: Final = 200
_JOB_US, _WATCHER_US, _KEY_BYTES = 0.5, 3.0, 2048.0
_HOUR: Final = 3_600_000_000_000


class _Unlearned(OpenSpans):
    """The registry as it would be if nobody counted what ended."""

    def on_end(self, span: ReadableSpan) -> None:
        try:
            span_id = span._context[1]  # type: ignore[index]
            entry = self.open.pop(span_id, None)
            if entry is None:
                return
            run = entry[3]
            if run is not None and run.span_id == span_id:
                self.runs.pop(span_id, None)
            if span_id in self.announced:
                self.wake()
        except Exception:
            return


def run(options: Options) -> Report:
    """Measure the three one after the other."""
    count, number = options.of(_SPANS, 20), options.rounds_of(_ROUNDS)
    added, noise = _on_the_jobs_thread(count, number)
    watcher = _on_the_watcher(3 * count, max(1, number // 10))
    take_us, key_bytes = _in_the_collector(options.of(_KEYS, 50), options.of(_RUNS, 20))
    rows: list[dict[str, Any]] = [
        {"variant": "the job's thread", "figure": added, "unit": "µs", "means": "an append of a row for each span"},
        {"variant": "noise", "figure": noise, "unit": "µs", "means": "the same without the append, against itself"},
        {
            "variant": "the watcher",
            "figure": watcher,
            "unit": "µs",
            "means": "all that it does, for each span of a job",
        },
        {"variant": "the collector", "figure": take_us, "unit": "µs", "means": "to learn from one run, told alone"},
        {"variant": "its memory", "figure": key_bytes, "unit": "bytes", "means": "of a key, after some hundred runs"},
    ]
    return Report(
        "learn",
        "what learning costs",
        [Column("figure", "each"), Column("unit", "")],
        rows,
        bounds=[
            Bound(f"at most {_JOB_US} µs a span on the job's thread", added, _JOB_US),
            Bound(f"at most {_WATCHER_US:g} µs a span on the watcher", watcher, _WATCHER_US),
            Bound(f"at most {_KEY_BYTES:,.0f} bytes a key", key_bytes, _KEY_BYTES),
        ],
        notes=[
            f"{number} rounds of {count} spans, CPU of the thread; medians of the differences within a round.",
            f"The watcher: {3 * count} spans a look, its own looks and reports included.",
            f"{options.of(_KEYS, 50):,} keys of {options.of(_RUNS, 20)} runs each, by tracemalloc.",
        ],
    )


def _on_the_jobs_thread(count: int, number: int) -> tuple[float, float]:
    registries = {
        "learned": OpenSpans(all_spans=True),
        "unlearned": _Unlearned(all_spans=True),
        "again": _Unlearned(all_spans=True),
    }
    variants = [_variant(name, registry) for name, registry in registries.items()]
    progress = Progress("learn", number)

    def after_round() -> None:
        registries["learned"].ended.clear()
        progress.step()

    taken = rounds(variants, count=count, rounds=number, after_round=after_round)
    return _difference(taken["learned"], taken["unlearned"]), _difference(taken["again"], taken["unlearned"])


def _variant(name: str, registry: OpenSpans) -> Variant:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(registry)
    tracer = provider.get_tracer("bench")
    return Variant(name, tracer, lambda: tracer.start_as_current_span("job"))


def _difference(ours: list[float], theirs: list[float]) -> float:
    return median(one - other for one, other in zip(ours, theirs, strict=True))


def _on_the_watcher(count: int, number: int) -> float:
    os.environ["OTEL_LASTSPAN_ENDPOINT"] = "http://127.0.0.1:9"  # nobody is there: counting does not care
    lastspan = start()
    assert lastspan is not None
    try:
        tracer = TracerProvider(shutdown_on_exit=False).get_tracer("bench")
        variant = Variant("lastspan", tracer, lambda: job("bench"))
        block(variant, count)
        settle(lastspan)
        began = other_threads_ns()
        for _ in range(number):
            block(variant, count)
            settle(lastspan)  # it takes a look a second, and the registry keeps no more than 1,024 rows
        return (other_threads_ns() - began) / 1000 / (count * number)
    finally:
        stop()


def _in_the_collector(keys: int, runs: int) -> tuple[float, float]:
    """Return µs for each run that is told, and bytes of a key."""
    learner = Learner()
    names = [
        LearnedKey("prod", "shop", "tasks.charge", f"SELECT something FROM table_{number}") for number in range(keys)
    ]
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        _teach(learner, names, runs)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    began = time.thread_time_ns()
    _teach(learner, names, 10)
    return (time.thread_time_ns() - began) / 1000 / (10 * keys), grown / keys


def _teach(learner: Learner, keys: list[LearnedKey], runs: int) -> None:
    """Durations over some octaves, two versions that take turns."""
    for turn in range(runs):
        for number, key in enumerate(keys):
            bucket = (turn * 7 + number) % 48 - 24
            learner.take(key, [(bucket, 1)], version=str(turn % 2), now_ns=turn * _HOUR // 60)
