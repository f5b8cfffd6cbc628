"""A job, and in the middle of it a child by fork that has a job of its own; both wait for standard input."""

import os
import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from lastspan.instrumentation import job


def wait(name: str) -> None:
    with job(name):
        with trace.get_tracer("program").start_as_current_span(f"call of {name}"):
            sys.stdin.read()


if "provider in the child" in sys.argv:
    child = os.fork()
    if child == 0:
        trace.set_tracer_provider(TracerProvider())
        wait("child")
else:
    with job("parent"):
        with trace.get_tracer("program").start_as_current_span("call of parent"):
            child = os.fork()
            if child == 0:
                wait("child")
                sys.exit()
            sys.stdin.read()
if child:
    os.waitpid(child, 0)
