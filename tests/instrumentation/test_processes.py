"""Whole processes: forms of jobs, forks, greenlets, our own calls, secrets, metrics, and the end."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.instrumentation.program import program
from tests.sink import Received, Sink

from lastspan.semconv import EVENTS, METRICS

pytestmark = pytest.mark.long

SECRET = "hunter2-correct-horse"


def name_of(record: Received) -> object:
    return record.get("lastspan.span.name")


def test_every_form_of_a_job(sink: Sink) -> None:
    """Sync, async, bare, with arguments, as a block, nested, shared, failing: each is one run with its outcome."""
    with program("forms", sink=sink) as running:
        assert "done" in running.finish().splitlines()
    started, ended = {}, {}
    for row in sink.of("lastspan.process.durations"):
        if row.get("lastspan.span.name") is None and row.get("lastspan.outcome") is None:
            started[row["lastspan.job.name"]] = row["lastspan.count.started"]
        elif row.get("lastspan.span.name") is None:
            ended[row["lastspan.job.name"], row["lastspan.outcome"]] = row["lastspan.count.ended"]
    assert ended == {
        ("bare", "ok"): 1,
        ("called", "ok"): 1,
        ("named", "ok"): 1,
        ("bad expected", "ok"): 1,
        ("coroutine", "ok"): 1,
        ("cancelled", "revoked"): 1,
        ("partial", "ok"): 1,
        ("fails", "error"): 1,
        ("fails, unprintable", "error"): 1,
        ("exits", "shutdown"): 1,
        ("method", "ok"): 1,
        ("async block", "ok"): 1,
        ("block", "ok"): 1,
        ("inner block", "ok"): 1,
        ("job", "ok"): 1,
        ("twice", "ok"): 2,
        ("shared by tasks", "ok"): 5,
        ("shared by threads", "ok"): 4,
    }
    assert started == {name: count for (name, _), count in ended.items()}
    assert SECRET[:7] not in str(sink.requests)


def test_a_bad_declaration_is_named_in_the_log(sink: Sink) -> None:
    """`expected="soon"`: a line in the log, and the job runs undeclared; no context is left broken."""
    with program("forms", sink=sink) as running:
        output = running.finish()
    assert "'soon' is not a duration" in output
    assert "Failed to detach context" not in output


def test_our_own_export_is_never_traced(sink: Sink) -> None:
    """With requests, urllib3 and threading instrumented: the program's call is a span, ours are none."""
    other = Sink()
    try:
        environ = {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{other.url}/v1/traces",
        }
        with program("requests_inside", other.url, sink=sink, environ=environ) as running:
            sink.wait_for_event("lastspan.span.open", job_name="nightly")
            sink.wait_for_event("lastspan.process.state", span__open_count=1)
            running.finish()
        spans = [
            span
            for path, body in other.requests
            if path == "/v1/traces"
            for group in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]
    finally:
        other.close()
    urls = [kv.value.string_value for span in spans for kv in span.attributes if kv.key in {"http.url", "url.full"}]
    assert any(url.startswith(f"{other.url}/the/call") for url in urls)
    assert [url for url in urls if url.startswith(sink.url)] == []
    assert {span.name for span in spans} <= {"nightly", "POST"}


@pytest.mark.parametrize("where", ["main", "greenlet"])
@pytest.mark.parametrize("wait", ["blocked", "waits"])
def test_gevent(wait: str, where: str, sink: Sink) -> None:
    """A job that blocks the hub is announced all the same; one that waits shows its own line, not the hub's."""
    with program("green", wait, where, sink=sink, environ={"GEVENT_SUPPORT": "True"}) as running:
        record = sink.wait_for(
            lambda r: r.event == "lastspan.span.open" and f"in {wait}" in (r.get("code.stacktrace") or "")
        )
        assert record["lastspan.job.name"] == wait
        assert record["code.function.name"] == wait
        assert record["code.file.path"].endswith("green.py")
        running.finish()
        sink.wait_for_event("lastspan.process.state", process__status="stopped")


def test_fork_in_the_middle_of_a_job(sink: Sink) -> None:
    """The child is a process of its own and of the same worker; the parent's spans stay the parent's."""
    with program("forks", sink=sink) as running:
        parent = sink.wait_for(lambda r: name_of(r) == "call of parent")
        child = sink.wait_for(lambda r: name_of(r) == "call of child")
        sink.wait_for_event("lastspan.span.open", span__name="child")
        assert child["lastspan.process.id"] != parent["lastspan.process.id"]
        assert child.resource["lastspan.worker.id"] == parent.resource["lastspan.worker.id"]
        assert child.resource["service.instance.id"] != parent.resource["service.instance.id"]
        assert child.resource["process.pid"] != parent.resource["process.pid"]
        assert child.resource["process.parent_pid"] == parent.resource["process.pid"]
        running.finish()
    by_process: dict[str, set[object]] = {}
    sequences: dict[str, list[int]] = {}
    for record in sink.records:
        process = record["lastspan.process.id"]
        sequences.setdefault(process, []).append(record["lastspan.process.sequence"])
        if record.event == "lastspan.span.open":
            by_process.setdefault(process, set()).add(name_of(record))
    assert by_process == {
        parent["lastspan.process.id"]: {"parent", "call of parent"},
        child["lastspan.process.id"]: {"child", "call of child"},
    }
    assert all(numbers == [*range(1, len(numbers) + 1)] for numbers in sequences.values())


def test_a_provider_that_is_set_in_the_child(sink: Sink) -> None:
    """The usual recipe for pre-forking servers: the parent has none, each child makes its own."""
    with program("forks", "provider in the child", sink=sink, environ={"OTEL_PYTHON_CONFIGURATOR": "none"}) as running:
        job = sink.wait_for_event("lastspan.span.open", span__name="child")
        sink.wait_for(lambda r: name_of(r) == "call of child")
        running.finish()
    assert {r["lastspan.process.id"] for r in sink.records} == {job["lastspan.process.id"]}


def test_goodbye(sink: Sink) -> None:
    """At an orderly end: what was open is closed, the counts are told, and last of all that the process stopped."""
    with program("exits", sink=sink) as running:
        job = sink.wait_for_event("lastspan.span.open", job_name="nightly")
        running.finish()
    closed = sink.of("lastspan.span.closed")
    assert [record.span_id for record in closed] == [job.span_id]
    last = sink.records[-1]
    assert (last.event, last["lastspan.process.status"], last["lastspan.span.open_count"]) == (
        "lastspan.process.state",
        "stopped",
        0,
    )


@pytest.mark.parametrize("how", ["child of multiprocessing", "child by fork", "at once"])
def test_goodbye_of_a_process_that_ends_at_once(sink: Sink, how: str) -> None:
    """`os._exit` runs no `atexit`: the end of its last job is told all the same, else it would count as lost."""
    with program("hard_exits", how, sink=sink) as running:
        job = sink.wait_for_event("lastspan.span.open", job_name="nightly")
        running.finish()
    assert [record.span_id for record in sink.of("lastspan.span.closed")] == [job.span_id]
    assert sink.records[-1]["lastspan.process.status"] == "stopped"


def test_no_goodbye_in_the_middle_of_a_job(sink: Sink) -> None:
    """A process that ends at once with a job that is open has not stopped in good order: that job is lost."""
    with program("hard_exits", "in the middle", sink=sink) as running:
        sink.wait_for_event("lastspan.span.open", job_name="nightly")
        running.finish()
    assert sink.of("lastspan.span.closed") == []
    assert {r["lastspan.process.status"] for r in sink.of("lastspan.process.state")} == {"running"}


def test_no_goodbye_of_a_process_that_is_ended_under_way(sink: Sink) -> None:
    """Its span ends as the stack unwinds, but the job's end is its parent's to tell: open, in a process that stops."""
    with program("hard_exits", "left to its parent", sink=sink) as running:
        job = sink.wait_for_event("lastspan.span.open", job_name="nightly")
        running.finish()
    assert sink.of("lastspan.span.closed") == []
    assert {r.get("lastspan.outcome") for r in sink.of("lastspan.process.durations")} == {None}
    last = sink.of("lastspan.process.state")[-1]
    assert (last["lastspan.process.status"], last.body.hex()) == ("stopping", job.span_id)


@pytest.mark.parametrize("how", ["nobody listens", "black hole", "503"])
def test_a_dead_collector_does_not_hold_up_the_exit(how: str, sink: Sink) -> None:
    """At most half a second by design; the bound here only tells that from an exporter's ten."""
    url = "http://127.0.0.1:9" if how == "nobody listens" else sink.url
    sink.mode = how if how != "nobody listens" else "ok"
    with program("exits", sink=url) as running:
        running.line()
        [done_at] = [line for line in running.finish().splitlines() if line.startswith("done at ")]
        assert running.ended_at - float(done_at.removeprefix("done at ")) < 5
    assert sink.records == []


def test_a_dead_collector_is_one_line_in_the_log(sink: Sink) -> None:
    """However often it is tried."""
    sink.mode = "503"
    with program("one_job", sink=sink) as running:
        deadline = time.monotonic() + 30
        while "cannot reach" not in running.output():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        sink.mode = "ok"
        sink.wait_for_event("lastspan.span.open", job_name="nightly")
        output = running.finish()
    assert len([line for line in output.splitlines() if "lastspan" in line]) == 1
    assert "HTTP 503" in output


def test_what_was_missed_is_told_when_the_collector_is_back(sink: Sink) -> None:
    """Away from the start until after the job's end: its announcement is lost, its counts are not."""
    sink.mode = "503"
    with program("exits", sink=sink) as running:
        deadline = time.monotonic() + 30
        while "cannot reach" not in running.output():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        sink.mode = "ok"
        job = sink.wait_for_event("lastspan.span.open", job_name="nightly")
        running.finish()
    started = [r for r in sink.of("lastspan.process.durations") if r.get("lastspan.outcome") is None]
    assert started[-1]["lastspan.count.started"] == 1
    assert sink.of("lastspan.span.closed")[0].span_id == job.span_id


def test_metrics(sink: Sink) -> None:
    """Through the program's own pipeline: by name, queue and system, never by id; also of a forked child."""
    with program("metrics", sink=sink, wrapped=False, environ={"OTEL_LASTSPAN_INTERVAL": "0.1"}) as running:
        for name in ("inner", "of the child"):
            sink.wait_for_event("lastspan.span.open", job_name=name)
            running.line()
            deadline = time.monotonic() + 30
            while len(running.output().splitlines()) < (1 if name == "inner" else 2):
                assert time.monotonic() < deadline, running.output()
                time.sleep(0.02)
        parent, child = (json.loads(line)["metrics"] for line in running.finish().splitlines())

    def key(name: str, queue: str = "", **more: str) -> dict[str, str]:
        return {
            "lastspan.job.name": name,
            "lastspan.job.queue": queue,
            "lastspan.job.system": "python",
            **{f"lastspan.{attribute}": value for attribute, value in more.items()},
        }

    assert parent["lastspan.job.active"] == [[key("nightly", "slow"), 1], [key("inner"), 1]]
    assert [point[0] for point in parent["lastspan.job.age"]] == [key("nightly", "slow"), key("inner")]
    assert parent["lastspan.job.duration"] == [[key("ended", "slow", outcome="ok"), 1]]
    assert {point[0]["lastspan.job.name"] for point in parent["lastspan.job.heartbeat"]} >= {"nightly", "inner"}
    assert parent["lastspan.process.heartbeat"][0][1] >= 1
    assert child["lastspan.job.active"] == [[key("of the child"), 1]]
    assert set(parent) | set(child) <= set(METRICS)


PLACES = {
    "PASSWORD": SECRET,
    "OTEL_RESOURCE_ATTRIBUTES": f"process.command_args={SECRET},process.command_line={SECRET},owner={SECRET}",
    "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={SECRET}",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    "OTEL_LASTSPAN_JOB_ANNOUNCE_AFTER": "0",
}


@pytest.mark.parametrize("more", [{}, {"OTEL_TRACES_SAMPLER": "always_off"}], ids=["sampled", "not sampled"])
def test_no_secret_leaves(more: Mapping[str, str], sink: Sink) -> None:
    """In URLs, queries, headers, arguments, the environment, the command line, resource attributes, errors."""
    with program("secrets", "--password", SECRET, sink=sink, environ={**PLACES, **more}) as running:
        sink.wait_for(lambda r: r.get("url.full") == "https://127.0.0.1/pay")
        sink.wait_for(lambda r: r.get("db.system.name") == "redis")
        sink.wait_for_event("lastspan.process.state", span__open_count=7)
        running.finish()
    assert {r["db.query.text"] for r in sink.records if r.get("db.query.text")} == {
        "SELECT * FROM users WHERE name = ?",
        "SELECT ?",
        "SET",
    }
    assert b"hunter2" not in b"".join(body for _, body in sink.requests)
    assert {r["lastspan.outcome"] for r in sink.of("lastspan.span.closed")} == {"error"}


def test_what_is_sent_is_declared(sink: Sink) -> None:
    """Over the wire: known events with listed attributes, severity INFO, the event's name twice."""
    with program("secrets", sink=sink, environ=PLACES) as running:
        sink.wait_for_event("lastspan.process.state", span__open_count=7)
        running.finish()
    assert {record.event for record in sink.records} == {
        "lastspan.span.open",
        "lastspan.span.closed",
        "lastspan.process.state",
        "lastspan.process.durations",
    }
    for record in sink.records:
        assert set(record.attributes) <= set(EVENTS[record.event].attributes)
        assert record["otel.event.name"] == record.event
        assert record.severity == 9
    assert {path for path, _ in sink.requests} == {"/v1/logs"}
