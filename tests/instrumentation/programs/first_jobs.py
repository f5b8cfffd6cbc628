"""32 first jobs start together, again and again; prints how many watchers, processors and jobs each time made."""

import _thread
import json
import sys
import threading
from typing import Any

start_new_thread = _thread.start_new_thread
started = 0


def counting(function: Any, *arguments: Any) -> int:
    global started
    inside = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    started += any("Watcher._run" in repr(one) for one in (function, *inside))
    return start_new_thread(function, *arguments)


_thread.start_new_thread = counting

from opentelemetry import trace  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402

from lastspan.instrumentation import agent, job  # noqa: E402

JOBS = 32


def one_round() -> tuple[int, int, int]:
    trace._TRACER_PROVIDER = TracerProvider()
    if "loaded" in sys.argv:
        agent.start()
    before = started
    starts = threading.Barrier(JOBS)
    all_in = threading.Barrier(JOBS + 1)

    def run() -> None:
        starts.wait()
        with job("first"):
            all_in.wait()
            all_in.wait()

    threads = [threading.Thread(target=run) for _ in range(JOBS)]
    for thread in threads:
        thread.start()
    all_in.wait()
    loaded = agent.agent()
    assert loaded is not None
    processors = trace._TRACER_PROVIDER._active_span_processor._span_processors.count(loaded.spans)
    counts = started - before, processors, len(loaded.spans.runs)
    all_in.wait()
    for thread in threads:
        thread.join()
    agent.stop()
    return counts


sys.setswitchinterval(1e-6)
print(json.dumps([one_round() for _ in range(12)]))
