"""Traces in short, as the result list of Jaeger's UI asks for them (`/api/v3/trace-summaries`)."""

from __future__ import annotations

import msgspec

from .shapes import JaegerSpan, JaegerTrace


class ServiceSummary(msgspec.Struct, rename="camel"):
    """What one service has in a trace."""

    name: str
    span_count: int = 0
    error_span_count: int = 0


class Summary(msgspec.Struct, rename="camel"):
    """One trace. Times are nanoseconds, as digits: JavaScript would round the numbers."""

    trace_id: str
    root_service_name: str
    root_operation_name: str
    min_start_time_unix_nano: str
    max_end_time_unix_nano: str
    span_count: int
    error_span_count: int
    orphan_span_count: int
    """Spans whose parent is not known here."""
    services: list[ServiceSummary]


class Summaries(msgspec.Struct):
    """An answer."""

    summaries: list[Summary]


def summary(found: JaegerTrace) -> Summary:
    """Return the summary of a trace; its first span replaces the root, which may have ended long ago."""
    first = found.spans[0]
    known = {span.span_id for span in found.spans}
    services = _services(found)
    return Summary(
        found.trace_id,
        found.processes[first.process_id].service_name,
        first.operation_name,
        str(1000 * min(span.start_time for span in found.spans)),
        str(1000 * max(span.start_time + span.duration for span in found.spans)),
        len(found.spans),
        sum(service.error_span_count for service in services),
        sum(any(reference.span_id not in known for reference in span.references) for span in found.spans),
        services,
    )


def _services(found: JaegerTrace) -> list[ServiceSummary]:
    services: dict[str, ServiceSummary] = {}
    for span in found.spans:
        name = found.processes[span.process_id].service_name
        told = services.setdefault(name, ServiceSummary(name))
        told.span_count += 1
        told.error_span_count += _is_error(span)
    return [services[name] for name in sorted(services)]


def _is_error(span: JaegerSpan) -> bool:
    return any(one.key == "error" for one in span.tags)
