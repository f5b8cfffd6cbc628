"""A sampler around the user's: what it drops of a job is recorded here, and still exported nowhere."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from tests.instrumentation.worker import Worker, worker

from lastspan.instrumentation.registry.sampler import JobRecordingSampler

SAMPLERS = {
    "never": ALWAYS_OFF,
    "never, parent based": DEFAULT_OFF,
    "1 %": TraceIdRatioBased(0.01),
    "1 %, parent based": ParentBasedTraceIdRatio(0.01),
    "always": ALWAYS_ON,
    "always, parent based": DEFAULT_ON,
}

BELOW_1_PERCENT = 2**64 // 100 - 1
"""A trace id whose lower half the ratio samplers take."""
ABOVE = 2**64 - 1


def exporter_of(made: Worker) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    made.provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


def exported(exporter: InMemorySpanExporter) -> list[str]:
    return [span.name for span in exporter.get_finished_spans()]


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_a_job_and_what_is_below_it_are_recorded(sampler: Sampler) -> None:
    """Whatever the sampler says; and exported exactly if it said so."""
    with worker(sampler=sampler) as made:
        exporter = exporter_of(made)
        for _ in range(20):
            job = made.job()
            call = made.span(inside=job)
            deeper = made.span("SELECT", inside=call)
            spans = [job, call, deeper]
            assert all(span.is_recording() for span in spans)
            assert {span.context.span_id for span in spans} == set(made.spans.open)
            exporter.clear()
            for span in reversed(spans):
                made.end(span)
            sampled = [span.name for span in reversed(spans) if span.context.trace_flags.sampled]
            assert exported(exporter) == sampled


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, DEFAULT_OFF])
def test_nothing_else_is(sampler: Sampler) -> None:
    """Outside of jobs the user's sampler has the last word: a dropped span is not even made."""
    with worker(sampler=sampler) as made:
        assert not made.span().is_recording()
        job = made.job()
        assert not made.span().is_recording()
        made.end(job)
        assert not made.span(inside=job).is_recording()


def test_the_sampled_flag_stays_as_it_was() -> None:
    """A child of a job that is recorded only is not sampled, so downstream sees no difference."""
    with worker(sampler=DEFAULT_OFF) as made:
        job = made.job()
        call = made.span(inside=job)
        assert not job.context.trace_flags.sampled
        assert not call.context.trace_flags.sampled


def test_jobs_alone_if_so_set() -> None:
    """OTEL_LASTSPAN_RECORD=jobs: the job's own span, nothing below it."""
    with worker(sampler=ALWAYS_OFF, record_all=False) as made:
        job = made.job()
        assert job.is_recording()
        assert not made.span(inside=job).is_recording()
        assert made.job(inside=job).is_recording()


@pytest.mark.parametrize(("trace_id", "is_sampled"), [(BELOW_1_PERCENT, True), (ABOVE, False)])
def test_a_remote_parent(trace_id: int, is_sampled: bool) -> None:
    """A job continues its producer's trace: the ratio decides by its id, we record either way."""
    parent = NonRecordingSpan(SpanContext(trace_id, 1, is_remote=True, trace_flags=TraceFlags(0)))
    with worker(sampler=TraceIdRatioBased(0.01)) as made:
        job = made.job(inside=parent)
        assert job.is_recording()
        assert job.context.trace_id == trace_id
        assert bool(job.context.trace_flags.sampled) is is_sampled


def test_attributes_of_the_start_are_kept() -> None:
    """A sampler's result carries the attributes: overruled, they are still there."""
    with worker(sampler=ALWAYS_OFF) as made:
        call = made.span(inside=made.job(), http__request__method="GET")
        assert call.attributes == {"http.request.method": "GET"}


class Broken(Sampler):
    """A user's sampler that raises: its business."""

    def should_sample(self, *args: object, **kwargs: object) -> ReadableSpan:  # type: ignore[override]
        raise ZeroDivisionError

    def get_description(self) -> str:
        return "broken"


def test_the_users_errors_stay_the_users() -> None:
    """We neither hide them nor add to them."""
    with worker(sampler=Broken()) as made, pytest.raises(ZeroDivisionError):
        made.span()


def test_it_says_what_it_wraps() -> None:
    """Named in the provider's debug output."""
    with worker(sampler=ALWAYS_OFF) as made:
        sampler = made.provider.sampler
        assert isinstance(sampler, JobRecordingSampler)
        assert sampler.get_description() == "RecordJobs(AlwaysOffSampler)"
        assert isinstance(made.provider, TracerProvider)
