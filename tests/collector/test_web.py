"""The web port and the command line of a collector that runs."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.collector.records import Process, job_key, span_id
from tests.collector.served import PATIENT, Served, lastspan

from lastspan.collector.cli.client import _tree
from lastspan.semconv import METRICS


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("collector"), *PATIENT, grpc="off")
    worker, rq = Process(), Process(id="00000000000000bb", pid=200, worker_id=None, host="", service="")
    served.post(
        worker.body(
            worker.job(1, age=70.0, job_progress_done=1.0, job_progress_total=4.0),
            worker.http(
                2,
                1,
                age=65.0,
                call_unbounded=True,
                code_function_name="charge",
                code_file_path="/app/shop/tasks.py",
                code_line_number=42,
                code_stacktrace="outer\ninner",
                thread_cpu_ratio=0.25,
            ),
            worker.span(3, 1, name="compute", span_parent_id=span_id(1).hex()),
            worker.job(4, job_id="a/b id?", name="tasks.<b>"),
            worker.state(1, 2, 3, 4),
            worker.durations(None, 9),
            worker.durations("ok", 7),
        )
    )
    served.post(rq.body(rq.job(5, job_system="rq", job_queue=None, job_attempt=None), rq.job(6), rq.closed(6, "error")))
    served.until(lambda: served.api("/api/v1/jobs")["counts"]["stuck"] == 1)
    yield served
    assert served.stop(signal.SIGINT) == 0, served.log.read_text()


def test_every_field_is_always_there(collector: Served) -> None:
    """A job of which little is known has the same fields as one of which all is known; null says: not known."""
    jobs = collector.jobs()
    assert {frozenset(job) for job in jobs.values()} == {frozenset(jobs["id-1"])}
    little = jobs["id-5"]
    assert (little["queue"], little["host"], little["service"], little["attempt"], little["code"]) == (None,) * 5
    much = jobs["id-1"]
    stands = {"function": "charge", "file": "/app/shop/tasks.py", "line": 42}
    assert much["code"] == {**stands, "lines": None, "first_line": None, "last_line": None}
    assert much["stack"] == ["outer", "inner"]
    assert much["progress"]["ratio"] == 0.25
    assert [span["name"] for span in much["open_spans"]] == ["run/tasks.charge", "GET", "compute"]
    assert much["last_span"]["attributes"]["server.address"] == "api.example"


def test_filters_and_limits(collector: Served) -> None:
    def ids(query: str) -> list[str]:
        return [job["job_id"] for job in collector.api(f"/api/v1/jobs?{query}")["jobs"]]

    assert ids("")[0] == "id-1", "suspects come first"
    assert ids("state=stuck") == ["id-1"]
    assert ids("state=ended") == ["id-6"]
    assert set(ids("state=running")) == {"a/b id?", "id-5"}
    assert ids("job_name=tasks.%3Cb%3E") == ["a/b id?"]
    assert set(ids("service=billing")) == {"id-1", "a/b id?"}
    assert ids("service=nobody") == []
    assert (len(ids("limit=2")), collector.api("/api/v1/jobs?limit=2")["truncated"]) == (2, True)
    assert collector.api("/api/v1/jobs")["truncated"] is False
    assert "is not one of running" in collector.api("/api/v1/jobs?state=odd")["error"]
    assert "is not a number" in collector.api("/api/v1/jobs?limit=-1")["error"]


def test_one_job_by_key_and_by_id(collector: Served) -> None:
    assert collector.api(f"/api/v1/jobs/{job_key(1)}")["job_id"] == "id-1"
    assert collector.api("/api/v1/jobs/a%2Fb%20id%3F")["job_name"] == "tasks.<b>"
    assert collector.http.get(collector.web + "/api/v1/jobs/nobody").status_code == 404
    assert "nobody" in collector.api("/api/v1/jobs/nobody")["error"]
    assert collector.http.get(collector.web + "/nowhere").status_code == 404


def test_health(collector: Served) -> None:
    assert collector.http.get(collector.web + "/healthz").text == "ok\n"
    assert collector.http.get(collector.web + "/readyz").text == "ready\n"
    page = collector.http.get(collector.web + "/").text
    assert "tasks.&lt;b&gt;" in page
    assert "tasks.<b>" not in page


def test_metrics_are_those_that_are_declared(collector: Served) -> None:
    """Names, kinds and labels at /metrics are those of `semconv`, and none is repeated."""
    page = collector.metrics()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE))
    assert len(kinds) == len(re.findall(r"^# TYPE ", page, re.MULTILINE))
    for name, kind in kinds.items():
        assert METRICS[name].instrument == kind
    for sample, labels in re.findall(r"^(lastspan_\w+?)(?:\{(.*)\})? \S+$", page, re.MULTILINE):
        name = sample if sample in METRICS else re.sub(r"_(bucket|sum|count)$", "", sample)
        told = set(re.findall(r'(\w+)="', labels)) - {"le"}
        assert told == set(METRICS[name].attributes), sample


def test_metrics_tell_of_the_suspect(collector: Served) -> None:
    page = collector.metrics()
    common = f'environment="test",incident="http-{{}}",job_id="id-1",job_key="{job_key(1)}",job_name="tasks.charge"'
    incident = collector.jobs()["id-1"]["incident"]
    assert f'lastspan_job_stuck{{basis="default",{common.format(incident.removeprefix("http-"))}' in page
    assert 'code="charge /app/shop/tasks.py:42"' in page
    assert (
        'lastspan_jobs{environment="test",job_name="tasks.charge",queue="celery",service="billing",state="stuck"} 1.0'
        in page
    )
    assert 'lastspan_jobs_stuck{cause="http_no_timeout"' in page
    assert 'lastspan_jobs_stuck_total{cause="http_no_timeout"' in page
    assert "lastspan_job_progress_ratio{" in page
    assert "lastspan_job_cpu_ratio{" in page
    assert 'lastspan_processes{environment="test",service="billing",state="running"} 1.0' in page
    assert 'lastspan_collector_received_total{record="lastspan.span.open",transport="http"} 6.0' in page


def test_the_table(collector: Served) -> None:
    """Suspects first; each row says what, where, how long against what, and in which process. 1: something is stuck."""
    shown = lastspan("jobs", "--url", collector.web)
    assert shown.returncode == 1, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[1].split()[:2] == ["stuck", "tasks.charge"]
    for words in ("GET → api.example:443", "charge tasks.py:42", "1 min", "default", "host-1:100", "1 stuck"):
        assert words in shown.stdout
    running = lastspan("jobs", "--url", collector.web, "--state", "lost")
    assert "No job is lost." in running.stdout
    narrow = lastspan("jobs", "--url", collector.web, COLUMNS="60")
    assert max(map(len, narrow.stdout.splitlines())) <= 60


def test_names_cannot_move_the_cursor() -> None:
    """An escape sequence in a job's name is shown, not obeyed."""
    tree = _tree("http://x", json.dumps({"jobs": [{"job_name": "a\x1b[2Jb\nc"}], "counts": {"stuck": 1}}), "counts")
    assert tree["jobs"][0]["job_name"] == "a?[2Jb\nc"


def test_explain_by_the_beginning_of_an_id(collector: Served) -> None:
    """As the table prints it."""
    shown = lastspan("explain", "id-", "--url", collector.web)
    assert "tasks.charge" in shown.stdout or "begins with" in shown.stderr


def test_json_is_the_apis_answer(collector: Served) -> None:
    shown = lastspan("jobs", "--json", "--state", "stuck", "--url", collector.web)
    assert [job["job_id"] for job in json.loads(shown.stdout)["jobs"]] == ["id-1"]
    assert shown.returncode == 1


@pytest.mark.parametrize("ref", ["id-1", job_key(1)])
def test_explain_tells_the_story(collector: Served, ref: str) -> None:
    """State, cause, what to do; then where, how long, against what, the process, the stack, the tree."""
    shown = lastspan("explain", ref, "--url", collector.web)
    assert shown.returncode == 1, shown.stderr
    story = [
        "stuck  tasks.charge  id-1  (attempt 1)",
        "The HTTP call GET api.example:443 has not returned and has no timeout",
        "What to do",
        "last span  ",
        "code  ",
        "/app/shop/tasks.py:42",
        "allowed  ",
        "1 of 4",
        "host-1:100",
        "Stack (innermost last)",
        "inner",
        "Open spans",
        "← last span",
    ]
    places = [shown.stdout.find(words) for words in story]
    assert -1 not in places, story[places.index(-1)]
    assert places == sorted(places)


def test_explain_draws_whom_it_waits_for(tmp_path: Path) -> None:
    """A tree from the job to the one that all wait for; then what is better changed."""
    served, worker = Served(tmp_path, grpc="off"), Process()
    other = Process(id="00000000000000bb", pid=200, worker_id="worker-2")
    lock = {"wait_kind": "redis_lock", "lock_key": "redis:c/0:nightly", "lock_name": "nightly"}
    served.post(worker.body(worker.job(1, age=70.0, job_holds=["x"]), worker.span(2, 1, name="wait", age=65.0, **lock)))
    code: dict[str, Any] = {
        "code_function_name": "close",
        "code_file_path": "/srv/billing/month.py",
        "code_line_number": 12,
    }
    served.post(other.body(other.job(3, name="tasks.month", job_holds=["redis:c/0:nightly"], **code)))
    served.until(lambda: served.api("/api/v1/jobs")["counts"]["stuck"] == 1)
    shown = lastspan("explain", "id-1", "--url", served.web)
    assert "held by job id-3 (tasks.month, pid 200), which has been at billing/month.py:12" in " ".join(
        shown.stdout.split()
    )
    tree = shown.stdout.partition("Who waits for whom\n")[2].splitlines()
    assert tree[0].startswith("tasks.charge  id-1")
    assert tree[1].startswith("└── redis_lock nightly")
    assert "← tasks.month id-3 running" in tree[1]
    assert "holds  " in shown.stdout
    assert "Change this before it hangs again" in shown.stdout
    served.stop()


def test_check_says_what_is_heard(collector: Served) -> None:
    """Both services, and nothing that is not fine."""
    shown = lastspan("check", "--url", collector.web)
    assert shown.returncode == 0, shown.stdout
    assert "billing / test: 1 running" in shown.stdout
    status = collector.api("/api/v1/status")
    assert {heard["service"] for heard in status["services"]} == {"billing", ""}
    assert status["received"]["lastspan.span.open"] == 6


def test_check_of_a_lone_collector(tmp_path: Path) -> None:
    """It hears nobody: that is a finding, and how to be heard is said."""
    served = Served(tmp_path, grpc="off")
    shown = lastspan("check", "--url", served.web)
    assert shown.returncode == 1
    assert "OTEL_LASTSPAN_ENDPOINT" in shown.stdout
    live = lastspan("check", "--live", "--url", served.web)
    assert (live.returncode, live.stdout.startswith("No findings")) == (0, True)
    served.stop()


def test_check_live_lists_what_will_hang(collector: Served) -> None:
    """As a table, with an exit status for scripts; the same at the API."""
    shown = lastspan("check", "--live", "--url", collector.web)
    assert shown.returncode == 1
    assert "call_without_timeout" in shown.stdout
    findings = collector.api("/api/v1/lint")["findings"]
    call = next(finding for finding in findings if finding["rule"] == "call_without_timeout")
    assert (call["job_name"], call["where"], call["peer"]) == ("tasks.charge", "shop/tasks.py:42", "api.example:443")
    assert any(finding["rule"] == "call_without_timeout" for finding in collector.jobs()["id-1"]["lint"])


def test_explain_an_unknown_job(collector: Served) -> None:
    shown = lastspan("explain", "nobody", "--url", collector.web)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == f"lastspan: {collector.web} knows no open or recent job nobody; `lastspan jobs` lists them\n"


def test_it_says_where_it_listens(collector: Served) -> None:
    assert re.fullmatch(r"ready grpc=off http=127\.0\.0\.1:\d+ web=127\.0\.0\.1:\d+", collector.ready)
    assert "otlp_http listens on 127.0.0.1:" in collector.log.read_text()
    assert "no token" not in collector.log.read_text()


def test_beyond_loopback_it_warns(tmp_path: Path) -> None:
    served = Served(tmp_path, "--web", "0.0.0.0:0", grpc="0.0.0.0:0")
    assert served.stop() == 0
    warned = [line for line in served.log.read_text().splitlines() if "there is no authentication yet" in line]
    assert [line.split()[3] for line in warned] == ["web", "otlp_grpc"]


def test_a_stop_answers_what_is_in_flight(tmp_path: Path) -> None:
    """SIGTERM: the request that is half sent is still taken in; then it ends with 0."""
    served, worker = Served(tmp_path, grpc="off"), Process()
    body = worker.body(worker.job(1))
    host, port = served.otlp.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        head = "POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:10])
        served.until(lambda: served.api("/api/v1/jobs")["jobs"] == [])
        served.process.send_signal(signal.SIGTERM)
        served.until(lambda: "stopping" in served.log.read_text())
        connection.sendall(body[10:])
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert served.process.wait(6) == 0
    served.stop()


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for flag, key in (("--web", "web"), ("--otlp-http", "otlp_http"), ("--otlp-grpc", "otlp_grpc")):
            others = {"--web": "off", "--otlp-http": "off", "--otlp-grpc": "off"} | {flag: address}
            shown = lastspan("collector", *(word for pair in others.items() for word in pair), cwd=tmp_path)
            assert shown.returncode == 2
            assert f"lastspan: {key}: cannot listen on {address}" in shown.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", [["jobs"], ["jobs", "--json"], ["jobs", "--watch"], ["explain", "x"], ["check"]])
def test_no_collector_is_one_clear_line(command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    shown = lastspan(*command, "--url", url)
    assert shown.returncode == 2
    assert re.fullmatch(
        rf"lastspan: no collector answers at {url} \(.*\); start `lastspan collector`, or give --url\n", shown.stderr
    )


def test_no_job_is_known_yet(tmp_path: Path) -> None:
    served = Served(tmp_path, grpc="off")
    shown = lastspan("jobs", LASTSPAN_URL=served.web)
    assert (shown.returncode, shown.stdout.startswith("No job is known yet.")) == (0, True)
    served.stop()
