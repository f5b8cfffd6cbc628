"""Other people's open spans: Logfire's pending spans, G-Research's partial spans."""

from __future__ import annotations

import base64
from itertools import permutations

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.collector.held import Held
from tests.collector.records import TRACE, Process, attributes, key, span_id, traces_json


def logfire(number: int, parent: int | None, *, final: bool = False, name: str = "span") -> bytes:
    """Return what Logfire 5.2 sends at a span's start (captured), or at its end."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.extend(attributes({"service.name": "web", "service.instance.id": "i-1"}))
    span = resource_spans.scope_spans.add().spans.add(trace_id=TRACE, name=f"{name} {number}", kind=3)
    if final:
        span.span_id, span.parent_span_id = span_id(number), span_id(parent or 0)
        span.attributes.extend(attributes({"logfire.span_type": "span"}))
    else:
        span.span_id, span.parent_span_id = span_id(900 + number), span_id(number)
        parent_id = span_id(parent or 0).hex()
        facts = {
            "logfire.span_type": "pending_span",
            "logfire.pending_parent_id": parent_id,
            "http.url": "http://u:p@h/x?k=v",
        }
        span.attributes.extend(attributes(facts))
    data: bytes = request.SerializeToString()
    return data


@pytest.mark.parametrize("order", list(permutations([(1, None), (2, 1), (3, 2), (4, 2)])))
def test_logfire_spans_find_their_job_in_any_order(held: Held, order: list[tuple[int, int | None]]) -> None:
    """A span whose parent is not known is itself the job, until its parent turns up."""
    for number, parent in order:
        held.spans(logfire(number, parent))
    assert set(held.tracker.jobs) == {key(1)}
    assert {row.job for row in held.tracker.spans.values()} == {held.tracker.jobs[key(1)]}
    assert held.states() == {"running": 1}
    held.wait(61)
    job = held.job(span_id(1).hex())
    assert (job.state, job.system, job.job_name) == ("stuck", "logfire", "span 1")
    assert job.last_span.name in ("span 3", "span 4")
    assert job.last_span.attributes["url.full"] == "http://h/x", "no secrets, no query"
    for number, parent in reversed(order):
        held.spans(logfire(number, parent, final=True))
    assert not held.tracker.spans
    assert not held.tracker._spans.waiting


def test_a_logfire_span_is_never_lost(held: Held) -> None:
    """Nothing tells whether its process lives."""
    held.spans(logfire(1, None))
    held.wait(3000)
    assert held.job(span_id(1).hex()).state == "running"
    held.wait(1000)
    assert held.job(span_id(1).hex()).state == "stuck"


def test_a_pending_span_after_its_end_stays_closed(held: Held) -> None:
    held.spans(logfire(1, None, final=True))
    held.spans(logfire(1, None))
    assert not held.tracker.spans


def partial(number: int, event: str, *, as_json: bool, frequency: str = "5000ms") -> bytes:
    """Return a record of partial-span-processor 0.0.9 (json/v1) or its .NET twin (base64)."""
    inner = ExportTraceServiceRequest()
    resource_spans = inner.resource_spans.add()
    resource_spans.resource.attributes.extend(attributes({"service.name": "batch"}))
    resource_spans.scope_spans.add().spans.add(
        trace_id=TRACE, span_id=span_id(number), name="nightly", kind=1, flags=256
    )
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(trace_id=TRACE, span_id=span_id(number))
    facts = {"partial.event": event, "partial.frequency": frequency if event == "heartbeat" else None}
    if as_json:
        record.body.string_value = traces_json(inner)
        facts["partial.body.type"] = "json/v1"
    else:
        record.body.string_value = base64.b64encode(inner.SerializeToString()).decode()
    record.attributes.extend(attributes(facts))
    data: bytes = request.SerializeToString()
    return data


@pytest.mark.parametrize("as_json", [True, False])
def test_partial_spans(held: Held, as_json: bool) -> None:
    """Heartbeats open it and keep it alive, silence loses it, stop ends it; the resource is the body's."""
    accept = held.pipeline.accept_logs
    for _ in range(5):
        accept(partial(1, "heartbeat", as_json=as_json), transport="test")
        held.wait(5)
    job = held.job(span_id(1).hex())
    assert (job.state, job.service, job.job_name, job.system) == ("running", "batch", "nightly", "partial")
    held.wait(11)
    assert held.job(span_id(1).hex()).state == "lost"
    accept(partial(1, "heartbeat", as_json=as_json), transport="test")
    assert held.job(span_id(1).hex()).state == "running"
    accept(partial(1, "stop", as_json=as_json), transport="test")
    assert held.job(span_id(1).hex()).state == "ended"
    accept(partial(1, "heartbeat", as_json=as_json), transport="test")
    assert not held.tracker.spans


def test_a_partial_body_that_cannot_be_read_is_one_bad_record(held: Held) -> None:
    data = partial(1, "heartbeat", as_json=True).replace(b'{"resourceSpans"', b'["resourceSpans"')
    assert held.pipeline.accept_logs(data, transport="test").rejected == 1


def test_a_span_that_lastspan_announces_too_is_one_span(held: Held) -> None:
    """Logfire's word comes first; lastspan knows more and takes over, job and all."""
    worker = Process()
    held.spans(logfire(1, None))
    held.tell(worker, worker.job(1, age=10.0))
    held.spans(logfire(1, None))
    job = held.job("id-1")
    assert (job.job_name, job.system, held.states()) == ("tasks.charge", "celery", {"running": 1})
    held.wait(46)
    assert held.job("id-1").state == "lost"
