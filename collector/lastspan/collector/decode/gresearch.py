"""G-Research's "partial spans": log records that carry one open span as their body, sent as heartbeats until it stops.

https://github.com/G-Research/otel-partial-collector; `partial-span-processor` 0.0.9 and its .NET twin.
The resource is taken from the body: that of the log record is often the SDK's default.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import DecodeError

from lastspan.semconv.vocabulary import Outcome

from ..model.records import NO_SEQUENCE, Origin, Resource, Signal, SpanClosed
from . import layout, otlp_json, proto
from .logfire import foreign_span
from .values import RecordError, RequestError

SYSTEM = "partial"
EVENT = "partial.event"
_UNITS = {"ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000}
_GO_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h)")


def signals(row: list[Any], record: Any, resource_of: Callable[[bytes], Resource]) -> Iterator[Signal]:
    """Yield what one `partial.event` record says."""
    event = row[layout.PARTIAL_EVENT]
    if event not in ("heartbeat", "stop"):
        raise RecordError("wrong_kind", f"{EVENT}: {event[:40]!r} is neither heartbeat nor stop")
    interval_ns = frequency_ns(row[layout.PARTIAL_FREQUENCY])
    for resource_spans in _body(row[layout.PARTIAL_BODY_TYPE], record.body.string_value).resource_spans:
        resource = resource_of(resource_spans.resource)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                if event == "stop":
                    key = span.trace_id + span.span_id
                    yield SpanClosed(key, Origin(resource, None, NO_SEQUENCE, None), Outcome.UNKNOWN)
                else:
                    yield foreign_span(span, span.span_id, span.parent_span_id, resource, SYSTEM, interval_ns)


def frequency_ns(text: str | None) -> int | None:
    """Return a Go duration ("5000ms", "1m30s") in nanoseconds; None: none, or not one."""
    if not text or not re.fullmatch(rf"(?:{_GO_DURATION.pattern})+", text):
        return None
    return sum(int(float(number) * _UNITS[unit]) for number, unit in _GO_DURATION.findall(text)) or None


def _body(body_type: str | None, body: str) -> Any:
    try:
        data = otlp_json.traces(body) if body_type == "json/v1" else base64.b64decode(body, validate=True)
        return proto.Traces.FromString(data)
    except (RequestError, DecodeError, binascii.Error, ValueError):
        raise RecordError("bad_body", "the body is not one open span in OTLP") from None
