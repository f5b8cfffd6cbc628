"""lastspan loaded into this very process, for the wrappers of libraries; spans that ended are kept."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.sink import Sink

from lastspan.instrumentation.agent import Agent, start, stop
from lastspan.instrumentation.registry.current import current_run
from lastspan.instrumentation.registry.held_locks import held
from lastspan.semconv import attributes as a

_ended = InMemorySpanExporter()
_kept_by: set[int] = set()


class Live:
    """What the process's lastspan knows."""

    def __init__(self, agent: Agent, sink: Sink) -> None:
        self.agent = agent
        self.sink = sink

    def holds(self) -> list[str]:
        """Keys of what the calling job holds."""
        run = current_run()
        assert run is not None
        return held.keys(run, time.monotonic())

    def ended(self, name: str) -> list[ReadableSpan]:
        """Spans of one name that ended, oldest first."""
        return [span for span in _ended.get_finished_spans() if span.name == name]

    def open(self) -> dict[str, dict[str, object]]:
        """Attributes of the spans that are open now, by name."""
        spans = (entry[0]() for entry in list(self.agent.spans.open.values()))
        return {span.name: dict(span.attributes or {}) for span in spans if span is not None}

    def wait_for_open(self, name: str, seconds: float = 20) -> dict[str, object]:
        """Return the attributes of an open span, once there is one."""
        deadline = time.monotonic() + seconds
        while name not in (found := self.open()):
            assert time.monotonic() < deadline, found
            time.sleep(0.005)
        return found[name]


@pytest.fixture
def live(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Quick, and with a collector of the test's own."""
    monkeypatch.setenv("OTEL_LASTSPAN_ENDPOINT", sink.url)
    monkeypatch.setenv("OTEL_LASTSPAN_ANNOUNCE_AFTER", "0.1")
    monkeypatch.setenv("OTEL_LASTSPAN_JOB_ANNOUNCE_AFTER", "0.05")
    monkeypatch.setenv("OTEL_LASTSPAN_INTERVAL", "0.2")
    _keep_ended_spans()
    agent = start()
    assert agent is not None
    try:
        yield Live(agent, sink)
    finally:
        stop()
        _ended.clear()


def instrumented(instrumentor: BaseInstrumentor) -> Iterator[BaseInstrumentor]:
    """Wrap a library for one test."""
    instrumentor.instrument()
    try:
        yield instrumentor
    finally:
        instrumentor.uninstrument()


def lock_facts(attributes: object) -> dict[str, object]:
    """What a span, or a record, says of a wait for a lock."""
    names = (a.LOCK_NAME, a.LOCK_KIND, a.LOCK_KEY, a.CALL_TIMEOUT, a.CALL_UNBOUNDED)
    found = dict(attributes)  # type: ignore[call-overload]
    return {name: found[name] for name in names if name in found}


def _keep_ended_spans() -> None:
    if trace._TRACER_PROVIDER is None:
        trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    if id(provider) not in _kept_by:
        _kept_by.add(id(provider))
        provider.add_span_processor(SimpleSpanProcessor(_ended))
