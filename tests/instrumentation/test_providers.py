"""Every tracer provider of the process gets our processor and sampler: the ones that are there, and any made later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from lastspan.instrumentation.registry.providers import Providers
from lastspan.instrumentation.registry.run import Run
from lastspan.instrumentation.registry.spans import OpenSpans


def provider(sampler: Sampler = ALWAYS_ON, **attributes: str) -> TracerProvider:
    return TracerProvider(sampler=sampler, resource=Resource(attributes), shutdown_on_exit=False)


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Providers]:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)  # other tests may have set one
    made = Providers(OpenSpans(), record_all=True)
    yield made
    made.detach()


def has_jobs(made: TracerProvider, spans: OpenSpans) -> bool:
    """Whether a job of this provider is known."""
    run = Run("nightly")
    run.is_ours = True
    spans.claim(run)
    span = made.get_tracer("tests").start_span("nightly")
    spans.release()
    known = run.span_id in spans.open
    span.end()
    return known


def test_one_that_is_made_later(providers: Providers) -> None:
    """From its making on, also where its sampler drops everything."""
    providers.attach_to_all()
    assert has_jobs(provider(ALWAYS_OFF), providers._spans)


def test_a_tracer_that_was_made_before(providers: Providers) -> None:
    """The tracer keeps the sampler of its making: it gets ours too."""
    made = provider(ALWAYS_OFF)
    made.get_tracer("tests")
    providers.attach(made)
    assert has_jobs(made, providers._spans)


def test_attached_once(providers: Providers) -> None:
    """However often it is met: a span is counted once."""
    providers.attach_to_all()
    providers.attach_to_all()
    made = provider()
    providers.attach(made)
    assert has_jobs(made, providers._spans)
    assert len(providers._spans.ended) == 1


def test_no_more_after_unwatch(providers: Providers) -> None:
    """And again after watch."""
    providers.attach_to_all()
    providers.detach()
    assert not has_jobs(provider(), providers._spans)
    providers.attach_to_all()
    assert has_jobs(provider(), providers._spans)


def test_the_next_lastspan_of_the_process(providers: Providers) -> None:
    """Uninstrumented and instrumented again: a provider that had the first one gets the second."""
    providers.attach_to_all()
    made = provider(ALWAYS_OFF)
    providers.detach()
    second = Providers(OpenSpans(), record_all=True)
    second.attach(made)
    assert has_jobs(made, second._spans)
    assert not providers._spans.ended


def test_the_resource_is_the_providers(providers: Providers) -> None:
    """Of the one that was attached last, where none is the global one."""
    providers.attach_to_all()
    provider(a="1")
    provider(a="2")
    assert providers.resource_attributes["a"] == "2"


class NotOfTheSdk:
    """Some vendor's provider, with the API's methods only."""

    def get_tracer(self, *args: Any) -> None:
        return None


class Hostile:
    """A provider whose every part raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize("odd", [NotOfTheSdk(), Hostile(), None], ids=["vendor", "hostile", "None"])
def test_a_provider_that_we_do_not_know_stays_without_us(providers: Providers, odd: Any) -> None:
    """No error, no change."""
    providers.attach(odd)
    assert providers.resource_attributes == {}


# --- spans that the watcher ends --------------------------------------------------------------------------------------


class Writes(SpanExporter):
    """Remembers what it exports."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.names += [span.name for span in spans]
        return SpanExportResult.SUCCESS


@pytest.mark.parametrize(
    ("processor", "is_exported"),
    [
        (BatchSpanProcessor, True),  # ends a span by a put into its queue
        (SimpleSpanProcessor, False),  # would export on our thread
    ],
)
def test_the_watchers_spans_are_the_users_where_they_batch(
    providers: Providers, monkeypatch: pytest.MonkeyPatch, processor: Any, is_exported: bool
) -> None:
    """Known to the registry either way; exported only by processors that do not wait."""
    exporter, made = Writes(), provider()
    made.add_span_processor(processor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", made)
    providers.attach_global()
    run = Run("nightly")
    run.is_ours = True
    providers._spans.claim(run)
    job = made.get_tracer("tests").start_span("nightly")
    span = providers.tracer().start_span("a lock", trace.set_span_in_context(job, Context()))
    assert providers._spans.run_of(span.get_span_context().span_id) is run
    span.end()
    made.force_flush()
    assert ("a lock" in exporter.names) == is_exported
    job.end()
    made.shutdown()


def test_without_a_provider_there_is_one_of_our_own(providers: Providers, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never becomes the one whose resource describes the process."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    providers.attach_to_all()
    providers.tracer()
    assert providers.resource_attributes == {}
