"""Open traces by the Jaeger query API, as Jaeger's UI and Grafana's data source ask for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams
from tests.collector.asking import Asking
from tests.collector.held import Held
from tests.collector.records import TRACE, Process, span_id

from lastspan.collector.publish.jaeger import query
from lastspan.collector.publish.web import web_app

TRACE_ID = TRACE.hex()
NOW = 1_700_000_000.0


def client(held: Held) -> Asking:
    held.tick()
    return Asking(web_app(held.view, held.pipeline, ready=lambda: True, wall=lambda: NOW))


@pytest.fixture
def web(held: Held) -> Asking:
    """A job that hangs in a call, a job that is fine, a job that was killed."""
    worker = Process()
    held.tell(
        worker,
        worker.job(1, age=90.0),
        worker.http(
            2,
            1,
            age=80.0,
            call_unbounded=True,
            code_function_name="charge",
            code_file_path="/app/shop/tasks.py",
            code_line_number=42,
            code_stacktrace="outer\ninner",
            thread_cpu_ratio=0.0,
        ),
        worker.span(9, 77, name="orphan", job_span_id=span_id(1).hex()),
    )
    other = Process(id="00000000000000bb", pid=200, service="mail")
    held.tell(other, other.job(5, name="tasks.send", age=3.0))
    held.tell(worker, worker.job(7, age=2.0), worker.job_ended(7, "killed"))
    return client(held)


def spans(web: Asking) -> dict[str, dict[str, Any]]:
    (trace,) = web.get(f"/jaeger/api/traces/{TRACE_ID}").json()["data"]
    return {span["spanID"]: span for span in trace["spans"]}


def tags(span: dict[str, Any]) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def hexed(number: int) -> str:
    return span_id(number).hex()


def test_a_trace_has_what_both_clients_read(web: Asking) -> None:
    """The shape that Jaeger's own server answers with."""
    answer = web.get(f"/jaeger/api/traces/{TRACE_ID}").json()
    assert set(answer) == {"data", "total", "limit", "offset", "errors"}
    (trace,) = answer["data"]
    assert set(trace) == {"traceID", "spans", "processes", "warnings"}
    for span in trace["spans"]:
        assert {"traceID", "spanID", "operationName", "references", "startTime", "duration", "tags", "logs"} < set(span)
        assert span["processID"] in trace["processes"]
        assert all({"key", "type", "value"} == set(tag) for tag in span["tags"])
    assert {process["serviceName"] for process in trace["processes"].values()} == {"billing", "mail"}


def test_the_last_span_is_tagged_and_red(web: Asking) -> None:
    """Of a stuck job the last span alone is an error; a job that is fine has none."""
    found = spans(web)
    stuck = tags(found[hexed(2)])
    assert (stuck["lastspan.last"], stuck["error"], stuck["lastspan.state"]) == (True, True, "stuck")
    assert stuck["lastspan.cause"] == "http_no_timeout"
    assert stuck["code.line.number"] == 42
    assert [span for span, told in found.items() if "error" in tags(told)] == [hexed(2), hexed(7)]
    fine = tags(found[hexed(5)])
    assert (fine["lastspan.last"], fine["lastspan.state"], "error" in fine) == (True, "running", False)


def test_an_open_span_lasts_until_now(web: Asking, held: Held) -> None:
    """Duration so far; the start stays where it is while time passes."""
    before = spans(web)[hexed(2)]
    assert before["duration"] == pytest.approx(80e6, abs=2e6)
    assert before["startTime"] + before["duration"] == pytest.approx(NOW * 1e6, abs=2e3)
    assert tags(before)["lastspan.open"] is True
    assert "not finished" in before["warnings"][0]
    held.wait(10)
    assert spans(web)[hexed(2)]["duration"] - before["duration"] == pytest.approx(10e6, abs=1e3)


def test_a_job_that_ended_is_not_open(web: Asking, held: Held) -> None:
    before = spans(web)[hexed(7)]
    held.wait(5)
    after = spans(web)[hexed(7)]
    assert (tags(after)["lastspan.open"], tags(after)["lastspan.outcome"], after["warnings"]) == (False, "killed", None)
    assert after["duration"] == before["duration"]


def test_stack_and_evidence_are_logs(web: Asking) -> None:
    logs = spans(web)[hexed(2)]["logs"]
    told = {log["fields"][0]["value"]: {one["key"]: one["value"] for one in log["fields"]} for log in logs}
    assert told["stack"]["code.stacktrace"] == "outer\ninner"
    assert "has no timeout" in told["why"]["message"]
    assert told["evidence"]["lastspan.thread.cpu_ratio"] == 0.0
    assert spans(web)[hexed(1)]["logs"] == []


def test_a_parent_that_is_not_known_is_said(web: Asking) -> None:
    """The reference stays, for the parent may be in another backend; the warning says that it is not here."""
    orphan = spans(web)[hexed(9)]
    assert orphan["references"] == [{"refType": "CHILD_OF", "traceID": TRACE_ID, "spanID": hexed(77)}]
    assert any("parent" in warning for warning in orphan["warnings"])
    assert spans(web)[hexed(2)]["references"][0]["spanID"] == hexed(1)


def test_services_and_operations(web: Asking) -> None:
    assert web.get("/jaeger/api/services").json()["data"] == ["billing", "mail"]
    assert web.get("/jaeger/api/services/mail/operations").json()["data"] == ["run/tasks.send"]
    assert web.get("/jaeger/api/operations?service=mail").json()["data"] == [
        {"name": "run/tasks.send", "spanKind": "consumer"}
    ]
    assert web.get("/jaeger/api/operations?service=billing&spanKind=client").json()["total"] == 2
    assert web.get("/jaeger/api/v3/services").json() == {"services": ["billing", "mail"]}
    assert web.get("/jaeger/api/v3/operations?service=mail").json()["operations"][0]["name"] == "run/tasks.send"


FOUND = [
    ("service=billing", 1),
    ("service=nobody", 0),
    # Jaeger's UI, until version 1: what is not filled in has no value at all.
    ("end=1700000000000000&limit=20&lookback=1h&maxDuration&minDuration&service=billing&start=1699996400000000", 1),
    ("end=1700000000000000&limit=20&lookback=custom&maxDuration&minDuration=1.1s&operation=GET"
     "&service=billing&start=1699996400000000&tags=%7B%22lastspan.last%22%3A%22true%22%7D", 1),
    # Grafana, by its back end: sorted, what is not filled in is left out.
    ("end=1700000000000000&limit=20&operation=GET&service=billing&start=1699996400000000"
     "&tags=%7B%22error%22%3A%22true%22%7D", 1),
    ("end=1700000000000000&service=billing&start=1699996400000000&tags=%7B%7D", 1),
    # Grafana 10, by its front end.
    ("service=billing&operation=GET&tags=%7B%22error%22%3A%22true%22%7D&limit=20"
     "&start=1699996400000000&end=1700000000000000&lookback=custom", 1),
    ("service=billing&operation=absent", 0),
    ("service=billing&minDuration=1m20s&operation=GET", 1),
    ("service=billing&minDuration=1h", 0),
    ("service=billing&maxDuration=100ms", 0),
    ("service=billing&tag=lastspan.open:true&tag=lastspan.last:true", 1),
    ("service=billing&tag=process.pid:100", 1),  # of the process
    ("service=billing&tag=process.pid:999", 0),
    ("service=billing&end=1600000000000000", 0),
    (f"traceID={TRACE_ID}", 1),
    (f"traceID={'f' * 32}", 0),
]  # fmt: skip
"""What stock clients send: packages/jaeger-ui/src/api, grafana-jaeger-datasource/pkg/jaeger/client.go."""


@pytest.mark.parametrize(("asked", "count"), FOUND)
def test_search(web: Asking, asked: str, count: int) -> None:
    answer = web.get(f"/jaeger/api/traces?{asked}")
    assert answer.status_code == 200
    assert len(answer.json()["data"]) == count


def test_what_hangs_since_yesterday_is_found_in_the_last_hour(held: Held) -> None:
    """A client that looks back an hour means: what was there in that hour."""
    worker = Process()
    held.tell(worker, worker.job(1, age=100_000.0))
    start = int((NOW - 3600) * 1e6)
    assert len(client(held).get(f"/jaeger/api/traces?service=billing&start={start}").json()["data"]) == 1


WRONG = [
    ("traces", "parameter 'service' is required"),
    ("traces?service=x&limit=many", "parameter 'limit': 'many' is not a number"),
    ("traces?service=x&limit=-1", "parameter 'limit': '-1' is not a number"),
    ("traces?service=x&minDuration=5", "parameter 'minDuration': '5' is not a duration"),
    ("traces?service=x&minDuration=2s&maxDuration=1s", "'maxDuration' should be greater than 'minDuration'"),
    ("traces?service=x&start=soon", "parameter 'start': 'soon' is not a time in microseconds"),
    ("traces?service=x&tags=%7B", "parameter 'tags': '{' is not a JSON object"),
    ("traces?service=x&tags=" + "[" * 3000, "is not a JSON object"),
    ("traces?service=x&tag=bare", "parameter 'tag': 'bare' is not key:value"),
    ("traces?traceID=xyz", "'xyz' is not a trace id"),
    ("traces/" + "g" * 32, "is not a trace id"),
    ("traces/" + "0" * 33, "is not a trace id"),
    ("operations", "parameter 'service' is required"),
]


@pytest.mark.parametrize(("asked", "words"), WRONG)
def test_a_wrong_parameter_is_one_line(web: Asking, asked: str, words: str) -> None:
    answer = web.get(f"/jaeger/api/{asked}")
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["code"] == 400
    assert words in error["msg"]
    assert "\n" not in error["msg"]
    assert len(error["msg"]) < 200


WRONG_V3 = [
    ("traces?query.serviceName=x&query.searchDepth=x", "parameter 'query.searchDepth': 'x' is not a number"),
    ("traces?query.service_name=x&query.start_time_min=x", "is not a time as 2026-01-31T12:00:00Z"),
    ("traces?query.service_name=x&query.start_time_min=2026-01-01T00:00:00", "is not a time as"),
    ("traces/zz", "is not a trace id"),
    ("operations", "parameter 'service' is required"),
]


@pytest.mark.parametrize(("asked", "words"), WRONG_V3)
def test_a_wrong_parameter_of_v3(web: Asking, asked: str, words: str) -> None:
    answer = web.get(f"/jaeger/api/v3/{asked}")
    assert answer.status_code == 400
    assert answer.json()["error"]["httpCode"] == 400
    assert words in answer.json()["error"]["message"]


def test_an_unknown_trace_is_not_found(web: Asking) -> None:
    """Grafana takes the first of `data` whenever the status is good: it must not be."""
    unknown = "f" * 32
    classic, v3 = web.get(f"/jaeger/api/traces/{unknown}"), web.get(f"/jaeger/api/v3/traces/{unknown}")
    assert (classic.status_code, v3.status_code) == (404, 404)
    assert classic.json()["errors"] == [{"code": 404, "msg": "trace not found"}]
    assert classic.json()["data"] is None
    assert v3.json()["error"]["httpCode"] == 404


def test_a_trace_id_may_lack_leading_zeros(web: Asking) -> None:
    assert TRACE_ID.startswith("00")
    for shown in (TRACE_ID.lstrip("0"), TRACE_ID.upper()):
        assert web.get(f"/jaeger/api/traces/{shown}").json()["data"][0]["traceID"] == TRACE_ID


def test_the_same_as_otlp(web: Asking) -> None:
    """v3: resources, spans, times in nanoseconds as digits, an error as status; values as texts."""
    resources = web.get(f"/jaeger/api/v3/traces/{TRACE_ID}").json()["result"]["resourceSpans"]
    services = [resource["resource"]["attributes"][0] for resource in resources]
    assert {one["value"]["stringValue"] for one in services} == {"billing", "mail"}
    told = {span["spanId"]: span for part in resources for scope in part["scopeSpans"] for span in scope["spans"]}
    assert set(told) == set(spans(web))
    last = told[hexed(2)]
    assert last["status"]["code"] == 2
    assert "no timeout" in last["status"]["message"]
    assert last["parentSpanId"] == hexed(1)
    assert last["kind"] == 3
    assert int(last["endTimeUnixNano"]) - int(last["startTimeUnixNano"]) == spans(web)[hexed(2)]["duration"] * 1000
    values = {one["key"]: one["value"] for one in last["attributes"]}
    assert values["lastspan.open"] == {"stringValue": "true"}
    assert values["code.line.number"] == {"intValue": "42"}
    assert {event["name"] for event in last["events"]} == {"why", "stack", "evidence"}
    searched = web.get(
        "/jaeger/api/v3/traces?query.service_name=billing&query.duration_min=1m"
        "&query.start_time_min=2023-11-14T22:00:00.123456789+00:00&query.start_time_max=2023-11-14T23:00:00.5Z"
    )
    assert len(searched.json()["result"]["resourceSpans"]) == len(resources)


SUMMARIES = [
    # Jaeger's UI since version 2: times as JavaScript writes them, tags as JSON of texts.
    ("query.serviceName=billing&query.startTimeMin=2023-11-14T21%3A13%3A20.000Z"
     "&query.startTimeMax=2023-11-14T22%3A13%3A20.000Z&query.searchDepth=20", 1),
    ("query.serviceName=billing&query.operationName=GET&query.durationMin=1m&query.durationMax=2h"
     "&query.attributes=%7B%22error%22%3A%22true%22%7D", 1),
    ("query.serviceName=billing&query.attributes=%7B%22error%22%3A%22false%22%7D", 0),
    ("query.searchDepth=20", 1),  # "All services": no name at all
    ("query.serviceName=nobody", 0),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "count"), SUMMARIES)
def test_summaries(web: Asking, asked: str, count: int) -> None:
    """What the result list of Jaeger 2 is made of; its UI checks each field's kind."""
    summaries = web.get(f"/jaeger/api/v3/trace-summaries?{asked}").json()["summaries"]
    assert len(summaries) == count
    for one in summaries:
        assert one["traceId"] == TRACE_ID
        assert (one["rootServiceName"], one["rootOperationName"]) == ("billing", "run/tasks.charge")
        assert (one["spanCount"], one["errorSpanCount"], one["orphanSpanCount"]) == (5, 2, 1)
        assert one["services"] == [
            {"name": "billing", "spanCount": 4, "errorSpanCount": 2},
            {"name": "mail", "spanCount": 1, "errorSpanCount": 0},
        ]
        took = int(one["maxEndTimeUnixNano"]) - int(one["minStartTimeUnixNano"])
        assert took == pytest.approx(90e9, abs=2e9)


def test_a_client_may_ask_for_a_time_beside_a_trace(web: Asking) -> None:
    """Grafana, with `traceIdTimeParams`: milliseconds, or in v3 times whose zone is not encoded. All the same."""
    for asked in (
        f"traces/{TRACE_ID}?start=1699996400000&end=1700000000000",
        f"v3/traces/{TRACE_ID}?start_time=2023-11-14T21:13:20.1Z&end_time=2023-11-14T23:13:20.123456789+01:00",
    ):
        assert web.get(f"/jaeger/api/{asked}").status_code == 200


def test_the_graph_of_services_is_empty(web: Asking) -> None:
    """There is nothing to draw it from, and no client takes that for a mistake."""
    assert web.get("/jaeger/api/dependencies?endTs=1700000000000&lookback=604800000").json()["data"] == []
    assert web.get("/jaeger/api/v3/dependencies?start_time=x&end_time=y").json() == {"dependencies": []}


def test_a_service_whose_name_has_a_slash(held: Held) -> None:
    """Clients encode it, servers decode it before they look at the path."""
    worker = Process(service="shop/api")
    held.tell(worker, worker.job(1, age=9.0))
    assert client(held).get("/jaeger/api/services/shop%2Fapi/operations").json()["data"] == ["run/tasks.charge"]


def test_a_service_without_a_name_is_found(held: Held) -> None:
    worker = Process(service="")
    held.tell(worker, worker.job(1, age=9.0))
    web = client(held)
    assert web.get("/jaeger/api/services").json()["data"] == ["unknown"]
    assert len(web.get("/jaeger/api/traces?service=unknown").json()["data"]) == 1


def test_a_big_trace_is_bounded(held: Held) -> None:
    worker = Process()
    held.tell(worker, *(worker.job(number, age=9.0) for number in range(1, 1200)))
    assert len(spans(client(held))) == 1000


def is_answered(search: Callable[[QueryParams], query.JaegerQuery], asked: dict[str, str]) -> bool:
    """Say whether there is a search, or a reason of one line why not."""
    try:
        return 1 <= search(QueryParams(asked)).limit <= query.MAX_LIMIT
    except ValueError as problem:
        return "\n" not in str(problem) and type(problem) is ValueError


@given(st.text(max_size=30), st.sampled_from(["limit", "minDuration", "maxDuration", "start", "end", "tags", "tag"]))
def test_no_parameter_is_a_surprise(text: str, name: str) -> None:
    assert is_answered(query.search, {"service": "x", name: text})


@given(st.text(max_size=30), st.sampled_from(["query.startTimeMin", "query.attributes", "query.durationMax"]))
def test_no_parameter_of_v3_is_a_surprise(text: str, name: str) -> None:
    assert is_answered(query.search_v3, {"query.serviceName": "x", name: text})
