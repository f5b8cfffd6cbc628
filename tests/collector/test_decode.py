"""What comes in may be anything: one bad record is refused with its reason, the rest of its batch is applied."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint
from tests.collector.held import Held
from tests.collector.records import TRACE, Process, any_value, span_id
from tests.examples import examples

from lastspan.collector.decode import fixed_size, layout, proto
from lastspan.collector.decode.decoder import Decoder
from lastspan.collector.decode.values import MAX_TEXT, RequestError
from lastspan.collector.model.records import SpanOpen
from lastspan.semconv import attributes as a


def _without(record: LogRecord, name: str) -> LogRecord:
    kept = [pair for pair in record.attributes if pair.key != name]
    del record.attributes[:]
    record.attributes.extend(kept)
    return record


def _with(record: LogRecord, name: str, value: Any) -> LogRecord:
    _without(record, name).attributes.append(KeyValue(key=name, value=any_value(value)))
    return record


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        # Wrong kinds.
        (a.SPAN_NAME, 5, "wrong_kind"),
        (a.SPAN_AGE, "ten", "wrong_kind"),
        (a.SPAN_AGE, True, "wrong_kind"),
        (a.SPAN_IS_JOB, "yes", "wrong_kind"),
        (a.SPAN_IS_JOB, 0, "wrong_kind"),
        (a.JOB_ATTEMPT, 1.5, "wrong_kind"),
        (a.JOB_ID, b"bytes", "wrong_kind"),
        (a.JOB_NAME, ["a", "list"], "wrong_kind"),
        (a.PROCESS_SEQUENCE, "7", "wrong_kind"),
        (a.CODE_STACKTRACE, 1, "wrong_kind"),
        ("server.port", AnyValue(), "wrong_kind"),
        # Numbers that are none.
        (a.SPAN_AGE, math.nan, "bad_number"),
        (a.SPAN_AGE, math.inf, "bad_number"),
        (a.SPAN_AGE, -1.0, "bad_number"),
        (a.JOB_MOVEMENT_AGE, -math.inf, "bad_number"),
        (a.REPORT_INTERVAL, math.nan, "bad_number"),
        (a.PROCESS_SEQUENCE, -1, "bad_number"),
        # Ids of a wrong length, or of no hex digits.
        (a.JOB_SPAN_ID, "abc", "bad_id"),
        (a.JOB_SPAN_ID, "g" * 16, "bad_id"),
        (a.SPAN_PARENT_ID, "0 " * 8, "bad_id"),
        (a.SPAN_PARENT_ID, "", "bad_id"),
        # Too long to be a name.
        (a.JOB_NAME, "x" * (MAX_TEXT + 1), "oversized"),
        (a.JOB_ID, "x" * (MAX_TEXT + 1), "oversized"),
        # What a record cannot do without.
        (a.SPAN_NAME, None, "missing"),
        (a.SPAN_AGE, None, "missing"),
    ],
)
def test_one_bad_record_in_a_good_batch(held: Held, name: str, value: Any, reason: str) -> None:
    """It is refused, counted by reason, told to the sender by name; the others are applied."""
    worker = Process()
    bad = worker.job(2)
    bad = _without(bad, name) if value is None else _with(bad, name, value)
    answer = held.tell(worker, worker.job(1), bad, worker.job(3))
    assert answer.rejected == 1
    assert name in answer.message
    assert len(held.tracker.jobs) == 2
    assert held.pipeline.facts.dropped["test", reason] == 1


@pytest.mark.parametrize(
    ("trace_id", "number"), [(b"", span_id(1)), (TRACE[:15], span_id(1)), (TRACE, b""), (TRACE, b"123456789")]
)
def test_ids_of_a_wrong_length(held: Held, trace_id: bytes, number: bytes) -> None:
    worker = Process()
    record = worker.job(1)
    record.trace_id, record.span_id = trace_id, number
    assert held.tell(worker, record).rejected == 1
    assert held.pipeline.facts.dropped["test", "bad_id"] == 1


def test_invalid_utf8_in_one_value_spoils_one_record(held: Held) -> None:
    worker = Process()
    body = worker.body(worker.job(1), worker.job(2, job_queue="QQQQQQ"))
    answer = held.pipeline.accept_logs(body.replace(b"QQQQQQ", b"\xff\xfeQQQQ"), transport="test")
    assert (answer.rejected, len(held.tracker.jobs)) == (1, 1)


@pytest.mark.parametrize("record", ["state", "status", "durations", "ended"])
def test_other_bad_records(held: Held, record: str) -> None:
    worker = Process()
    bad = {
        "state": _with(worker.state(1), a.PROCESS_ID, 7),
        "status": _with(worker.state(1), a.PROCESS_STATUS, "asleep"),
        "durations": _without(worker.durations("ok", 1), a.COUNT_ENDED),
        "ended": _without(worker.job_ended(1), a.JOB_ID),
    }[record]
    assert held.tell(worker, bad).rejected == 1
    bad = worker.state(1)
    bad.body.bytes_value = b"1234567"
    assert held.tell(worker, bad).rejected == 1


@pytest.mark.parametrize(
    ("count", "point"),
    [
        (1 << 62, {"count": 1}),
        (5, {"bucket_counts": [(1 << 64) - 1]}),
        (5, {"zero_count": 1 << 63}),
        (5, {"bucket_counts": [1] * 100_000}),
        (5, {"scale": 21}),
    ],
)
def test_counts_that_nobody_can_have(held: Held, count: int, point: dict[str, Any]) -> None:
    """They are refused, whatever would be added up from them."""
    worker, sketch = Process(), ExponentialHistogramDataPoint(scale=3, sum=1.0)
    buckets = point.pop("bucket_counts", [1])
    sketch.positive.bucket_counts.extend(buckets)
    for name, value in point.items():
        setattr(sketch, name, value)
    bad = worker.durations("ok", count)
    bad.body.bytes_value = sketch.SerializeToString()
    answer = held.tell(worker, worker.job(1), bad, worker.durations("ok", 7))
    assert answer.rejected == 1
    assert next(iter(held.tracker.learner.rows.values())).runs.total == 7


def test_a_record_with_endless_attributes(held: Held) -> None:
    """It is refused as it is; nothing of it is remembered."""
    worker = Process()
    bad = worker.job(2)
    bad.attributes.extend(KeyValue(key=f"x{number}", value=AnyValue(string_value="y")) for number in range(5000))
    answer = held.tell(worker, worker.job(1), bad)
    assert (answer.rejected, len(held.tracker.jobs)) == (1, 1)
    assert "attributes (limit 1000)" in answer.message


def test_an_absurd_age_is_ten_years(held: Held) -> None:
    worker = Process()
    held.tell(worker, worker.job(1, age=1e300))
    assert held.job("id-1").age_s == 10 * 365 * 86400.0


def test_what_is_not_for_us_is_ignored(held: Held) -> None:
    """Other people's log records, though their attributes have our names and other kinds, are accepted and counted."""
    worker = Process()
    stranger = LogRecord(event_name="app.started")
    stranger.attributes.extend([KeyValue(key=a.CODE_LINE, value=AnyValue(string_value="seven"))])
    answer = held.tell(worker, stranger, worker.job(1))
    assert answer.rejected == 0
    assert held.pipeline.facts.received["test", "ignored"] == 1
    assert len(held.tracker.jobs) == 1


def test_the_events_name_may_be_an_attribute_only(held: Held) -> None:
    worker = Process()
    record, bad = worker.job(1), _with(worker.job(2), a.SPAN_AGE, "ten")
    record.event_name = bad.event_name = ""
    assert held.tell(worker, record, bad).rejected == 1
    assert len(held.tracker.jobs) == 1


def test_an_int_will_do_for_a_double(held: Held) -> None:
    worker = Process()
    held.tell(worker, _with(worker.job(1), a.SPAN_AGE, 12))
    assert held.job("id-1").age_s == 12


@examples(300)
@given(junk=st.binary(max_size=300))
def test_random_bytes_never_crash(junk: bytes) -> None:
    for decode in (Decoder().logs, Decoder().traces, Decoder().metrics):
        for body in (junk, b"lastspan." + junk, junk + b"pending_span"):
            try:
                decode(body)
            except RequestError:
                continue


@examples(300)
@given(data=st.data())
def test_damaged_requests_never_crash(data: st.DataObject) -> None:
    """A real request with some bytes changed, or cut off, changes what it says but breaks nothing."""
    held, worker = Held(), Process()
    body = bytearray(worker.body(worker.job(1), worker.http(2, 1), worker.state(1, 2), worker.durations("ok", 3)))
    for index in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=8)):
        body[index] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    try:
        held.pipeline.accept_logs(bytes(body[:cut]), transport="test")
    except RequestError:
        return
    held.tick()


_FAST = {form.slot for forms in fixed_size.BY_LENGTH for form in forms}


@examples(300)
@given(
    name=st.sampled_from(sorted(name for name, field in layout.FIELDS.items() if field.slot in _FAST)),
    value=st.one_of(
        st.floats(),
        st.floats(0, 1e6),
        st.text(min_size=16, max_size=16),
        st.text("0123456789abcdef", min_size=16, max_size=16),
        st.uuids().map(str),
        st.integers(-(2**63), 2**63 - 1),
    ),
)
def test_the_short_way_reads_what_the_general_way_reads(name: str, value: Any) -> None:
    """`tails` is only ever a faster `layout`: same slot, same value, or it keeps out of it."""
    raw = KeyValue(key=name, value=any_value(value)).SerializeToString()
    form = fixed_size.form_of(raw)
    result = None if form is None else form.convert(raw)
    if form is None or result is None:
        return
    field = layout.FIELDS[name]
    assert form.slot == field.slot
    assert result == field.read(proto.KeyValue.FromString(raw).value)


def test_values_that_repeat_are_one_object() -> None:
    """What a million spans share is held once: names, types, calls, resources."""
    worker, decoder = Process(), Decoder()
    records = [worker.job(1), worker.http(2, 1), worker.job(3), worker.http(4, 3)]
    opened = [signal for signal in decoder.logs(worker.body(*records)).signals if isinstance(signal, SpanOpen)]
    first, second, third, fourth = opened
    assert first.type is third.type
    assert first.name is third.name
    assert second.call is fourth.call
    assert first.origin.resource is fourth.origin.resource


@examples(200)
@given(data=st.data())
def test_what_was_read_before_does_not_matter(data: st.DataObject) -> None:
    """A decoder that has read anything reads a record as a new one does: the short ways are short, nothing else."""
    worker = Process()
    values: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {},
        optional={
            "job_queue": st.sampled_from(["celery", "other"]),
            "job_attempt": st.integers(0, 3),
            "job_movement_age": st.floats(0, 9),
            "server_port": st.sampled_from([80, "80"]),
            "http_request_method": st.sampled_from(["GET", "PUT"]),
            "call_unbounded": st.booleans(),
            "wait_kind": st.sampled_from(["lock", "sleep"]),
            "code_line_number": st.integers(1, 3),
        },
    )
    seasoned = Decoder()
    for number in range(1, 8):
        record = worker.job(number, **data.draw(values))
        order = data.draw(st.permutations(list(record.attributes)))
        twice = data.draw(st.lists(st.sampled_from(order), max_size=2))
        del record.attributes[:]
        record.attributes.extend([*order, *twice])
        body = worker.body(record)
        for one, other in zip(seasoned.logs(body).signals, Decoder().logs(body).signals, strict=True):
            assert _told(one) == _told(other)


def _told(signal: object) -> object:
    """Return a signal as plain values: what is interned is equal by its facts."""
    return msgspec.to_builtins(signal, builtin_types=(bytes,))
