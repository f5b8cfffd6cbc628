"""OTLP/JSON to OTLP protobuf, by protobuf's own JSON reader."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .values import RequestError


def logs(body: bytes) -> bytes:
    """Return the protobuf form of a logs request in JSON."""
    request = _parse(body, ExportLogsServiceRequest())
    for resource_logs in request.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                _restore_ids(record, "trace_id", "span_id")
    return request.SerializeToString()  # type: ignore[no-any-return]


def traces(body: bytes | str) -> bytes:
    """Return the protobuf form of a traces request (or of `TracesData`: the same shape) in JSON."""
    request = _parse(body, ExportTraceServiceRequest())
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                _restore_ids(span, "trace_id", "span_id", "parent_span_id")
    return request.SerializeToString()  # type: ignore[no-any-return]


def metrics(body: bytes) -> bytes:
    """Return the protobuf form of a metrics request in JSON."""
    return _parse(body, ExportMetricsServiceRequest()).SerializeToString()  # type: ignore[no-any-return]


def _parse(body: bytes | str, request: Any) -> Any:
    try:
        tree = msgspec.json.decode(body, type=dict)  # strict where `json` is not: depth, surrogates, NaN
        return json_format.ParseDict(tree, request, ignore_unknown_fields=True)
    except (ValueError, TypeError, AttributeError, RecursionError, json_format.Error) as problem:
        detail = "too deep" if isinstance(problem, RecursionError) else str(problem)[:200]
        raise RequestError(f"the body is not OTLP in JSON: {detail}") from None


def _restore_ids(item: Any, *names: str) -> None:
    """Undo protobuf's reading of ids as base64: OTLP/JSON writes them as hex digits."""
    for name in names:
        digits = base64.b64encode(getattr(item, name)).decode().rstrip("=")
        try:
            setattr(item, name, bytes.fromhex(digits))
        except ValueError:
            setattr(item, name, b"not hex")  # an id of a wrong length: refused record by record
