"""Real OTLP requests, as a worker sends them: a process that numbers its records."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from lastspan.semconv import SKETCH_EXPONENTIAL_HISTOGRAM, events
from lastspan.semconv import attributes as a

TRACE = bytes(range(16))


def span_id(number: int) -> bytes:
    return number.to_bytes(8, "big")


def key(number: int, trace: bytes = TRACE) -> bytes:
    return trace + span_id(number)


def job_key(number: int, trace: bytes = TRACE) -> str:
    return f"{trace.hex()}-{span_id(number).hex()}"


def any_value(value: Any) -> AnyValue:
    match value:
        case AnyValue():
            return value
        case bool():
            return AnyValue(bool_value=value)
        case str():
            return AnyValue(string_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case list() | tuple():
            return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))
    raise TypeError(value)


def attributes(values: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=name, value=any_value(value)) for name, value in values.items() if value is not None]


def sessions(*told: tuple[str, str, str, str]) -> dict[str, Any]:
    """Tell the database sessions that a job has used: system, server, id and own address of each."""
    names = ("job_db_systems", "job_db_servers", "job_db_ids", "job_db_locals")
    return {name: list(values) for name, values in zip(names, zip(*told, strict=True), strict=True)} if told else {}


def at(prefix: str, function: str, file: str, line: int) -> dict[str, Any]:
    """Tell where code stands: of a `lock_holder`, of what keeps a `loop` busy, …"""
    return {f"{prefix}_function": function, f"{prefix}_file": file, f"{prefix}_line": line}


@dataclass
class Process:
    """A process that reports."""

    id: str = "00000000000000aa"
    pid: int = 100
    parent_pid: int | None = 1
    host: str = "host-1"
    worker_id: str | None = "worker-1"
    interval: float = 15.0
    service: str = "billing"
    sequence: int = 0
    shift_ns: int = 0
    """How wrong its clock is."""
    resource: dict[str, Any] = field(default_factory=dict)

    def record(self, event: str, values: dict[str, Any], *, number: int | None = None, body: bytes = b"") -> LogRecord:
        self.sequence += 1
        common = {
            a.EVENT_NAME: event,
            a.PROCESS_ID: self.id,
            a.PROCESS_SEQUENCE: self.sequence,
            a.REPORT_INTERVAL: self.interval,
        }
        record = LogRecord(event_name=event, attributes=attributes(common | values))
        record.time_unix_nano = 1_700_000_000_000_000_000 + self.shift_ns
        record.observed_time_unix_nano = record.time_unix_nano
        if number is not None:
            record.trace_id, record.span_id = TRACE, span_id(number)
        if body:
            record.body.bytes_value = body
        return record

    def job(self, number: int, *, name: str = "tasks.charge", age: float = 1.0, **values: Any) -> LogRecord:
        """Announce a job: its own span."""
        facts: dict[str, Any] = {
            a.SPAN_NAME: f"run/{name}",
            a.SPAN_KIND: "CONSUMER",
            a.SPAN_AGE: age,
            a.SPAN_IS_JOB: True,
            a.JOB_SPAN_ID: span_id(number).hex(),
            a.JOB_NAME: name,
            a.JOB_ID: f"id-{number}",
            a.JOB_ATTEMPT: 1,
            a.JOB_QUEUE: "celery",
            a.JOB_SYSTEM: "celery",
        }
        return self.record(events.SPAN_OPEN, facts | _named(values), number=number)

    def span(self, number: int, job: int, *, name: str = "GET", age: float = 1.0, **values: Any) -> LogRecord:
        """Announce a span of a job, directly below the job unless told otherwise."""
        facts: dict[str, Any] = {
            a.SPAN_NAME: name,
            a.SPAN_KIND: "CLIENT",
            a.SPAN_PARENT_ID: span_id(job).hex(),
            a.SPAN_AGE: age,
            a.SPAN_IS_JOB: False,
            a.JOB_SPAN_ID: span_id(job).hex(),
            a.JOB_NAME: "tasks.charge",
            a.JOB_ID: f"id-{job}",
            a.JOB_ATTEMPT: 1,
            a.JOB_QUEUE: "celery",
            a.JOB_SYSTEM: "celery",
        }
        return self.record(events.SPAN_OPEN, facts | _named(values), number=number)

    def http(self, number: int, job: int, **values: Any) -> LogRecord:
        call: dict[str, Any] = {"http_request_method": "GET", "server_address": "api.example", "server_port": 443}
        return self.span(number, job, **(call | values))

    def closed(self, number: int, outcome: str = "ok") -> LogRecord:
        return self.record(events.SPAN_CLOSED, {a.OUTCOME: outcome, a.SPAN_DURATION: 2.0}, number=number)

    def state(self, *numbers: int, status: str = "running", open_count: int | None = None, **values: Any) -> LogRecord:
        """Tell that these announced spans are open."""
        facts = {a.PROCESS_STATUS: status, a.SPAN_OPEN_COUNT: len(numbers) if open_count is None else open_count}
        body = b"".join(map(span_id, numbers))
        return self.record(events.PROCESS_STATE, facts | _named(values), body=body)

    def accepted(self, number: int, *, pid: int, job: int | None = None, age: float = 6.0, **values: Any) -> LogRecord:
        """Tell, as a parent, that a child took a job: its ids are of the parent's making."""
        facts: dict[str, Any] = {
            a.JOB_SYSTEM: "celery",
            a.JOB_NAME: "tasks.charge",
            a.JOB_ID: f"id-{number if job is None else job}",
            a.JOB_ATTEMPT: 1,
            a.JOB_QUEUE: "celery",
            a.SPAN_AGE: age,
            a.PID: pid,
        }
        return self.record(events.JOB_ACCEPTED, facts | _named(values), number=number)

    def job_ended(self, number: int, outcome: str = "killed", **values: Any) -> LogRecord:
        """Tell, as a parent, that the process of a job has ended."""
        facts: dict[str, Any] = {
            a.JOB_SYSTEM: "celery",
            a.JOB_NAME: "tasks.charge",
            a.JOB_ID: f"id-{number}",
            a.JOB_ATTEMPT: 1,
            a.OUTCOME: outcome,
        }
        return self.record(events.JOB_ENDED, facts | _named(values))

    def durations(self, outcome: str | None, count: int, *, seconds: float = 2.0, **values: Any) -> LogRecord:
        """Tell cumulative counts; all took *seconds*."""
        facts: dict[str, Any] = {a.JOB_NAME: "tasks.charge", a.JOB_QUEUE: "celery", a.JOB_SYSTEM: "celery"}
        if outcome is None:
            return self.record(events.PROCESS_DURATIONS, facts | {a.COUNT_STARTED: count} | _named(values))
        facts |= {a.OUTCOME: outcome, a.COUNT_ENDED: count, a.SKETCH_FORMAT: SKETCH_EXPONENTIAL_HISTOGRAM}
        return self.record(events.PROCESS_DURATIONS, facts | _named(values), body=_sketch(count, seconds))

    def request(self, *records: LogRecord) -> ExportLogsServiceRequest:
        facts = {
            a.SERVICE_NAME: self.service,
            a.ENVIRONMENT: "test",
            a.HOST_NAME: self.host,
            a.PID: self.pid,
            a.PARENT_PID: self.parent_pid,
            a.WORKER_ID: self.worker_id,
        }
        request = ExportLogsServiceRequest()
        resource_logs = request.resource_logs.add()
        resource_logs.resource.attributes.extend(attributes(facts | self.resource))
        resource_logs.scope_logs.add().log_records.extend(records)
        return request

    def body(self, *records: LogRecord) -> bytes:
        data: bytes = self.request(*records).SerializeToString()
        return data


def logs_json(request: ExportLogsServiceRequest) -> bytes:
    """Return OTLP/JSON: ids are hex digits there."""
    tree = json_format.MessageToDict(request)
    for resource_logs in tree.get("resourceLogs", []):
        for scope_logs in resource_logs.get("scopeLogs", []):
            for record in scope_logs.get("logRecords", []):
                _hex(record, "traceId", "spanId")
    return json.dumps(tree).encode()


def traces_json(request: ExportTraceServiceRequest) -> str:
    tree = json_format.MessageToDict(request)
    for resource_spans in tree.get("resourceSpans", []):
        for scope_spans in resource_spans.get("scopeSpans", []):
            for span in scope_spans.get("spans", []):
                _hex(span, "traceId", "spanId", "parentSpanId")
    return json.dumps(tree)


def finished(*numbers: int, error: bool = False) -> bytes:
    """Return a traces request with finished spans."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number in numbers:
        span = spans.add(
            trace_id=TRACE, span_id=span_id(number), name="x", start_time_unix_nano=1, end_time_unix_nano=2
        )
        span.status.code = Status.STATUS_CODE_ERROR if error else Status.STATUS_CODE_UNSET
    data: bytes = request.SerializeToString()
    return data


def _hex(item: dict[str, Any], *names: str) -> None:
    for name in names:
        if name in item:
            item[name] = base64.b64decode(item[name]).hex()


_NAMES = {name.replace(".", "_"): name for name in (*a.CALL_ATTRIBUTES, *vars(a).values()) if isinstance(name, str)}
_NAMES |= {constant.lower(): name for constant, name in vars(a).items() if constant.isupper() and isinstance(name, str)}


def _named(values: dict[str, Any]) -> dict[str, Any]:
    """`job_attempt=2` for the constant JOB_ATTEMPT, `http_request_method="GET"` for the attribute of that name."""
    return {_NAMES[name]: value for name, value in values.items()}


def _sketch(count: int, seconds: float) -> bytes:
    point = ExponentialHistogramDataPoint(count=count, sum=count * seconds, scale=2)
    point.positive.offset = math.ceil(math.log2(seconds) * 4) - 1
    point.positive.bucket_counts.append(count)
    data: bytes = point.SerializeToString()
    return data
