"""Jobs that end at once."""

from opentelemetry import trace

from lastspan.instrumentation import job

for _ in range(10):
    with job("quick"):
        with trace.get_tracer("program").start_as_current_span("call"):
            pass
