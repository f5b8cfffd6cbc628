"""Our records as OTLP: decoded again by OpenTelemetry's own messages."""

import math

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from tests.sink import Received

from lastspan.instrumentation.send.records import Record, encode


def decode(*records: Record, resource: dict[str, object] | None = None) -> ExportLogsServiceRequest:
    return ExportLogsServiceRequest.FromString(encode(resource or {}, records, "1.2.3"))


def logs(request: ExportLogsServiceRequest) -> list[LogRecord]:
    return list(request.resource_logs[0].scope_logs[0].log_records)


RECORD = Record(
    "lastspan.span.open",
    {"lastspan.span.name": "GET", "lastspan.span.is_job": False, "lastspan.span.parent_id": None},
    time_ns=1_700_000_000_000_000_000,
    trace_id=0xABCDEF,
    span_id=0x1234,
    body=b"\x00\xff",
)


def test_a_record_decodes_to_what_it_was() -> None:
    """Event name twice, ids at their full width, severity INFO, the body as bytes, nothing for None."""
    [log] = logs(decode(RECORD))
    assert log.event_name == "lastspan.span.open"
    assert log.trace_id == (0xABCDEF).to_bytes(16, "big")
    assert log.span_id == (0x1234).to_bytes(8, "big")
    assert log.time_unix_nano == log.observed_time_unix_nano == RECORD.time_ns
    assert (log.severity_number, log.severity_text) == (SeverityNumber.SEVERITY_NUMBER_INFO, "INFO")
    assert log.body.bytes_value == b"\x00\xff"
    received = Received(log, {})
    assert received.attributes == {
        "lastspan.span.name": "GET",
        "lastspan.span.is_job": False,
        "otel.event.name": "lastspan.span.open",
    }


def test_one_resource_and_one_scope() -> None:
    """All records of a process travel together, under our scope and version."""
    request = decode(RECORD, RECORD, resource={"service.name": "shop", "process.pid": 7})
    [group] = request.resource_logs
    assert {kv.key: (kv.value.string_value, kv.value.int_value) for kv in group.resource.attributes} == {
        "service.name": ("shop", 0),
        "process.pid": ("", 7),
    }
    assert (group.scope_logs[0].scope.name, group.scope_logs[0].scope.version) == ("lastspan", "1.2.3")
    assert len(logs(request)) == 2


def test_a_record_without_a_span_has_no_ids() -> None:
    """Empty, not zeros: zeros are no valid ids."""
    [log] = logs(decode(Record("lastspan.process.state", {}, 1)))
    assert log.trace_id == log.span_id == b""
    assert not log.HasField("body")


def test_the_host_gets_its_turn() -> None:
    """Once for each record, so that a long batch does not hold the interpreter."""
    gil_yielder: list[None] = []
    encode({}, [RECORD] * 5, "1", lambda: gil_yielder.append(None))
    assert len(gil_yielder) == 5


values = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text() | st.binary(), lambda inner: st.lists(inner, max_size=3)
)


@given(st.dictionaries(st.text(max_size=10), values, max_size=5))
def test_values_keep_their_kind(attributes: dict[str, object]) -> None:
    """Booleans are no integers, integers no doubles; an integer of more than 64 bits is cut to its range."""
    [log] = logs(decode(Record("e", attributes, 1)))
    del log.attributes[-1]  # the event's name
    received = Received(log, {}).attributes
    assert [*received] == [*attributes]
    for name, value in attributes.items():
        assert is_same(received[name], value)


def is_same(got: object, sent: object) -> bool:
    if isinstance(sent, list):
        return isinstance(got, list) and all(map(is_same, got, sent))
    if isinstance(sent, float):
        return isinstance(got, float) and (got == sent or (math.isnan(sent) and math.isnan(got)))
    if type(sent) is int:
        return got == max(min(sent, 2**63 - 1), -(2**63)) and type(got) is int
    return type(got) is type(sent) and got == sent
