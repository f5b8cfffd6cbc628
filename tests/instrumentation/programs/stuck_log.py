"""Every lock that others may hold is held, for ever, and every line of the log waits; then the first job runs."""

import logging
import sys
import threading

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from lastspan.instrumentation import LastspanInstrumentor, job, progress


class Stuck(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        threading.Event().wait()


provider = TracerProvider()
if "provider before" in sys.argv:
    trace.set_tracer_provider(provider)
LastspanInstrumentor().instrument()
logging.root.addHandler(Stuck())
logging.root.setLevel(logging.DEBUG)

HELD = [
    logging.root.handlers[-1].lock,
    logging._lock,  # type: ignore[attr-defined]
    threading._active_limbo_lock,  # type: ignore[attr-defined]
    trace._TRACER_PROVIDER_SET_ONCE._lock,
    provider._tracers_lock,
    provider._active_span_processor._lock,
]
if "provider before" not in sys.argv:
    HELD.remove(trace._TRACER_PROVIDER_SET_ONCE._lock)  # then the first job has no provider, and no span


def hold(held: threading.Event) -> None:
    for lock in HELD:
        lock.acquire()
    held.set()
    threading.Event().wait()


is_held = threading.Event()
threading.Thread(target=hold, args=(is_held,), daemon=True).start()
is_held.wait()

with job("nightly", expected="no duration"):  # a line is to be said about that
    progress(1, 2)
    sys.stdin.readline()
with job("after it"):
    sys.stdin.readline()
sys.stdin.read()  # at its end Python itself waits for the handlers
