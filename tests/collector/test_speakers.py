"""Who speaks OTLP and tells of no job: `lastspan check` names it, before somebody misses a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.collector.held import Held
from tests.collector.records import Process, attributes

from lastspan.collector.publish.status import ServiceWithoutJobs, status
from lastspan.collector.publish.text.wiring import Line, wiring
from lastspan.semconv import attributes as a
from lastspan.semconv import events
from lastspan.semconv.vocabulary import FRAMEWORKS, SUPPORTED_FRAMEWORKS


def spans(service: str = "shop", scope: str = "shop", kind: Any = Span.SPAN_KIND_SERVER, **resource: Any) -> bytes:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.extend(attributes({a.SERVICE_NAME: service, **resource}))
    scope_spans = group.scope_spans.add()
    scope_spans.scope.name = scope
    scope_spans.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="GET", kind=kind)
    return request.SerializeToString()


def without_jobs(held: Held) -> list[ServiceWithoutJobs]:
    return status(held.view).without_jobs


def test_a_worker_of_celery_that_tells_of_no_job() -> None:
    """Its spans arrive; so somebody forgot lastspan."""
    held = Held()
    held.spans(spans(scope="opentelemetry.instrumentation.celery", kind=Span.SPAN_KIND_CONSUMER))
    assert without_jobs(held) == [ServiceWithoutJobs("shop", "", ["celery"], True)]


def test_once_it_tells_of_jobs_it_is_not_named() -> None:
    """Nor while its process is gone for a while: the counts of its jobs are known."""
    held, process = Held(), Process(service="shop")
    held.spans(spans(scope="opentelemetry.instrumentation.celery", **{a.ENVIRONMENT: "test"}))
    held.tell(process, process.job(1), process.state(1))
    assert without_jobs(held) == []
    held.tell(process, process.closed(1), process.state(status="stopped"))
    held.wait(4000)
    assert without_jobs(held) == []


@pytest.mark.parametrize(
    ("scope", "frameworks"),
    [
        ("docket.worker", ["docket"]),
        ("airflow.sdk.execution_time.task_runner", ["airflow"]),
        ("opentelemetry.instrumentation.rq", ["rq"]),
        ("django-q", ["django_q"]),
        ("opentelemetry.instrumentation.requests", []),  # `rq` is no part of it
        ("", []),
        ("x" * 100_000, []),
    ],
)
def test_frameworks_by_the_names_of_scopes(scope: str, frameworks: list[str]) -> None:
    """Of official instrumentations, and of frameworks that make spans by themselves."""
    held = Held()
    held.spans(spans(scope=scope))
    assert without_jobs(held) == [ServiceWithoutJobs("shop", "", frameworks, False)]


def test_all_signals_count() -> None:
    """Metrics and logs of others tell who speaks, too; environments are told apart."""
    held = Held()
    metrics, logs = ExportMetricsServiceRequest(), ExportLogsServiceRequest()
    metrics.resource_metrics.add().resource.attributes.extend(attributes({a.SERVICE_NAME: "metrics"}))
    logs.resource_logs.add().resource.attributes.extend(attributes({a.SERVICE_NAME: "logs"}))
    held.pipeline.accept_metrics(metrics.SerializeToString(), transport="http")
    held.pipeline.accept_logs(logs.SerializeToString(), transport="http")
    held.spans(spans(**{a.ENVIRONMENT: "test"}))
    assert [(one.service, one.environment) for one in without_jobs(held)] == [
        ("logs", ""),
        ("metrics", ""),
        ("shop", "test"),
    ]


def test_other_languages_have_no_jobs_for_us() -> None:
    held = Held()
    held.spans(spans(**{"telemetry.sdk.language": "go"}))
    assert without_jobs(held) == []


def test_it_is_bounded() -> None:
    """1000 services are known, 100 are told: those first that should tell of jobs, whenever they came."""
    held = Held()
    for number in range(1200):
        held.spans(spans(f"service-{number}"))
    held.spans(spans("worker", scope="opentelemetry.instrumentation.celery"))
    assert len(list(held.view.speakers)) == 1000
    assert len(without_jobs(held)) == 100
    assert without_jobs(held)[0].service == "worker"


def test_services_whose_jobs_are_told_take_nobodys_place() -> None:
    held = Held()
    for number in range(120):
        process = Process(id=f"{number:016x}", service=f"fine-{number}")
        held.spans(spans(process.service, **{a.ENVIRONMENT: "test"}))
        held.tell(process, process.job(number + 1))
    held.spans(spans("worker", scope="opentelemetry.instrumentation.celery"))
    assert [one.service for one in without_jobs(held)] == ["worker"]


def test_a_resource_that_is_none_is_nobody() -> None:
    held = Held()
    request = ExportTraceServiceRequest.FromString(spans())
    raw = request.resource_spans[0].resource.SerializeToString()
    held.spans(request.SerializeToString().replace(raw, b"\xff" * len(raw)))
    assert without_jobs(held) == []


def test_a_framework_that_a_process_has_loaded() -> None:
    """The worker says so itself; words that nobody declared are not shown."""
    held, process = Held(), Process()
    held.tell(process, process.record(events.PROCESS_STATE, {a.PROCESS_FRAMEWORKS: ["rq", "<script>", "huey"]}))
    [heard] = status(held.view).services
    assert heard.unseen_frameworks == ["huey", "rq"]


def problems(change: Callable[[Held], object]) -> list[Line]:
    import msgspec

    held, process = Held(), Process()
    held.tell(process, process.job(1), process.state(1))
    change(held)
    held.tick()
    told = msgspec.to_builtins(status(held.view))
    return [line for line in wiring(told, "http://x") if not line.is_fine]


def test_what_check_says() -> None:
    """What it is, and what to do first; a web server that speaks OTLP is none of its business."""
    assert problems(lambda held: held.spans(spans("web"))) == []
    [forgotten] = problems(lambda held: held.spans(spans(scope="opentelemetry.instrumentation.celery")))
    assert forgotten.found == "shop: it sends spans of celery, but reports no job"
    assert "LastspanInstrumentor().instrument()" in forgotten.advice
    [unseen] = problems(lambda held: held.spans(spans(scope="docket.worker")))
    assert unseen.found == "shop: it uses docket, whose jobs lastspan does not see"
    assert "@job" in unseen.advice


def test_the_frameworks_that_are_seen_are_those_that_have_a_module() -> None:
    assert FRAMEWORKS.keys() > SUPPORTED_FRAMEWORKS
