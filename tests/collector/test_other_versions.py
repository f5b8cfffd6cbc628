"""Workers of other versions: what docs/upgrading.md promises of what they say, and do not say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from tests.collector.held import Held
from tests.collector.records import Process, any_value, attributes

from lastspan.collector.model.records import NO_SEQUENCE
from lastspan.semconv import attributes as a
from lastspan.semconv import events

WORKER = Process()
LATE: dict[str, Any] = {
    "code_function_name": "sync", "code_file_path": "a.py", "code_line_number": 3, "stack_age": 90.0,
}  # fmt: skip


def without(record: LogRecord, *names: str) -> LogRecord:
    kept = [pair for pair in record.attributes if not pair.key.startswith(names)]
    assert len(kept) < len(record.attributes), "it had none of them"
    del record.attributes[:]
    record.attributes.extend(kept)
    return record


def told(*records: LogRecord) -> tuple[Held, int]:
    """Return a collector that was told these, and how many it refused."""
    held = Held()
    answer = held.pipeline.accept_logs(WORKER.body(*records), transport="test")
    held.wait(1)
    return held, answer.rejected


# --- newer workers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["text", 7, 0.5, True, ["a", "b"], b"\x00"])
def test_an_attribute_that_is_not_known_is_passed_over(value: object) -> None:
    record = WORKER.job(1)
    record.attributes.extend(attributes({"lastspan.job.colour": any_value(value)}))
    held, rejected = told(record)
    assert (held.job("id-1").state, rejected) == ("running", 0)


def test_an_event_that_is_not_known_is_counted_and_passed_over() -> None:
    held, rejected = told(WORKER.record("lastspan.job.painted", {}), WORKER.job(1))
    assert (held.job("id-1").state, rejected) == ("running", 0)
    assert held.pipeline.facts.received["test", "ignored"] == 1


def test_words_that_are_not_known_mean_that_it_is_not_known() -> None:
    """A kind of wait, an outcome, the format of a sketch."""
    durations = WORKER.durations("ok", 5)
    for pair in durations.attributes:
        if pair.key == a.SKETCH_FORMAT:
            pair.value.string_value = "ddsketch"
    held, rejected = told(
        WORKER.job(1, age=4000.0, wait_kind="telepathy", **LATE), WORKER.job(2), WORKER.closed(2, "bored"), durations
    )
    assert rejected == 0
    assert (held.job("id-1").state, held.job("id-1").cause) == ("stuck", "unknown")
    assert held.job("id-2").outcome == "unknown"


# --- older workers ------------------------------------------------------------------------------------------------

OLDER: list[tuple[Iterable[str], str]] = [
    ((a.REPEAT_CALL, a.REPEAT_PEER, a.REPEAT_COUNT), "what a job repeats"),
    ((a.JOB_ON_LOST, a.JOB_ON_TIMEOUT, a.JOB_BROKER), "what becomes of its message"),
    ((a.EVIDENCE_UNSEEN, a.STACK_UNSEEN), "what could not be looked at"),
    ((a.JOB_HOLDS, a.JOB_DB_IDS), "what it holds"),
    (("lastspan.wait.", "lastspan.lock.", "lastspan.loop."), "why it waits"),
    (("code.", "thread.", "lastspan.stack.", "lastspan.thread."), "where its code stands"),
]


@pytest.mark.parametrize(("names", "what"), OLDER, ids=[what for _, what in OLDER])
def test_less_is_told_and_the_verdict_is_the_same(names: Iterable[str], what: str) -> None:
    """A job beyond its time is stuck, whatever else its worker could not say yet."""
    much = WORKER.job(
        1, age=4000.0, wait_kind="queue", job_on_lost="ack", job_broker="redis", evidence_unseen="no /proc",
        job_holds=["redis:c/0:x"], repeat_call="GET", repeat_count=9, **LATE,
    )  # fmt: skip
    held, rejected = told(without(much, *names))
    assert (held.job("id-1").state, rejected) == ("stuck", 0)


def test_durations_without_a_peer_count_for_all_peers() -> None:
    held, _ = told(*(WORKER.durations("ok", count, seconds=41.0, span_name="GET") for count in (200, 400)))
    told_now = WORKER.http(2, 1, age=1.0)
    held.tell(WORKER, WORKER.job(1), told_now)
    assert held.job("id-1").last_span.basis == "learned"


def test_records_without_an_id_are_taken_as_they_come() -> None:
    """Other people's spans, and who knows whose."""
    record = without(WORKER.job(1), a.PROCESS_ID, a.PROCESS_SEQUENCE, a.REPORT_INTERVAL)
    held, rejected = told(record)
    assert (held.job("id-1").state, held.job("id-1").silent_s, rejected) == ("running", None, 0)
    assert next(iter(held.pipeline.tracker.spans.values())).sequence == NO_SEQUENCE


def test_the_name_of_the_event_may_stand_in_either_place() -> None:
    """OTLP before `event_name`, and receivers that drop one of them."""
    field_only, attribute_only = without(WORKER.job(1), a.EVENT_NAME), WORKER.job(2)
    attribute_only.event_name = ""
    assert field_only.event_name == events.SPAN_OPEN
    held, rejected = told(field_only, attribute_only)
    assert ({job.job_id for job in held.pipeline.tracker.jobs.values()}, rejected) == ({"id-1", "id-2"}, 0)
