"""Spans without end, and no job."""

import sys

from opentelemetry import trace

from lastspan.instrumentation import progress

with trace.get_tracer("program").start_as_current_span("server request"):
    progress(1, 2, "nobody's")
    sys.stdin.read()
