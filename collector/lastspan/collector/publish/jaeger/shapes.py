"""Jaeger's JSON, as its UI and Grafana read it (`/api/traces`). Times are microseconds."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

Value: TypeAlias = str | int | float | bool


class JaegerTag(msgspec.Struct, frozen=True):
    """A key, its value, and the value's type in Jaeger's words."""

    key: str
    type: str
    value: Value


class JaegerLog(msgspec.Struct):
    """Something that happened within a span."""

    timestamp: int
    fields: list[JaegerTag]


class JaegerReference(msgspec.Struct, rename="camel"):
    """The span that a span belongs to."""

    ref_type: str
    trace_id: str = msgspec.field(name="traceID")
    span_id: str = msgspec.field(name="spanID")


class JaegerSpan(msgspec.Struct, rename="camel"):
    """One span; of an open one `duration` is what it has taken so far."""

    trace_id: str = msgspec.field(name="traceID")
    span_id: str = msgspec.field(name="spanID")
    operation_name: str
    references: list[JaegerReference]
    start_time: int
    duration: int
    tags: list[JaegerTag]
    logs: list[JaegerLog]
    process_id: str = msgspec.field(name="processID")
    warnings: list[str] | None
    flags: int = 1


class JaegerProcess(msgspec.Struct, rename="camel"):
    """Where spans run."""

    service_name: str
    tags: list[JaegerTag]


class JaegerTrace(msgspec.Struct, rename="camel"):
    """The spans of a trace that are known here."""

    trace_id: str = msgspec.field(name="traceID")
    spans: list[JaegerSpan]
    processes: dict[str, JaegerProcess]
    warnings: list[str] | None = None


class JaegerProblem(msgspec.Struct, rename="camel"):
    """Why something is not answered."""

    code: int
    msg: str
    trace_id: str | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="traceID")


class JaegerOperation(msgspec.Struct, rename="camel"):
    """A name of spans."""

    name: str
    span_kind: str


class JaegerAnswer(msgspec.Struct):
    """What each request is answered with."""

    data: list[JaegerTrace] | list[str] | list[JaegerOperation] | None
    total: int = 0
    limit: int = 0
    offset: int = 0
    errors: list[JaegerProblem] | None = None


def tag(key: str, value: object) -> JaegerTag:
    """Return a value with its type."""
    match value:
        case bool():
            return JaegerTag(key, "bool", value)
        case int():
            return JaegerTag(key, "int64", value)
        case float():
            return JaegerTag(key, "float64", value)
        case _:
            return JaegerTag(key, "string", str(value))
