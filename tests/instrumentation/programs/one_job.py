"""A job with one call inside, open until standard input ends; options say which tracer provider there is."""

import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from lastspan.instrumentation import LastspanInstrumentor, job

if "provider before" in sys.argv:
    trace.set_tracer_provider(TracerProvider())
if "by hand" in sys.argv:
    LastspanInstrumentor().instrument()
if "taken out and put in again" in sys.argv:
    LastspanInstrumentor().uninstrument()
    LastspanInstrumentor().instrument()
if "provider after" in sys.argv:
    trace.set_tracer_provider(TracerProvider())
if "provider after, sampling nothing" in sys.argv:
    trace.set_tracer_provider(TracerProvider(sampler=ALWAYS_OFF))


@job("nightly", expected="10m")
def nightly() -> None:
    with trace.get_tracer("program").start_as_current_span("call"):
        sys.stdin.read()


nightly()
