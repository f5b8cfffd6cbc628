"""Jaeger's JSON, as its UI and Grafana read it (`/api/traces`). Times are microseconds."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

Value: TypeAlias = str | int | float | bool


class Tag(msgspec.Struct, frozen=True):
    """A key, its value, and the value's type in Jaeger's words."""

    key: str
    type: str
    value: Value


class Log(msgspec.Struct):
    """Something that happened within a span."""

    timestamp: int
    fields: list[Tag]


class Reference(msgspec.Struct, rename="camel"):
    """The span that a span belongs to."""

    ref_type: str
    trace_id: str = msgspec.field(name="traceID")
    span_id: str = msgspec.field(name="spanID")


class Span(msgspec.Struct, rename="camel"):
    """One span; of an open one `duration` is what it has taken so far."""

    trace_id: str = msgspec.field(name="traceID")
    span_id: str = msgspec.field(name="spanID")
    operation_name: str
    references: list[Reference]
    start_time: int
    duration: int
    tags: list[Tag]
    logs: list[Log]
    process_id: str = msgspec.field(name="processID")
    warnings: list[str] | None
    flags: int = 1


class Process(msgspec.Struct, rename="camel"):
    """Where spans run."""

    service_name: str
    tags: list[Tag]


class Trace(msgspec.Struct, rename="camel"):
    """The spans of a trace that are known here."""

    trace_id: str = msgspec.field(name="traceID")
    spans: list[Span]
    processes: dict[str, Process]
    warnings: list[str] | None = None


class Problem(msgspec.Struct, rename="camel"):
    """Why something is not answered."""

    code: int
    msg: str
    trace_id: str | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="traceID")


class Operation(msgspec.Struct, rename="camel"):
    """A name of spans."""

    name: str
    span_kind: str


class JaegerAnswer(msgspec.Struct):
    """What each request is answered with."""

    data: list[Trace] | list[str] | list[Operation] | None
    total: int = 0
    limit: int = 0
    offset: int = 0
    errors: list[Problem] | None = None


def tag(key: str, value: object) -> Tag:
    """Return a value with its type."""
    match value:
        case bool():
            return Tag(key, "bool", value)
        case int():
            return Tag(key, "int64", value)
        case float():
            return Tag(key, "float64", value)
        case _:
            return Tag(key, "string", str(value))
