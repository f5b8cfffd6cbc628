"""A worker with fifty late jobs that wait, each in its own way; times what the watcher does about them.

    python -m bench.diagnosis_worker JOBS SAMPLES SECONDS

Prints `result {…}`: CPU of the measuring thread, µs, but for `busy_*`: turns of a busy job's thread.
"""

from __future__ import annotations

import json
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from lastspan.instrumentation.announce.sampling import StackSampler
from lastspan.instrumentation.config.settings import WorkerSettings
from lastspan.instrumentation.evidence import sample_stack
from lastspan.instrumentation.evidence.diagnosis import Subject, diagnose
from lastspan.instrumentation.evidence.locks.find import find
from lastspan.instrumentation.evidence.python import current_frames
from lastspan.instrumentation.evidence.stack.frames import live
from lastspan.instrumentation.evidence.waits.sessions import sessions_in_reach
from lastspan.instrumentation.registry.run import Run
from lastspan.instrumentation.registry.spans import Entry, OpenSpans

_DEPTH: Final = 20
_HELD: Final = threading.Lock()
_LISTENER: Final = socket.create_server(("127.0.0.1", 0), backlog=256)


def _wait_for_lock() -> None:
    with _HELD:
        pass


def _wait_for_event() -> None:
    threading.Event().wait()


def _wait_for_item() -> None:
    queue.Queue[int]().get()


def _wait_for_peer() -> None:
    with socket.create_connection(_LISTENER.getsockname()) as connection:
        connection.recv(1)


def _wait_for_time() -> None:
    time.sleep(3600)


_WAITS: Final = (_wait_for_lock, _wait_for_event, _wait_for_item, _wait_for_peer, _wait_for_time)


def _deep(depth: int, wait: Callable[[], None]) -> None:
    if depth:
        _deep(depth - 1, wait)
    else:
        wait()


def main(jobs: int, samples: int, seconds: float) -> None:
    """Start the jobs, let them stop, time the looks."""
    spans = OpenSpans()
    tracer = _tracer(spans)
    _HELD.acquire()
    kept = [_start(tracer, spans, _WAITS[number % len(_WAITS)]) for number in range(jobs)]
    time.sleep(1)
    entries = [(span_id, entry) for span_id, entry in spans.open.items() if entry[3] is not None]
    result: dict[str, Any] = {"jobs": len(kept), "interval": WorkerSettings().interval}
    result["frames"] = [_cpu(current_frames) for _ in range(samples)]
    now = 1000.0
    sampling = StackSampler(spans, WorkerSettings(), "0")
    result["first"] = [_look(sampling, spans, item, now) for item in entries]
    now += 1
    result["diagnosis"] = [_look(sampling, spans, item, now) for item in entries]
    result["sample"] = []
    for _ in range(max(samples // len(entries), 1)):
        now += WorkerSettings().interval / 3
        result["sample"] += [_look(sampling, spans, item, now) for item in entries]
    result["again"] = [_diagnosis(spans, entry) for _, entry in entries * 4]
    result["locks"], result["slices"] = _locks(sampling, spans, entries)
    result["busy_alone"], result["busy_watched"] = _busy(tracer, spans, seconds)
    print("result", json.dumps(result), flush=True)


def _tracer(spans: OpenSpans) -> Any:
    provider = TracerProvider(resource=Resource.get_empty(), shutdown_on_exit=False)
    provider.add_span_processor(spans)
    return provider.get_tracer("bench")


def _start(tracer: Any, spans: OpenSpans, wait: Callable[[], None]) -> list[Any]:
    """Run a job in a thread of its own; return what keeps its span alive."""
    kept: list[Any] = []

    def job() -> None:
        run = Run("nightly")
        run.is_ours = True
        spans.claim(run)
        kept.append(tracer.start_span("nightly", kind=SpanKind.CONSUMER))
        _deep(_DEPTH, wait)

    threading.Thread(target=job, daemon=True).start()
    return kept


def _look(sampling: StackSampler, spans: OpenSpans, item: tuple[int, Entry], now: float) -> float:
    span_id, entry = item
    run = entry[3]
    assert run is not None
    return _cpu(lambda: _exhaust(sampling.sample(span_id, spans.execution_context(entry), run, now, is_call=False)))


def _diagnosis(spans: OpenSpans, entry: Entry) -> float:
    where = spans.execution_context(entry)
    subject = Subject(where, "", sample_stack(where).thread_id, False, 1.0)
    return _cpu(lambda: (diagnose(subject), sessions_in_reach(live(where))))


def _locks(
    sampling: StackSampler, spans: OpenSpans, entries: list[tuple[int, Entry]]
) -> tuple[list[float], list[float]]:
    """Search the lock and its holder for each job that waits for one; the first is the cold one."""
    whole, slices = [], []
    for _, entry in entries[:: len(_WAITS)]:
        steps = []
        search = find(spans.execution_context(entry), sampling._describe)
        began = time.thread_time_ns()
        for _ in search:
            steps.append((time.thread_time_ns() - began) / 1000)
            began = time.thread_time_ns()
        steps.append((time.thread_time_ns() - began) / 1000)
        whole.append(sum(steps))
        slices += steps
    return whole, slices


def _busy(tracer: Any, spans: OpenSpans, seconds: float) -> tuple[int, int]:
    """Count the turns of a job that computes, alone and while it is sampled ten times a second."""
    gil_yielder = [0]

    def work() -> None:
        while True:
            gil_yielder[0] += 1

    kept = _start(tracer, spans, work)
    time.sleep(0.2)
    item = next(item for item in spans.open.items() if item[1][0]() is kept[0])
    counted = []
    for is_watched in (False, True) * 3:
        sampling, began, before = (
            StackSampler(spans, WorkerSettings(interval=0.1), "0"),
            time.monotonic(),
            gil_yielder[0],
        )
        while time.monotonic() - began < seconds / 6:
            time.sleep(0.1)
            if is_watched:
                _look(sampling, spans, item, time.monotonic())
        counted.append((gil_yielder[0] - before) / (time.monotonic() - began))
    return round(sum(counted[::2]) / 3), round(sum(counted[1::2]) / 3)


def _exhaust(steps: Iterator[Any]) -> None:
    for _ in steps:
        pass


def _cpu(function: Callable[[], object]) -> float:
    began = time.thread_time_ns()
    function()
    return (time.thread_time_ns() - began) / 1000


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
