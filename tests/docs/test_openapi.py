"""`docs/openapi.json` describes what a real collector answers below `/api/v1`, refusals included."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docs.generate import openapi
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import validate
from starlette.routing import Route
from tests.collector.held import Held
from tests.collector.records import Process, job_key
from tests.collector.served import WAIT_S, Served

from lastspan.collector.publish.web import web_app

FILE = Path(__file__).parents[2] / "docs" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))


def test_the_file_is_what_the_types_write() -> None:
    """Change the type, then `make docs`."""
    assert FILE.read_text(encoding="utf-8") == openapi.render()


def test_it_is_openapi() -> None:
    validate(DOCUMENT)


def test_every_route_is_described() -> None:
    held = Held()
    app = web_app(held.view, held.pipeline, ready=lambda: True)
    routes = [route for route in app.routes if isinstance(route, Route) and route.path.startswith("/api/v1/")]
    served = {
        (route.path.replace(":path", ""), method.lower())
        for route in routes
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert served == {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods}


def strict(schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas so that a field which they do not name is a fault."""
    closed = copy.deepcopy(schemas)
    for schema in closed.values():
        schema["additionalProperties"] = False
    return closed


COMPONENTS = {"components": {"schemas": strict(DOCUMENT["components"]["schemas"])}}
JOBS, JOB, LINT, STATUS, LEARNED = DOCUMENT["paths"]
ENTRY = {"environment": "", "service": "s", "job_name": "j", "span_name": None, "runs": [[10, 1.0]]}
"""Of an import: what is required, and nothing else."""
REQUESTS: list[tuple[str, str, str, dict[str, Any], int]] = [
    ("get", JOBS, "", {}, 200),
    ("get", JOBS, "?state=ended&limit=1", {}, 200),
    ("get", JOBS, "?state=odd", {}, 400),
    ("get", JOBS, "?limit=-1", {}, 400),
    ("get", JOB, job_key(1), {}, 200),
    ("get", JOB, "id-3", {}, 200),  # waits for a lock of the first
    ("get", JOB, "id-5", {}, 200),  # has ended
    ("get", JOB, "id-9", {}, 200),  # was never announced
    ("get", JOB, "nobody", {}, 404),
    ("get", LINT, "", {}, 200),
    ("get", STATUS, "", {}, 200),
    ("get", LEARNED, "", {}, 200),
    ("get", LEARNED, "?form=export", {}, 200),
    ("post", LEARNED, "", {"json": {"learned": [ENTRY]}}, 200),
    ("post", LEARNED, "", {"json": {"learned": 1}}, 400),
    ("post", LEARNED, "", {"data": b"x"}, 415),
    ("delete", LEARNED, "?job_name=nobody", {}, 200),
]
"""Method, path, the rest of the URL, what is sent, status."""


def test_each_answer_that_is_described_is_asked_for() -> None:
    described = {
        (method, path, int(status))
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
        for status in operation["responses"]
    }
    assert described == {(method, path, status) for method, path, _, _, status in REQUESTS}


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One that knows jobs in most ways: a deadlock, a lock's holder, a call, progress, an end, twins, little, much."""
    served = Served(tmp_path_factory.mktemp("collector"), grpc="off")
    worker, other = Process(), Process(id="00000000000000bb", pid=200, worker_id="worker-2", host="", service="")
    served.post(
        worker.body(
            worker.job(1, age=70.0, job_progress_done=1.0, job_progress_total=4.0, job_holds=["redis:c/0:nightly"]),
            worker.http(2, 1, age=65.0, call_unbounded=True, code_function_name="f", code_file_path="a.py",
                        code_line_number=3, code_stacktrace="outer\ninner", wait_kind="http", wait_idle=3.0),
            worker.job(3, name="tasks.wait", age=70.0),
            worker.span(4, 3, age=65.0, wait_kind="redis_lock", lock_key="redis:c/0:nightly", lock_name="nightly"),
            worker.job(5, name="tasks.done"),
            worker.closed(5, "error"),
            worker.job(7, name="tasks.again", job_id="id-8", job_attempt=1),
            worker.durations(None, 9),
            worker.durations("ok", 400, seconds=41.0),
            worker.durations("ok", 5, span_name="GET", call_peer="http api.example"),
            worker.state(1, 2, 3, 4, 7),
        )
    )  # fmt: skip
    served.post(
        other.body(
            other.job(6, job_system="rq", job_queue=None, job_attempt=None),
            other.job(8, name="tasks.again", job_attempt=2),
            other.job_ended(9),
        )
    )
    served.until(lambda: served.api("/api/v1/jobs")["counts"]["stuck"] == 2)
    yield served
    served.stop()


@pytest.mark.parametrize(("method", "path", "rest", "sent", "status"), REQUESTS)
def test_answers(collector: Served, method: str, path: str, rest: str, sent: dict[str, Any], status: int) -> None:
    """Each is of the status, the content type and the shape that is described."""
    answer = collector.http.request(method, collector.web + path.replace("{ref}", "") + rest, **sent, timeout=WAIT_S)
    assert answer.status_code == status
    said = DOCUMENT["paths"][path][method]["responses"][str(status)]
    media, _, _ = answer.headers["content-type"].partition(";")
    schema = {**COMPONENTS, **said["content"][media]["schema"]}
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(answer.json())


def test_the_answers_say_much(collector: Served) -> None:
    """What is compared is more than nulls and empty lists."""
    jobs = collector.api(JOBS)["jobs"]
    for field in ("lint", "others", "brief", "wait", "code", "progress", "outcome", "stack", "holds"):
        assert any(job[field] for job in jobs), field
    assert any(job["blocked_by"] and job["blocked_by"]["holder_job_id"] == "id-1" for job in jobs)
    assert collector.api(LINT)["findings"]
    assert collector.api(STATUS)["services"]
    assert collector.api(LEARNED)["learned"]


def test_an_export_can_be_imported(collector: Served) -> None:
    """And what is required of an entry is enough."""
    export = collector.api(f"{LEARNED}?form=export")
    known = collector.http.post(collector.web + LEARNED, json=export, timeout=WAIT_S).json()
    assert known == {"imported": len(export["learned"])}
    assert DOCUMENT["components"]["schemas"]["SavedLearned"]["required"] == list(ENTRY)


def test_what_is_not_there(collector: Served) -> None:
    """Another path: an Error; another method: text."""
    answer = collector.http.get(f"{collector.web}/api/v1/nothing", timeout=WAIT_S)
    assert (answer.status_code, list(answer.json())) == (404, ["error"])
    refused = collector.http.post(f"{collector.web}/api/v1/jobs", timeout=WAIT_S)
    assert (refused.status_code, refused.headers["content-type"]) == (405, "text/plain; charset=utf-8")


def test_a_wrong_answer_would_be_found() -> None:
    """The comparison can fail: by a field too many, one too few, one of another type."""
    schema = {**COMPONENTS, "$ref": "#/components/schemas/Error"}
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"error": "x"})
    assert not any(validator.is_valid(wrong) for wrong in ({}, {"error": 1}, {"error": "x", "more": 1}))
