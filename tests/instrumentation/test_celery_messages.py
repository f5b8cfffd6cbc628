"""What a Celery message says may be anything: its job is told all the same, and so are all others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from celery.worker import state
from celery.worker.request import Request
from kombu import Message

from lastspan.instrumentation.guest.patches import Patches
from lastspan.instrumentation.jobs.celery import CeleryJobsInstrumentor

CHILD = 4_000_000
app = Celery("shop", broker="redis://127.0.0.1:1/0")


@app.task(name="resize")
def resize() -> None:
    """The job."""


def accepted(job_id: str, **headers: Any) -> Request:
    """A message that a child of this process has taken."""
    named = {"id": job_id, "task": "resize", "lang": "py", **headers}
    message = Message(
        json.dumps([[], {}, {}]), headers=named, content_type="application/json", content_encoding="utf-8", channel=None
    )
    message.delivery_info = {"routing_key": "images"}
    request = Request(message, app=app, task=app.tasks["resize"])
    request.worker_pid, request.time_start = CHILD, 1.0
    state.requests[job_id] = request
    state.active_requests.add(request)
    return request


@pytest.fixture
def ours() -> Iterator[CeleryJobsInstrumentor]:
    """Hooked in; nothing runs, before and after."""
    made, patches = CeleryJobsInstrumentor(), Patches()
    made.hook(patches)
    yield made
    made.unhook()
    patches.restore()
    state.requests.clear()
    state.active_requests.clear()


HEADERS: list[dict[str, Any]] = [
    {},
    {"retries": "x"},
    {"retries": [1]},
    {"retries": 1e400},
    {"retries": -7},
    {"timelimit": ["abc", None]},
    {"timelimit": [float("nan"), None]},
    {"timelimit": {}},
    {"timelimit": []},
    {"traceparent": 5},
]


@pytest.mark.parametrize("headers", HEADERS, ids=repr)
def test_the_parent_tells_of_it(ours: CeleryJobsInstrumentor, headers: dict[str, Any]) -> None:
    """Beside one that is as it should be."""
    held = [accepted("odd", **headers), accepted("plain", retries=2, timelimit=[60, None])]
    jobs = {job.job_id: job for job in ours._running()}
    assert {job_id: job.attempt for job_id, job in jobs.items()} == {"odd": 1, "plain": 3}
    told = ours._facts_of(jobs["odd"])
    assert told is not None
    assert (told.name, told.attempt, told.timeout) == ("resize", 1, None)
    plain = ours._facts_of(jobs["plain"])
    assert plain is not None
    assert (plain.attempt, plain.timeout) == (3, 60.0)
    assert len(held) == 2


@pytest.mark.parametrize("delivery", [None, "images", 7, {"routing_key": None}], ids=repr)
@pytest.mark.parametrize("headers", HEADERS, ids=repr)
def test_the_child_marks_it(ours: CeleryJobsInstrumentor, headers: dict[str, Any], delivery: object) -> None:
    facts = ours._facts(app.tasks["resize"], "odd", Context(headers, delivery_info=delivery))
    assert (facts.attempt, facts.timeout, facts.queue) == (1, None, "")
