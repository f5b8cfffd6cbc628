"""A job that makes a call by `requests`, and runs threads; finished spans are exported over OTLP/HTTP."""

import sys
import threading

import requests
from opentelemetry import trace

from lastspan.instrumentation import job

with job("nightly"):
    requests.post(f"{sys.argv[1]}/the/call", data=b"", timeout=20)
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    sys.stdin.read()
trace.get_tracer_provider().force_flush()  # type: ignore[attr-defined]
