"""A worker whose job makes many spans: times each `span.end()`, and prints what it saw as one line of JSON.

`python -m bench.host_worker CALLS OPEN with|without SECONDS FILE [URL]`: waits, then times; FILE gets ns, 8 bytes
each. With a URL the worker exports its finished spans there, as workers do; without, it has a no-op processor.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from array import array
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from .spans import ATTRIBUTES, NoOp


class _Lines(logging.Handler):
    """Counts what somebody would read of lastspan in the worker's log (the SDK's own batches complain too)."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("lastspan"):
            self.lines.append(record.getMessage())


class _Exceptions:
    """Counts exceptions that got out of anything."""

    def __init__(self) -> None:
        self.count = 0
        sys.unraisablehook = self._hook
        threading.excepthook = self._hook

    def _hook(self, *_: Any) -> None:
        self.count += 1


def _time_ends(tracer: trace.Tracer, calls: int, exceptions: _Exceptions) -> array[int]:
    taken = array("q", bytes(8 * calls))
    clock = time.perf_counter_ns
    start_span = tracer.start_span
    for index in range(calls):
        span = start_span("POST", kind=SpanKind.CLIENT, attributes=ATTRIBUTES)
        began = clock()
        try:
            span.end()
        except Exception:
            exceptions.count += 1
        taken[index] = clock() - began
    return taken


def main() -> None:
    calls, still_open, with_lastspan = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "with"
    lines, exceptions = _Lines(), _Exceptions()
    logging.getLogger().addHandler(lines)
    provider = TracerProvider(shutdown_on_exit=False)
    endpoint = sys.argv[6] if len(sys.argv) > 6 else ""
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)) if endpoint else NoOp())
    trace.set_tracer_provider(provider)
    tracer = provider.get_tracer("bench")
    within: AbstractContextManager[Any] = tracer.start_as_current_span("job")
    if with_lastspan:
        from lastspan.instrumentation import LastspanInstrumentor, job

        LastspanInstrumentor().instrument()
        within = job("bench")
    within.__enter__()  # and never left: the job is still open when the process ends
    kept = [tracer.start_span(f"open {index}", attributes=ATTRIBUTES) for index in range(still_open)]
    time.sleep(float(sys.argv[4]))  # until they are late, announced, and the collector's mood is known
    taken = _time_ends(tracer, calls, exceptions)
    Path(sys.argv[5]).write_bytes(taken.tobytes())
    result = {
        "lines": len(lines.lines),
        "exceptions": exceptions.count,
        "open": len(kept),
        "ended_at": time.monotonic(),
    }
    print("result " + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
