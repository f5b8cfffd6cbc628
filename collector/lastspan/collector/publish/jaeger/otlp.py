"""The same traces as OTLP JSON, for `/api/v3`.

Values are texts, integers are digits in a text: some versions of Grafana want other kinds as texts, others as they are.
"""

from __future__ import annotations

from typing import Any

from .shapes import JaegerLog, JaegerProcess, JaegerSpan, JaegerTag, JaegerTrace

_KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_ERROR = 2
_NOT_ATTRIBUTES = frozenset({"span.kind", "error", "otel.status_code", "otel.status_description"})


def result(traces: list[JaegerTrace]) -> dict[str, Any]:
    """Return the answer with these traces."""
    return {"result": {"resourceSpans": [part for found in traces for part in _resources(found)]}}


def problem(status: int, reason: str, message: str) -> dict[str, Any]:
    """Return the answer that says why there is none. The gRPC codes are INVALID_ARGUMENT and NOT_FOUND."""
    grpc_code = {400: 3, 404: 5}[status]
    return {"error": {"httpCode": status, "httpStatus": reason, "grpcCode": grpc_code, "message": message}}


def _resources(found: JaegerTrace) -> list[dict[str, Any]]:
    return [
        {
            "resource": {
                "attributes": [_pair(JaegerTag("service.name", "string", process.service_name)), *_pairs(process)]
            },
            "scopeSpans": [
                {
                    "scope": {"name": "lastspan"},
                    "spans": [_span(span) for span in found.spans if span.process_id == name],
                }
            ],
        }
        for name, process in found.processes.items()
    ]


def _pairs(process: JaegerProcess) -> list[dict[str, Any]]:
    return [_pair(one) for one in process.tags]


def _span(span: JaegerSpan) -> dict[str, Any]:
    tags = {one.key: one.value for one in span.tags}
    status = {"code": _ERROR, "message": tags.get("otel.status_description", "")} if "error" in tags else {}
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.references[0].span_id if span.references else "",
        "name": span.operation_name,
        "kind": _KINDS.get(str(tags.get("span.kind")), 0),
        "startTimeUnixNano": str(span.start_time * 1000),
        "endTimeUnixNano": str((span.start_time + span.duration) * 1000),
        "attributes": [_pair(one) for one in span.tags if one.key not in _NOT_ATTRIBUTES],
        "events": [_event(log) for log in span.logs],
        "status": status,
    }


def _event(log: JaegerLog) -> dict[str, Any]:
    name = next((str(one.value) for one in log.fields if one.key == "event"), "")
    return {
        "timeUnixNano": str(log.timestamp * 1000),
        "name": name,
        "attributes": [_pair(one) for one in log.fields if one.key != "event"],
    }


def _pair(one: JaegerTag) -> dict[str, Any]:
    if one.type == "int64":
        return {"key": one.key, "value": {"intValue": str(one.value)}}
    text = str(one.value).lower() if isinstance(one.value, bool) else str(one.value)
    return {"key": one.key, "value": {"stringValue": text}}
