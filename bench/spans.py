"""The spans that the worker's benchmarks make, and the loop that times them.

Imports OpenTelemetry alone: peers with an old SDK run it too.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, Tracer

ATTRIBUTES: Final[Mapping[str, str | int]] = {
    "http.request.method": "POST",
    "http.route": "/v1/charges",
    "url.full": "https://payments.internal:8443/v1/charges",
    "url.scheme": "https",
    "server.address": "payments.internal",
    "server.port": 8443,
    "network.protocol.version": "1.1",
    "network.peer.address": "10.0.12.7",
    "network.peer.port": 8443,
    "user_agent.original": "python-requests/2.34.2",
    "http.request.body.size": 512,
    "http.response.status_code": 200,
}
"""Twelve, as an HTTP client's span has."""


class NoOp(SpanProcessor):
    """Does nothing: what the SDK itself pays for having a processor."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to make spans."""

    name: str
    tracer: Tracer
    within: Callable[[], AbstractContextManager[Any]]
    """What the spans of a block are made in: a parent span, a job."""


def block(variant: Variant, count: int) -> float:
    """Start and end *count* spans; return µs of this thread's CPU for each."""
    start_span = variant.tracer.start_span
    with variant.within():
        began = time.thread_time_ns()
        for _ in range(count):
            start_span("POST", kind=SpanKind.CLIENT, attributes=ATTRIBUTES).end()
        return (time.thread_time_ns() - began) / 1000 / count


def rounds(
    variants: list[Variant], *, count: int, rounds: int, after_round: Callable[[], None] = lambda: None
) -> dict[str, list[float]]:
    """Run all variants in each round, in a new order each time; return µs a span of each round."""
    taken: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for variant in variants:  # warm up
        block(variant, count)
    for _ in range(rounds):
        for variant in random.sample(variants, len(variants)):
            taken[variant.name].append(block(variant, count))
        after_round()
    return taken
