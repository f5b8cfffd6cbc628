"""OTLP as we read it: the same bytes through smaller messages.

An attribute stays as its wire bytes (`repeated bytes`), because most of them repeat from record to record: the same
bytes are decoded once and found again in a dict (`decode`). Built at import, in a package name of its own, so that it
lives beside opentelemetry-proto in one process.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "lastspan.slim"
_Field = descriptor_pb2.FieldDescriptorProto
_STRING, _BYTES, _BOOL = _Field.TYPE_STRING, _Field.TYPE_BYTES, _Field.TYPE_BOOL
_INT64, _DOUBLE, _FIXED64, _ENUM32 = _Field.TYPE_INT64, _Field.TYPE_DOUBLE, _Field.TYPE_FIXED64, _Field.TYPE_INT32

_MESSAGES: dict[str, list[tuple[str, int, int | str]]] = {
    # A type that is a string names a message; a name with a star repeats; "|" marks the members of a oneof.
    "ArrayValue": [("values*", 1, "AnyValue")],
    "AnyValue": [
        ("|string_value", 1, _STRING),
        ("|bool_value", 2, _BOOL),
        ("|int_value", 3, _INT64),
        ("|double_value", 4, _DOUBLE),
        ("|array_value", 5, "ArrayValue"),
        ("|kvlist_value", 6, _BYTES),
        ("|bytes_value", 7, _BYTES),
    ],
    "KeyValue": [("key", 1, _STRING), ("value", 2, "AnyValue")],
    "Resource": [("attributes*", 1, "KeyValue")],
    "LogRecord": [
        ("body", 5, "AnyValue"),
        ("attributes*", 6, _BYTES),
        ("trace_id", 9, _BYTES),
        ("span_id", 10, _BYTES),
        ("event_name", 12, _STRING),
    ],
    "ScopeLogs": [("log_records*", 2, "LogRecord")],
    "ResourceLogs": [("resource", 1, _BYTES), ("scope_logs*", 2, "ScopeLogs")],
    "Logs": [("resource_logs*", 1, "ResourceLogs")],
    "Status": [("code", 3, _ENUM32)],
    "Span": [
        ("trace_id", 1, _BYTES),
        ("span_id", 2, _BYTES),
        ("parent_span_id", 4, _BYTES),
        ("name", 5, _STRING),
        ("kind", 6, _ENUM32),
        ("start_time_unix_nano", 7, _FIXED64),
        ("end_time_unix_nano", 8, _FIXED64),
        ("attributes*", 9, "KeyValue"),
        ("status", 15, "Status"),
    ],
    "ScopeSpans": [("spans*", 2, "Span")],
    "ResourceSpans": [("resource", 1, _BYTES), ("scope_spans*", 2, "ScopeSpans")],
    "Traces": [("resource_spans*", 1, "ResourceSpans")],
    # Enough of a finished span to close it.
    "EndedSpan": [("trace_id", 1, _BYTES), ("span_id", 2, _BYTES), ("kind", 6, _ENUM32), ("status", 15, "Status")],
    "Scope": [("name", 1, _STRING)],
    "ScopeEndedSpans": [("scope", 1, "Scope"), ("spans*", 2, "EndedSpan")],
    "ResourceEndedSpans": [("resource", 1, _BYTES), ("scope_spans*", 2, "ScopeEndedSpans")],
    "EndedTraces": [("resource_spans*", 1, "ResourceEndedSpans")],
}


def _file() -> bytes:
    file = descriptor_pb2.FileDescriptorProto(name="lastspan/slim.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            _add(message, field, number, kind)
    return file.SerializeToString()


def _add(message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: int | str) -> None:
    field = message.field.add(name=name.strip("*|"), number=number)
    field.label = _Field.LABEL_REPEATED if name.endswith("*") else _Field.LABEL_OPTIONAL
    if isinstance(kind, str):
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = kind  # type: ignore[assignment]  # an int of the enum
    if name.startswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="value")
        field.oneof_index = 0


_pool = descriptor_pool.DescriptorPool()
_pool.AddSerializedFile(_file())


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


AnyValue = _message("AnyValue")
KeyValue = _message("KeyValue")
Resource = _message("Resource")
Logs = _message("Logs")
Traces = _message("Traces")
EndedTraces = _message("EndedTraces")
