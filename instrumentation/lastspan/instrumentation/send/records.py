"""Our records as OTLP: plain values in, one `LogRecord` out.

Built straight from the protocol's messages: the Logs SDK would cost three times as much, obey the user's limits, and
may copy an event into the very span that it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

from lastspan.semconv import SCOPE_NAME
from lastspan.semconv.attributes import EVENT_NAME

INFO: Final = SeverityNumber.SEVERITY_NUMBER_INFO


@dataclass(frozen=True, slots=True)
class Record:
    """One event, before it becomes bytes."""

    event: str
    attributes: Mapping[str, Any]
    time_ns: int
    trace_id: int = 0
    span_id: int = 0
    body: bytes | None = None
    is_kept: bool = field(default=False)
    """Said once only: kept for a later try if sending fails. Other records are made anew from the state."""


def encode(
    resource: Mapping[str, Any],
    records: Sequence[Record],
    version: str,
    yield_gil: Callable[[], object] = lambda: None,
) -> bytes:
    """Return an `ExportLogsServiceRequest`; *yield_gil* is called after each record."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.extend(_attributes(resource))
    scope = group.scope_logs.add()
    scope.scope.name, scope.scope.version = SCOPE_NAME, version
    for record in records:
        scope.log_records.append(_log_record(record))
        yield_gil()
    return request.SerializeToString()


def _log_record(record: Record) -> LogRecord:
    message = LogRecord(
        time_unix_nano=record.time_ns,
        observed_time_unix_nano=record.time_ns,
        severity_number=INFO,
        severity_text="INFO",
        event_name=record.event,
        attributes=_attributes(record.attributes),
    )
    message.attributes.append(KeyValue(key=EVENT_NAME, value=AnyValue(string_value=record.event)))
    if record.span_id:
        message.trace_id = record.trace_id.to_bytes(16, "big")
        message.span_id = record.span_id.to_bytes(8, "big")
    if record.body is not None:
        message.body.bytes_value = record.body
    return message


def _attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_any_value(value)) for name, value in values.items() if value is not None]


def _any_value(value: Any) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case str():
            return AnyValue(string_value=value)
        case int():
            return AnyValue(int_value=max(min(value, 2**63 - 1), -(2**63)))
        case float():
            return AnyValue(double_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case list() | tuple():
            return AnyValue(array_value=ArrayValue(values=[_any_value(item) for item in value]))
        case _:
            return AnyValue(string_value=str(value))
