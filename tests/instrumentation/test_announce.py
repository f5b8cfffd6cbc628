"""What is announced, and when: late spans, their changes, their ends; the state of the process; the counts.

The clock is the test's; the spans are real ones, on a thread that waits.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint
from opentelemetry.trace import Status, StatusCode
from tests.examples import examples
from tests.instrumentation.worker import SECOND, Worker, names, of, span_id, worker

from lastspan.instrumentation.announce.announcer import ANNOUNCED_MAX
from lastspan.instrumentation.registry.children import JobEnd
from lastspan.instrumentation.send.records import Record
from lastspan.semconv import EVENTS, events, peers
from lastspan.semconv import attributes as a
from lastspan.semconv.vocabulary import FRAMEWORKS

OPEN, CLOSED, STATE, DURATIONS = (
    events.SPAN_OPEN,
    events.SPAN_CLOSED,
    events.PROCESS_STATE,
    events.PROCESS_DURATIONS,
)


def ids(record: Record) -> set[int]:
    """The span ids in a state record's body."""
    assert record.body is not None
    return {int.from_bytes(record.body[at : at + 8], "big") for at in range(0, len(record.body), 8)}


def counts(records: list[Record]) -> dict[tuple[str, str | None, str | None], int]:
    """The last row of each (job name, span name, outcome)."""
    return {
        (r.attributes[a.JOB_NAME], r.attributes[a.SPAN_NAME], r.attributes[a.OUTCOME]): r.attributes.get(a.COUNT_ENDED)
        or r.attributes[a.COUNT_STARTED]
        for r in of(records, DURATIONS)
    }


# --- when ---------------------------------------------------------------------------------------------------------


def test_what_is_short_is_never_announced() -> None:
    """A job within 1 s, its call within 5 s: no record of either, neither open nor closed."""
    with worker() as made:
        for _ in range(10):
            job = made.job()
            made.watch(0.9)
            made.end(job)
        job = made.job()
        call = made.span(inside=job)
        made.watch(4.9)
        made.end(call)
        made.end(job)
        made.watch(20)
        assert names(made.said) == ["nightly"]
        assert [record.span_id for record in of(made.said, CLOSED)] == [span_id(job)]


def test_a_job_is_announced_after_1_s_and_its_spans_after_5() -> None:
    """Each at its own time, once."""
    with worker() as made:
        job = made.job()
        made.span("GET", inside=job)
        assert names(made.watch(0.9)) == []
        assert names(made.watch(0.1)) == ["nightly"]
        assert names(made.watch(3.9)) == []
        assert names(made.watch(0.1)) == ["GET"]
        assert names(made.watch(9)) == []


def test_the_limits_are_settings() -> None:
    """0 announces what the first look finds."""
    with worker(announce_after=0.0, job_announce_after=0.0) as made:
        made.span("GET", inside=made.job())
        assert sorted(names(made.look(after=0.01))) == ["GET", "nightly"]


def test_only_spans_of_jobs() -> None:
    """A span outside of jobs stays unsaid, however late it is."""
    with worker() as made:
        made.job()
        made.span("server request")
        made.watch(100)
        assert set(names(made.said)) == {"nightly"}


def test_all_spans_if_so_set() -> None:
    """OTEL_LASTSPAN_SPANS=all: those outside of jobs too, without a job's facts."""
    with worker(announce_all=True) as made:
        made.span("server request")
        [record] = of(made.watch(6), OPEN)
        assert record.attributes[a.SPAN_NAME] == "server request"
        assert record.attributes[a.SPAN_IS_JOB] is False
        assert a.JOB_NAME not in record.attributes


def test_refresh() -> None:
    """Unchanged, it is announced every 60 s again, so that a collector that forgot learns of it."""
    with worker() as made:
        made.span(inside=made.job())
        made.watch(40)
        told = [made.now for _ in range(600) if "nightly" in names(made.look(after=0.5))]
        assert len(told) == 5
        assert all(59 <= later - earlier <= 61 for earlier, later in pairwise(told))


def test_progress_is_a_change_told_once_an_interval() -> None:
    """A job that tells its progress a thousand times a minute is announced four times a minute."""
    with worker() as made:
        job = made.job()
        run = made.run_of(job)
        made.watch(16)
        told: list[float] = []
        for done in range(240):
            run.progress = (float(done), 240.0, "rows", made.now)
            told += [record.attributes[a.JOB_PROGRESS_DONE] for record in of(made.look(after=0.5), OPEN)]
        assert 8 <= len(told) <= 9
        assert told == sorted(told)


def test_progress_is_told_as_it_is() -> None:
    """Done, total, message, and how long ago."""
    with worker() as made:
        job = made.job()
        made.run_of(job).progress = (3.0, 10.0, "caf\udce9", made.now)
        [record] = of(made.watch(1), OPEN)
        assert record.attributes[a.JOB_PROGRESS_DONE] == 3.0
        assert record.attributes[a.JOB_PROGRESS_TOTAL] == 10.0
        assert record.attributes[a.JOB_PROGRESS_MESSAGE] == "caf?"
        assert record.attributes[a.JOB_PROGRESS_AGE] == pytest.approx(1.0)
        assert record.attributes[a.JOB_MOVEMENT_AGE] == pytest.approx(1.0)


def test_overdue_is_told_at_once_and_once() -> None:
    """The look after the declared duration has passed does not wait for the interval."""
    with worker() as made:
        made.span(inside=made.job(expected=20.0))
        made.watch(19.5)
        before = len([name for name in names(made.said) if name == "nightly"])
        assert "nightly" in names(made.look(after=0.5))
        assert "nightly" not in names(made.watch(10))
        assert before == 1


def test_a_new_place_in_the_code_is_a_change() -> None:
    """The job goes on to another line: told within an interval, with the new line."""
    with worker() as made:
        made.job()
        made.watch(40)
        first = of(made.said, OPEN)[-1].attributes[a.CODE_STACKTRACE]

        leave = threading.Event()

        def elsewhere() -> None:
            leave.wait()

        with made.stopped_in(elsewhere, leave.set):
            moved = of(made.watch(30), OPEN)
        assert moved
        assert "elsewhere" in moved[0].attributes[a.CODE_STACKTRACE]
        assert "elsewhere" not in first


# --- what ---------------------------------------------------------------------------------------------------------


def test_live_attributes() -> None:
    """What instrumentation sets after the start is announced too: the state is read when the span is late."""
    with worker() as made:
        call = made.span("HTTP", inside=made.job())
        made.watch(3)
        call.set_attribute("http.url", "https://user:hunter2@api.example.com/pay?hunter2")
        call.set_attribute("http.request.header.authorization", "hunter2")
        call.update_name("POST")
        record = of(made.watch(3), OPEN)[-1]
        assert record.attributes[a.SPAN_NAME] == "POST"
        assert record.attributes["url.full"] == "https://api.example.com/pay"
        assert "hunter2" not in str(made.said)


def test_a_jobs_facts_are_on_each_of_its_spans() -> None:
    """So any one record is enough; what does not apply is absent."""
    facts = {
        "system": "celery",
        "id": "4f0",
        "queue": "slow",
        "attempt": 2,
        "timeout": 300.0,
        "redelivery_after": 3600.0,
        "acks_late": True,
        "max_attempts": 4,
    }
    with worker() as made:
        job = made.job("shop.resize", **facts)
        made.span("GET", inside=job)
        made.watch(6)
        for record in of(made.said, OPEN):
            assert record.trace_id == job.context.trace_id
            assert {
                a.JOB_SPAN_ID: f"{span_id(job):016x}",
                a.JOB_NAME: "shop.resize",
                a.JOB_ID: "4f0",
                a.JOB_QUEUE: "slow",
                a.JOB_SYSTEM: "celery",
                a.JOB_ATTEMPT: 2,
                a.JOB_TIMEOUT: 300.0,
                a.JOB_REDELIVERY_AFTER: 3600.0,
                a.JOB_ACKS_LATE: True,
                a.JOB_MAX_ATTEMPTS: 4,
                a.JOB_OUTER_SPAN_ID: None,
            }.items() <= record.attributes.items()
        [first, second] = of(made.said, OPEN)
        assert (first.attributes[a.SPAN_IS_JOB], second.attributes[a.SPAN_IS_JOB]) == (True, False)
        assert second.attributes[a.SPAN_PARENT_ID] == f"{span_id(job):016x}"
        assert first.attributes[a.SPAN_PARENT_ID] is None
        assert first.attributes[a.SPAN_KIND] == "CONSUMER"


def test_a_job_of_plain_code_is_known_by_its_span() -> None:
    """It has no framework's id."""
    with worker() as made:
        job = made.job()
        [record] = of(made.watch(1), OPEN)
        assert record.attributes[a.JOB_ID] == f"{span_id(job):016x}"


def test_a_job_inside_a_job() -> None:
    """Both are announced; the inner one names the outer one, and its spans are its own."""
    with worker() as made:
        outer = made.job("outer")
        inner = made.job("inner", inside=outer)
        made.span("GET", inside=inner)
        made.watch(6)
        by_name = {record.attributes[a.SPAN_NAME]: record.attributes for record in of(made.said, OPEN)}
        assert by_name["inner"][a.JOB_OUTER_SPAN_ID] == f"{span_id(outer):016x}"
        assert by_name["inner"][a.JOB_SPAN_ID] == f"{span_id(inner):016x}"
        assert by_name["GET"][a.JOB_NAME] == "inner"


def test_evidence_is_on_the_leaf() -> None:
    """The innermost open span says where its code stands; those above it say nothing that it says better."""
    with worker() as made:
        job = made.job()
        made.watch(1)
        [alone] = of(made.said, OPEN)
        assert a.CODE_STACKTRACE in alone.attributes
        made.span("GET", inside=job)
        made.watch(70)
        *_, job_record = [r for r in of(made.said, OPEN) if r.attributes[a.SPAN_IS_JOB]]
        *_, call_record = [r for r in of(made.said, OPEN) if not r.attributes[a.SPAN_IS_JOB]]
        assert a.CODE_STACKTRACE not in job_record.attributes
        assert call_record.attributes[a.THREAD_NAME].startswith("job")
        assert call_record.attributes[a.THREAD_CPU_RATIO] < 0.5
        assert call_record.attributes[a.STACK_AGE] == pytest.approx(62)  # looked at since two looks before it was late


def test_evidence_of_a_span_whose_thread_has_ended() -> None:
    """Begun by code that is over, and still open: where its job stands is where it hangs."""
    with worker() as made:
        job = made.job()
        beginning = threading.Thread(target=lambda: made.span("GET", inside=job, elsewhere=True))
        beginning.start()
        beginning.join()
        made.watch(70)
        *_, record = [r for r in of(made.said, OPEN) if not r.attributes[a.SPAN_IS_JOB]]
        assert a.STACK_UNSEEN not in record.attributes
        assert record.attributes[a.THREAD_NAME].startswith("job")
        assert record.attributes[a.CODE_STACKTRACE]


@pytest.mark.parametrize(
    ("status", "outcome", "expected"),
    [
        (None, None, "ok"),
        (Status(StatusCode.ERROR), None, "error"),
        (None, "retry", "retry"),  # the framework knows better than the span
        (Status(StatusCode.ERROR), "timeout", "timeout"),
    ],
)
def test_the_end_of_what_was_announced(status: Status | None, outcome: str | None, expected: str) -> None:
    """One record with how long it was open and how it ended."""
    with worker() as made:
        job = made.job()
        made.watch(3)
        made.run_of(job).outcome = outcome
        if status is not None:
            job.set_status(status)
        made.end(job)
        [closed] = of(made.look(after=0.1), CLOSED)
        assert (closed.span_id, closed.trace_id) == (span_id(job), job.context.trace_id)
        assert closed.attributes[a.OUTCOME] == expected
        assert closed.attributes[a.SPAN_DURATION] == pytest.approx(3.0)
        assert closed.is_kept
        assert of(made.watch(100), CLOSED) == []


@pytest.mark.parametrize("is_announced", [True, False])
def test_a_job_whose_process_is_ended_under_way_is_left_to_its_parent(is_announced: bool) -> None:
    """Its span ends as its stack unwinds, but why, only the parent knows: no end is told or counted here."""
    with worker() as made:
        job = made.job()
        made.watch(3 if is_announced else 0)
        made.spans.interrupted.add(span_id(job))
        made.end(job)
        made.announcer.set_status("stopping")
        said = made.watch(100)
        assert of(said, CLOSED) == []
        assert [ids(state) for state in of(said, STATE)][-1] == ({span_id(job)} if is_announced else set())
        assert counts(made.said) == {("nightly", None, None): 1}


def test_a_death_told_by_the_parent() -> None:
    """`lastspan.job.ended`: one attempt, in the framework's words, kept until it is sent."""
    with worker() as made:
        made.announcer.child_processes.jobs = lambda: ()
        made.announcer.child_processes.report(
            JobEnd("celery", "4f0", "shop.resize", 2, "timeout", "limit \udcff", 77, 9, None)
        )
        [ended] = of(made.look(may_announce=False), events.JOB_ENDED)
        assert ended.is_kept
        assert (
            ended.attributes.items()
            >= {
                a.JOB_ID: "4f0",
                a.JOB_NAME: "shop.resize",
                a.JOB_ATTEMPT: 2,
                a.OUTCOME: "timeout",
                a.REASON: "limit ?",
                a.PID: 77,
                a.EXIT_SIGNAL: 9,
            }.items()
        )


# --- the process --------------------------------------------------------------------------------------------------


def test_state_lists_what_is_announced_and_open() -> None:
    """8 bytes each; what is not yet late, or whose end was told, is not among them."""
    with worker() as made:
        job = made.job()
        call, gone = made.span(inside=job), made.span(inside=job)
        made.watch(10)
        made.end(gone)
        made.span("too young", inside=job)
        made.announcer.set_status("running")
        [state] = of(made.look(after=0.5), STATE)
        assert ids(state) == {span_id(job), span_id(call)}
        assert state.attributes[a.SPAN_OPEN_COUNT] == 2
        assert state.attributes[a.PROCESS_RSS] > 0
        assert state.attributes[a.PROCESS_CPU_TIME] > 0


def test_state_comes_at_each_interval() -> None:
    """At the first look, then every 15 s, whether anything is open or not."""
    with worker() as made:
        assert len(of(made.look(), STATE)) == 1
        assert len(of(made.watch(150), STATE)) == 10


@pytest.mark.parametrize("status", ["stopping", "stopped"])
def test_a_change_of_status_is_told_at_once(status: str) -> None:
    """Not at the next interval: there may be none."""
    with worker() as made:
        made.watch(3)
        made.announcer.set_status(status)
        [state] = of(made.look(after=0.1), STATE)
        assert state.attributes[a.PROCESS_STATUS] == status
        assert of(made.look(after=0.1), STATE) == []


def test_what_was_lost_is_told() -> None:
    """Ends that were not counted, rows that found no room, records that were dropped: one number."""
    with worker() as made:
        made.spans.dropped, made.announcer.durations.overflowed, made.announcer.dropped = 1, 10, 100
        [state] = of(made.look(), STATE)
        assert state.attributes[a.PROCESS_DROPPED] == 111


def test_counts_are_cumulative() -> None:
    """Short jobs are counted though nobody announced them; a row comes again when it changed, as the whole sum."""
    with worker() as made:
        for _ in range(3):
            job = made.job(queue="fast")
            made.end(made.span(inside=job))
            made.end(job)
        made.watch(15)
        assert counts(made.said) == {
            ("nightly", None, None): 3,
            ("nightly", None, "ok"): 3,
            ("nightly", "GET", "ok"): 3,
        }
        quiet = made.watch(30)
        assert of(quiet, DURATIONS) == []
        made.end(made.job(queue="fast"))
        made.watch(15)
        assert counts(made.said)[("nightly", None, "ok")] == 4
        last = of(made.said, DURATIONS)[-1]
        assert last.attributes[a.JOB_QUEUE] == "fast"


@pytest.mark.parametrize("name", ["SELECT * FROM t WHERE a = 'hunter2'", "GET https://u:hunter2@api/x?hunter2"])
def test_a_span_is_called_the_same_everywhere(name: str) -> None:
    """While it is open, and in the counts when it has ended: cleaned, so that the two can be put side by side."""
    with worker() as made:
        call = made.span(name, inside=made.job(), db__system="postgresql")
        made.watch(6)
        made.end(call)
        made.watch(15)
        while_open = {name for name in names(made.said) if name != "nightly"}
        counted = {name for _, name, _ in counts(made.said) if name is not None}
        assert while_open == counted
        assert "hunter2" not in str(made.said)


@pytest.mark.parametrize(
    ("call", "peer"),
    [
        ({"http__request__method": "GET", "server__address": "api.example", "server__port": 443}, "http api.example"),
        ({"http__method": "GET", "http__url": "https://u:hunter2@api-7.example:8443/x"}, "http api-{id}.example"),
        ({"db__system": "redis", "net__peer__name": "cache", "net__peer__port": 6379}, "db redis cache"),
        ({"rpc__system": "grpc", "server__address": "users"}, "rpc grpc users"),
        ({}, None),
    ],
)
def test_durations_are_kept_by_whom_a_span_calls(call: dict[str, Any], peer: str | None) -> None:
    """An HTTP GET and a Redis GET have one name. What is told of it while it is open leads to the same peer."""
    with worker() as made:
        job = made.job()
        spans = [made.span("GET", inside=job, **told) for told in (call, {"db__system": "memcached"})]
        made.watch(6)
        for span in spans:
            made.end(span)
        made.watch(15)
        rows = [r for r in of(made.said, DURATIONS) if r.attributes[a.SPAN_NAME] == "GET"]
        assert {row.attributes[a.CALL_PEER]: row.attributes[a.COUNT_ENDED] for row in rows} == {
            peer: 1,
            "db memcached": 1,
        }
        first = next(r for r in of(made.said, OPEN) if r.span_id == span_id(spans[0]))
        assert peers.peer(first.attributes) == (peer or "")


def test_durations_are_a_sketch() -> None:
    """An OTLP exponential histogram, of the span's own times."""
    with worker() as made:
        job = made.job()
        made.watch(7)
        made.end(job)
        made.watch(15)
        [row] = [r for r in of(made.said, DURATIONS) if r.attributes[a.OUTCOME] == "ok"]
        assert row.attributes[a.SKETCH_FORMAT] == "otlp.exponential_histogram"
        assert row.body is not None
        point = ExponentialHistogramDataPoint.FromString(row.body)
        assert point.count == 1
        assert point.sum == pytest.approx(7.0)


# --- a collector that is away -------------------------------------------------------------------------------------


def test_while_nobody_listens_only_ends_are_noted() -> None:
    """Nothing is announced; what is said once only is handed on to be kept; then everything late is announced."""
    with worker() as made:
        job, early = made.job(), made.job("early")
        made.watch(3)
        made.end(early)
        silent = made.watch(60, may_announce=False)
        assert [record.event for record in silent] == [CLOSED]
        assert {r.attributes[a.SPAN_NAME] for r in of(made.watch(1), OPEN)} == {"nightly"}
        assert made.spans.open.keys() == {span_id(job)}


def test_all_again_after_a_failed_export() -> None:
    """Every announced span, the state and every count: nobody may have heard of them."""
    with worker() as made:
        job = made.job()
        made.span(inside=job)
        made.end(made.job("short"))
        made.watch(16)
        made.announcer.resend_all()
        again = made.look(after=0.1)
        assert set(names(again)) == {"nightly", "GET"}
        assert len(of(again, STATE)) == 1
        assert counts(again) == {
            ("nightly", None, None): 1,
            ("short", None, None): 1,
            ("short", None, "ok"): 1,
        }
        assert names(made.look(after=0.1)) == []


# --- clocks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [-600, 600], ids=["back", "on"])
@pytest.mark.parametrize("when", ["before the first look", "between looks", "before the call"])
def test_a_wall_clock_that_jumps_changes_no_age(jump: int, when: str) -> None:
    """±10 min, set by an administrator or by NTP: ages go by the monotonic clock."""
    with worker() as made:
        if when != "before the first look":
            made.look()
        job = made.job()
        if when == "before the first look":
            made.wall_ns += jump * SECOND
        made.watch(2)
        if when == "between looks":
            made.wall_ns += jump * SECOND
        made.watch(2)
        made.span(inside=job)
        if when == "before the call":
            made.wall_ns += jump * SECOND
        made.watch(56)
        made.announcer.resend_all()
        ages = {r.attributes[a.SPAN_NAME]: r.attributes[a.SPAN_AGE] for r in of(made.look(), OPEN)}
        assert ages["nightly"] == pytest.approx(60, abs=made.settings.tick)
        assert ages["GET"] == pytest.approx(56, abs=made.settings.tick)


def test_a_watcher_that_slept_does_not_make_spans_older() -> None:
    """The machine was suspended, or the interpreter held: a span is as old as it says, at most since the last look."""
    with worker() as made:
        made.look()
        made.wait(100)
        made.job()
        made.wait(20)
        [record] = of(made.look(), OPEN)
        assert record.attributes[a.SPAN_AGE] == pytest.approx(20)


# --- many, odd and abandoned --------------------------------------------------------------------------------------


def test_at_most_2000_are_announced_and_jobs_come_first() -> None:
    """3000 late calls of 10 jobs: all the jobs, and 1990 calls; the same ones each time."""
    with worker() as made:
        jobs = [made.job(f"job-{number}") for number in range(5)]
        calls = made.on_thread(
            lambda: [made.span("GET", inside=jobs[number % 5], elsewhere=True) for number in range(3000)]
        )
        jobs += [made.job(f"job-{number}") for number in range(5, 10)]
        made.wait(10)
        announced = of(made.look(), OPEN)
        assert len(announced) == ANNOUNCED_MAX
        assert [r.attributes[a.SPAN_IS_JOB] for r in announced] == [True] * 10 + [False] * (ANNOUNCED_MAX - 10)
        made.announcer.resend_all()
        assert {r.span_id for r in of(made.look(after=1), OPEN)} == {r.span_id for r in announced}
        assert len(calls) == 3000


def test_an_abandoned_span_is_forgotten() -> None:
    """Nobody can end it any more: it leaves the state, and is never announced again."""
    with worker() as made:
        job = made.job()
        call = made.span(inside=job)
        made.watch(6)
        assert len(of(made.said, OPEN)) == 2
        del made.kept[span_id(call)], call
        gc.collect()
        made.watch(20)
        assert ids(of(made.said, STATE)[-1]) == {span_id(job)}
        del made.kept[span_id(job)], job
        gc.collect()
        made.watch(20)
        assert ids(of(made.said, STATE)[-1]) == set()
        assert (made.spans.open, made.spans.runs) == ({}, {})
        assert made.announcer.open_runs(made.now) == []


def test_what_ends_while_we_look_is_counted_once_and_closed() -> None:
    """The look is slow by intent: a job that ends in the middle of one is neither counted twice nor left open."""
    with worker() as made:
        announced = made.job("announced")
        made.watch(15)
        fresh = made.job("fresh")
        calls = made.on_thread(lambda: [made.span(inside=announced, elsewhere=True) for _ in range(600)])
        made.wait(0.5)
        looking = made.announcer.collect(made.now, made.wall_ns, may_announce=True)
        assert next(looking) is None  # in the middle of meeting the calls
        made.end(announced)
        made.end(fresh)
        made.said += [record for record in looking if record is not None]
        made.watch(30)
        assert [record.span_id for record in of(made.said, CLOSED)] == [span_id(announced)]
        assert counts(made.said)[("announced", None, None)] == counts(made.said)[("announced", None, "ok")] == 1
        assert counts(made.said)[("fresh", None, None)] == counts(made.said)[("fresh", None, "ok")] == 1
        assert len(calls) == 600


def test_what_ends_while_we_look_is_not_absent_before_its_end_is_told() -> None:
    """Or its outcome would be unknown until then."""
    with worker() as made:
        job = made.job("announced")
        made.watch(15)
        made.announcer.set_status("running")
        calls = [made.span(inside=job) for _ in range(600)]
        made.wait(0.5)
        looking = made.announcer.collect(made.now, made.wall_ns, may_announce=True)
        assert next(looking) is None  # what had ended before is told, the state is not yet
        made.end(job)
        rest = [record for record in looking if record is not None]
        [state] = of(rest, STATE)
        assert ids(state) == {span_id(job)}
        made.said += rest
        made.watch(20)
        assert [record.span_id for record in of(made.said, CLOSED)] == [span_id(job)]
        assert ids(of(made.said, STATE)[-1]) == set()
        assert len(calls) == 600


def test_what_outlives_its_job_is_not_announced() -> None:
    """A call that was never late while its job ran is nobody's business; one that was is closed when it ends."""
    with worker() as made:
        job = made.job()
        late = made.span("late", inside=job)
        made.watch(6)
        young = made.span("young", inside=job)
        made.end(job)
        made.watch(100)
        assert "young" not in names(made.said)
        made.end(late)
        made.end(young)
        assert [record.span_id for record in of(made.look(), CLOSED)] == [span_id(late)]


class Unprintable:
    """A name that cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError("no name")


def test_one_odd_span_does_not_silence_the_others() -> None:
    """A span whose name cannot be read is announced without; the rest of the process is seen as ever."""
    with worker() as made:
        job = made.job()
        odd = made.span(inside=job)
        odd._name = Unprintable()
        made.span("GET", inside=job)
        made.watch(6)
        assert set(names(made.said)) == {"nightly", "GET", "?"}
        made.end(odd)
        made.watch(60)
        assert len(of(made.said, STATE)) >= 4


def test_job_frameworks_that_are_loaded_and_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process tells which; a framework that only a client imports, or that we see, is none."""
    for module in FRAMEWORKS.values():  # other tests have loaded some
        monkeypatch.delitem(sys.modules, module, raising=False)
    for module in ("rq.worker", "huey", "celery.worker"):
        monkeypatch.setitem(sys.modules, module, sys)
    with worker() as made:
        made.job()
        [state] = of(made.look(after=2), STATE)
        assert state.attributes[a.PROCESS_FRAMEWORKS] == ["rq"]


class Unreadable:
    """In the place of a package's name: whoever looks with it, fails."""

    def __bool__(self) -> bool:
        raise RuntimeError("no")


def test_one_odd_stack_does_not_silence_the_others(said: Callable[[], list[logging.LogRecord]]) -> None:
    """A job whose code cannot be looked at is announced without; it is said once, and the others are seen as ever."""
    with worker() as made:
        odd, job = made.job("odd"), made.job()
        made.run_of(odd).package = Unreadable()  # type: ignore[assignment]
        made.watch(60)
        told = {record.attributes[a.SPAN_NAME]: record.attributes for record in of(made.said, OPEN)}
        assert a.CODE_STACKTRACE not in told["odd"]
        assert a.CODE_STACKTRACE in told["nightly"]
        assert made.run_of(job) is not None
        assert len([record for record in said() if "cannot be read" in record.message]) == 1


def test_an_odd_stack_of_the_oldest_job_after_a_pause() -> None:
    """The watcher has slept too long: where the oldest job stood cannot be read, that it slept is told."""
    with worker() as made:
        made.run_of(made.job("odd")).package = Unreadable()  # type: ignore[assignment]
        made.announcer.lag = 7.0
        [state] = of(made.look(after=7), STATE)
        assert state.attributes[a.PROCESS_OVERSLEPT] == 7.0
        assert a.PROCESS_OVERSLEPT_FILE not in state.attributes


# --- properties ---------------------------------------------------------------------------------------------------

moves = st.lists(
    st.tuples(st.sampled_from(["job", "span", "end", "wait", "away", "fail"]), st.integers(0, 9)),
    min_size=1,
    max_size=40,
)


def play(made: Worker, history: list[tuple[str, int]]) -> list[Any]:
    """Let things happen; return the spans that are open."""
    spans: list[Any] = []
    for what, pick in history:
        chosen = spans[pick % len(spans)] if spans else None
        match what:
            case "job":
                spans.append(made.job(f"job-{pick}", inside=chosen))
            case "span" if chosen is not None:
                spans.append(made.span(f"span-{pick}", inside=chosen))
            case "end" if chosen is not None:
                made.end(chosen)
                spans.remove(chosen)
            case "wait":
                made.watch(pick / 2)
            case "away":
                made.watch(pick / 2, may_announce=False)
            case "fail":
                made.announcer.resend_all()
    return spans


@examples(50)
@given(moves)
def test_the_sequence_rises_with_each_record(history: list[tuple[str, int]]) -> None:
    """Whatever happens: 1, 2, 3, … in the order of sending, and the envelope is on every record."""
    with worker() as made:
        play(made, history)
        assert [r.attributes[a.PROCESS_SEQUENCE] for r in made.said] == [*range(1, len(made.said) + 1)]
        assert {r.attributes[a.PROCESS_ID] for r in made.said} <= {made.identity.process_id}


@examples(50)
@given(moves)
def test_whoever_listens_knows_what_is_open(history: list[tuple[str, int]]) -> None:
    """Played back by the rules of the wire format, the records give the late open spans of jobs that run."""
    with worker() as made:
        spans = play(made, history)
        made.watch(2 * made.settings.interval)
        known: set[int] = set()
        for record in made.said:
            if record.event == OPEN:
                known.add(record.span_id)
            elif record.event == CLOSED:
                known.discard(record.span_id)
            elif record.event == STATE:
                known &= ids(record)
        running = set(made.spans.runs)
        late = {span_id(s) for s in spans if (run := made.spans.run_of(span_id(s))) and run.span_id in running}
        outlived = {span_id(s) for s in spans} - late  # announced before its job ended, or never
        assert late <= known <= late | outlived


@examples(50)
@given(moves)
def test_starts_and_ends_add_up(history: list[tuple[str, int]]) -> None:
    """Of each job name: what started is what ended and what is open, however looks and ends interleave."""
    with worker() as made:
        play(made, history)
        made.watch(2 * made.settings.interval)
        told = counts(made.said)
        for name in {name for name, _, _ in told}:
            started = told[(name, None, None)]
            ended = told.get((name, None, "ok"), 0)
            assert started == ended + sum(run.name == name for run in made.spans.runs.values())


@examples(50)
@given(moves)
def test_only_declared_attributes_are_sent(history: list[tuple[str, int]]) -> None:
    """Each event carries what the contract lists for it, and nothing else."""
    with worker() as made:
        play(made, history)
        made.watch(20)
        for record in made.said:
            sent = {name for name, value in record.attributes.items() if value is not None}
            assert sent <= set(EVENTS[record.event].attributes)
