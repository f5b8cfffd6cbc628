"""Logfire's pending spans: sent at a span's start through the traces pipeline.

A pending span has an id of its own; its PARENT id is the real span's id, and the real parent stands in an attribute
(Logfire 5.2, `_internal/tracer.py`). It says nothing of the process, so such a span is never called lost.
"""

from __future__ import annotations

from typing import Any

from ..model.records import NO_SEQUENCE, JobType, Origin, Resource, SpanOpen
from .calls import foreign_call
from .values import RecordError

SPAN_TYPE = "logfire.span_type"
PENDING_PARENT_ID = "logfire.pending_parent_id"
SYSTEM = "logfire"
_NO_PARENT = bytes(8)
_KINDS = ("INTERNAL", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


def signal(span: Any, resource: Resource) -> SpanOpen | None:
    """Return the open span that a pending span announces; None: it is not a pending one."""
    attributes = {pair.key: pair.value for pair in span.attributes}
    if SPAN_TYPE not in attributes or attributes[SPAN_TYPE].string_value != "pending_span":
        return None
    parent = attributes[PENDING_PARENT_ID].string_value if PENDING_PARENT_ID in attributes else ""
    return foreign_span(span, span.parent_span_id, _span_id(parent), resource, SYSTEM)


def foreign_span(
    span: Any,
    span_id: bytes,
    parent_id: bytes | None,
    resource: Resource,
    system: str,
    interval_ns: int | None = None,
) -> SpanOpen:
    """Return an open span that others announce.

    Its age is counted from its arrival: what they send holds no age, and two machines' clocks are not compared.
    With *interval_ns* (it is announced again and again) its silence means something; it is a process of its own then.
    """
    if len(span.trace_id) != 16 or len(span_id) != 8:
        raise RecordError("bad_id", f"ids of {len(span.trace_id)} and {len(span_id)} bytes; 16 and 8 are needed")
    key, name = span.trace_id + span_id, span.name[:1024]
    return SpanOpen(
        key,
        Origin(resource, f"{system}:{key.hex()}" if interval_ns else None, NO_SEQUENCE, interval_ns),
        JobType(resource.service, resource.environment, name, "", system, None, None, None, None),
        foreign_call(span.attributes),
        progress=None,
        evidence=None,
        owned=None,
        name=name,
        kind=_KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else "INTERNAL",
        parent_id=None if parent_id == _NO_PARENT else parent_id or None,
        age_ns=0,
        is_job=False,
        expected_ns=None,
        job_span_id=None,
        outer_span_id=None,
        job_id=span_id.hex(),
        attempt=None,
        movement_ns=None,
        foreign=True,
    )


def _span_id(digits: str) -> bytes | None:
    try:
        span_id = bytes.fromhex(digits)
    except ValueError:
        return None
    return span_id if len(span_id) == 8 else None
