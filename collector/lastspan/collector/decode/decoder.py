"""OTLP bytes to signals. Pure but for caches: the same bytes give the same signals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from lastspan.semconv import attributes as a
from lastspan.semconv import events
from lastspan.semconv.vocabulary import Outcome

from ..model.evidence import Evidence
from ..model.records import (
    NO_CALL,
    Call,
    CallSeen,
    DurationCounts,
    JobAccepted,
    JobEnded,
    JobType,
    Origin,
    ProcessState,
    Progress,
    Resource,
    Sender,
    Signal,
    SpanClosed,
    SpanFinished,
    SpanOpen,
)
from . import gresearch, layout, logfire, older, parts, proto
from .attributes import MOST, Attributes, Shape, remember
from .calls import call
from .senders import frameworks_in
from .values import RecordError, RequestError

_IGNORED = "ignored"
_ORIGIN, _SPAN, _EVIDENCE = layout.ORIGIN, layout.SPAN, layout.EVIDENCE
_CONSUMER = 5
"""`Span.kind` of one that takes a message."""
_ERROR = 2
"""`Status.code` of a span that failed."""


class Batch(msgspec.Struct):
    """What one request says."""

    signals: list[Signal] = []
    received: Counter[str] = msgspec.field(default_factory=Counter)
    """By event name; `ignored`: not for us."""
    rejected: Counter[str] = msgspec.field(default_factory=Counter)
    """Records of ours that cannot be used, by reason."""
    problem: str = ""
    """About the first of them, for the sender."""
    senders: list[Sender] = []
    """Who sends OTLP that is not about jobs."""

    def reject(self, problem: RecordError, event: str) -> None:
        """Count one record that cannot be used."""
        self.rejected[problem.reason] += 1
        if not self.problem:
            self.problem = f"{event}: {problem}"


class Decoder:
    """Decodes requests, remembering what repeats: attribute values, resources, job types, calls."""

    def __init__(self) -> None:
        self._attributes = Attributes()
        self._resources: dict[bytes, Resource] = {}
        self._speakers: dict[bytes, tuple[str, str] | None] = {}
        self._types: dict[tuple[Any, ...], JobType] = {}
        self._calls: dict[tuple[Any, ...], Call] = {}

    def logs(self, body: bytes) -> Batch:
        """Decode an `ExportLogsServiceRequest`."""
        batch = Batch()
        ours = b"lastspan." in body or gresearch.EVENT.encode() in body
        for resource_logs in _parse(proto.Logs, body).resource_logs:
            resource = self._resource(resource_logs.resource) if ours else Resource()
            for scope_logs in resource_logs.scope_logs:
                if ours:
                    self._records(scope_logs.log_records, resource, batch)
                else:
                    batch.received[_IGNORED] += len(scope_logs.log_records)
            if not ours:
                self._note_sender(resource_logs.resource, batch)
        return batch

    def traces(self, body: bytes) -> Batch:
        """Decode an `ExportTraceServiceRequest`: spans that ended, and other people's open ones."""
        if b"pending_span" in body or logfire.SPAN_TYPE.encode() in body:
            return self._foreign_traces(body)
        batch = Batch()
        for resource_spans in _parse(proto.EndedTraces, body).resource_spans:
            consumes = False
            for scope_spans in resource_spans.scope_spans:
                batch.received["span"] += len(scope_spans.spans)
                for span in scope_spans.spans:
                    consumes = consumes or span.kind == _CONSUMER
                    key = span.trace_id + span.span_id
                    if len(key) == 24:
                        batch.signals.append(SpanFinished(key, _outcome(span), False))
            scopes = [scope_spans.scope.name for scope_spans in resource_spans.scope_spans]
            self._note_sender(resource_spans.resource, batch, frameworks_in(scopes), consumes)
        return batch

    def metrics(self, body: bytes) -> Batch:
        """Decode an `ExportMetricsServiceRequest` as far as to know that it is one."""
        request = _parse(ExportMetricsServiceRequest, body)
        batch = Batch()
        batch.received[_IGNORED] = sum(
            len(scope.metrics) for resource in request.resource_metrics for scope in resource.scope_metrics
        )
        for resource_metrics in request.resource_metrics:
            self._note_sender(resource_metrics.resource.SerializeToString(), batch)
        return batch

    def _note_sender(
        self, raw: bytes, batch: Batch, frameworks: frozenset[str] = frozenset(), consumes: bool = False
    ) -> None:
        digest = blake2b(raw, digest_size=16).digest()
        if digest not in self._speakers:
            remember(self._speakers, digest, parts.sender(raw))
        named = self._speakers.get(digest)
        if named is not None:
            batch.senders.append(Sender(*named, frameworks, consumes))

    def _foreign_traces(self, body: bytes) -> Batch:
        batch = Batch()
        for resource_spans in _parse(proto.Traces, body).resource_spans:
            resource = self._resource(resource_spans.resource)
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    batch.received["span"] += 1
                    try:
                        batch.signals.append(logfire.signal(span, resource) or _finished(span))
                    except RecordError as problem:
                        batch.reject(problem, "span")
        return batch

    # --- one record ---------------------------------------------------------------------------------------------

    def _records(self, records: Iterable[Any], resource: Resource, batch: Batch) -> None:
        # The hottest loop: everything that it needs is at hand.
        read, makers, signals, received = self._attributes.read, _MAKERS, batch.signals, []
        for record in records:
            event = record.event_name
            try:
                shape = read(record.attributes)
                event = event or shape.row[layout.EVENT_NAME] or ""
                make = makers.get(event)
                if make is not None:
                    signals.append(make(self, shape, record, resource))
                elif shape.row[layout.PARTIAL_EVENT] is not None:
                    event = gresearch.EVENT
                    signals.extend(gresearch.signals(shape.row, record, self._resource))
                else:
                    event = _IGNORED
            except RecordError as problem:
                event = event or _event_of(record)
                if event in makers or event == gresearch.EVENT:
                    batch.reject(problem, event)
                else:
                    event = _IGNORED
            received.append(event)
        batch.received.update(received)

    def _resource(self, raw: bytes) -> Resource:
        digest = blake2b(raw, digest_size=16).digest()  # a tenth of the bytes, and there is one for each process
        resource = self._resources.get(digest)
        if resource is None:
            resource = remember(self._resources, digest, parts.resource(raw))
        return resource

    # --- events -------------------------------------------------------------------------------------------------

    def _span_open(self, shape: Shape, record: Any, resource: Resource) -> SpanOpen:
        row = shape.row
        if row[layout.SPAN_NAME] is None or row[layout.SPAN_AGE] is None:
            raise RecordError("missing", f"{a.SPAN_NAME} or {a.SPAN_AGE} is missing")
        return SpanOpen(
            _key(record),
            Origin(resource, *row[_ORIGIN]),
            shape.type if resource is shape.resource and shape.type is not None else self._type(shape, resource),
            shape.call or self._call(shape),
            Progress(*row[layout.PROGRESS]) if shape.has_progress else None,
            *(
                parts.seen(older.renewed(row) if shape.is_older else row)
                if shape.has_details
                else (Evidence(*row[_EVIDENCE]) if shape.has_evidence else None, None)
            ),
            *row[_SPAN],
        )

    def _span_closed(self, shape: Shape, record: Any, resource: Resource) -> SpanClosed:
        row = shape.row
        return SpanClosed(_key(record), Origin(resource, *row[layout.ORIGIN]), row[layout.OUTCOME] or Outcome.UNKNOWN)

    def _process_state(self, shape: Shape, record: Any, resource: Resource) -> ProcessState:
        row = shape.row
        origin = Origin(resource, *row[layout.ORIGIN])
        if origin.process_id is None:
            raise RecordError("missing", f"{a.PROCESS_ID} is missing")
        span_ids = record.body.bytes_value
        if len(span_ids) % 8:
            raise RecordError("bad_id", f"a body of {len(span_ids)} bytes is not a list of span ids")
        open_count = row[layout.OPEN_COUNT]
        complete = open_count is None or open_count <= len(span_ids) // 8
        return ProcessState(
            origin,
            parts.status(row[layout.STATUS]),
            span_ids,
            complete,
            parts.children(row),
            parts.stall(older.renewed(row) if shape.is_older else row),
            parts.frameworks(row),
        )

    def _durations(self, shape: Shape, record: Any, resource: Resource) -> DurationCounts:
        row = shape.row
        origin = Origin(resource, *row[layout.ORIGIN])
        name, queue, *_ = row[layout.TYPE]
        outcome = row[layout.OUTCOME]
        count = row[layout.STARTED if outcome is None else layout.ENDED]
        if origin.process_id is None or count is None:
            raise RecordError("missing", f"{a.PROCESS_ID if origin.process_id is None else 'a count'} is missing")
        if count > parts.MAX_RUNS:
            raise RecordError("bad_number", f"{count} runs are more than a process can have had")
        runs, total = parts.sketch(row[layout.SKETCH_FORMAT], record.body.bytes_value)
        return DurationCounts(
            origin, name, queue, row[layout.SPAN_NAME], outcome, count, runs, total, row[layout.CALL_PEER] or ""
        )

    def _job_ended(self, shape: Shape, record: Any, resource: Resource) -> JobEnded:
        row = shape.row
        name, queue, system, *_ = row[layout.TYPE]
        job_id, attempt, _ = row[layout.JOB]
        if job_id is None:
            raise RecordError("missing", f"{a.JOB_ID} is missing")
        return JobEnded(
            Origin(resource, *row[layout.ORIGIN]),
            _key(record) if record.span_id else None,
            system,
            name,
            job_id,
            attempt,
            queue,
            row[layout.OUTCOME] or Outcome.UNKNOWN,
            row[layout.REASON],
            row[layout.PID],
            row[layout.EXIT_SIGNAL],
            row[layout.EXIT_CODE],
        )

    def _job_accepted(self, shape: Shape, record: Any, resource: Resource) -> JobAccepted:
        row = shape.row
        job_id, attempt, _ = row[layout.JOB]
        pid, age_ns = row[layout.PID], row[layout.SPAN_AGE]
        origin = Origin(resource, *row[layout.ORIGIN])
        for name, value in (
            (a.JOB_ID, job_id),
            (a.PID, pid),
            (a.SPAN_AGE, age_ns),
            (a.PROCESS_ID, origin.process_id),
        ):
            if value is None:
                raise RecordError("missing", f"{name} is missing")
        type, expected_ns = self._type(shape, resource), row[layout.EXPECTED]
        return JobAccepted(_key(record), origin, type, job_id, attempt, pid, age_ns, expected_ns)

    def _call_seen(self, shape: Shape, record: Any, resource: Resource) -> CallSeen:
        row = shape.row
        function, file, line = row[layout.CODE]
        return CallSeen(
            Origin(resource, *row[layout.ORIGIN]),
            self._type(shape, resource),
            row[layout.SPAN_NAME] or "",
            function,
            file,
            line,
            row[layout.PEER],
            row[layout.CALL_TIMEOUT],
            row[layout.CALL_UNBOUNDED],
        )

    # --- what records share -------------------------------------------------------------------------------------

    def _type(self, shape: Shape, resource: Resource) -> JobType:
        facts = (resource.service, resource.environment, *shape.row[layout.TYPE])
        shape.resource = resource
        shape.type = self._types.get(facts) or remember(self._types, facts, JobType(*facts))
        return shape.type

    def _call(self, shape: Shape) -> Call:
        row, slots = shape.row, shape.call_slots
        facts = (slots, *[row[slot] for slot in slots])
        shape.call = self._calls.get(facts) or remember(self._calls, facts, _call(facts))
        return shape.call


_MAKERS: dict[str, Callable[[Decoder, Shape, Any, Resource], Signal]] = {
    events.SPAN_OPEN: Decoder._span_open,
    events.SPAN_CLOSED: Decoder._span_closed,
    events.PROCESS_STATE: Decoder._process_state,
    events.PROCESS_DURATIONS: Decoder._durations,
    events.JOB_ENDED: Decoder._job_ended,
    events.JOB_ACCEPTED: Decoder._job_accepted,
    events.CALL_SEEN: Decoder._call_seen,
}


def _parse(message: Any, body: bytes) -> Any:
    try:
        return message.FromString(body)
    except DecodeError:
        raise RequestError("the body is not an OTLP request in protobuf") from None


def _key(record: Any) -> bytes:
    span_id = record.span_id
    key: bytes = record.trace_id + span_id
    if len(key) != 24 or len(span_id) != 8:
        raise RecordError("bad_id", f"ids of {len(key) - len(span_id)} and {len(span_id)} bytes; 16 and 8 are needed")
    return key


def _event_of(record: Any) -> str:
    """Return the event's name of a record whose attributes are not all readable."""
    for raw in record.attributes[:MOST]:
        try:
            pair = proto.KeyValue.FromString(raw)
        except DecodeError:
            continue
        if pair.key == a.EVENT_NAME:
            return str(pair.value.string_value)
        if pair.key == gresearch.EVENT:
            return gresearch.EVENT
    return ""


def _call(facts: tuple[Any, ...]) -> Call:
    slots, *values = facts
    found = dict(zip(slots, values, strict=True))
    timeout_ns, unbounded = found.pop(layout.CALL_TIMEOUT, None), found.pop(layout.CALL_UNBOUNDED, False)
    pairs = [(layout.CALL_NAMES[slot - layout.CALL_FIRST], value) for slot, value in found.items() if value is not None]
    return call(pairs, timeout_ns, unbounded) if pairs or unbounded or timeout_ns is not None else NO_CALL


def _outcome(span: Any) -> Outcome:
    return Outcome.ERROR if span.status.code == _ERROR else Outcome.OK


def _finished(span: Any) -> SpanFinished:
    return SpanFinished(_key(span), _outcome(span), True)
