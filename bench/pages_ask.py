"""Asks a collector with many jobs for its pages; prints how long each took and how big it was.

`python -m bench.pages_ask JOBS SUSPECTS TIMES`
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from statistics import median
from typing import Any, Final, NamedTuple

from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.types import Message

from lastspan.collector.judge.policy import Match, Policy, Rule
from lastspan.collector.model.records import Call, Kind
from lastspan.collector.publish.blocked_by import key_text
from lastspan.collector.publish.web import web_app
from lastspan.collector.serve.pipeline import Pipeline
from lastspan.collector.track import JobRow

from .memory_fill import SPANS_A_PROCESS, HeldClock, pipeline_of, tick
from .workload import Workload, requests

_SECOND: Final = 1_000_000_000
_HANGS: Final = 300 * _SECOND


def main() -> None:
    jobs, suspects, times = (int(argument) for argument in sys.argv[1:4])
    together, apart = _filled(jobs, suspects, apart=False), _filled(jobs, suspects, apart=True)
    figures = {}
    lines = _lines(jobs, suspects)
    for name, pipeline, path in _asked(together, apart):
        app = web_app(pipeline.view, pipeline, ready=lambda: True)
        first = _ask(app, path)  # templates are compiled once
        if name in lines:
            assert (found := first.body.count(b'<li class="row"')) == lines[name], (name, found)
        figures[name] = _figures([_ask(app, path) for _ in range(times)])
    print("result " + json.dumps(figures), flush=True)


def _lines(jobs: int, suspects: int) -> dict[str, int]:
    """Return how many jobs each page is to show: `/` those that are stuck, and those that run and are nearest to it."""
    slowest = min(8, jobs - suspects)
    return {
        "/ together": min(suspects, 10) + slowest,
        "/ apart": min(suspects, 40) + slowest,
        "/ of one incident": min(suspects, 200),
        "/ of running": min(jobs - suspects, 200),
    }


class Asked(NamedTuple):
    """One answer."""

    wall_ms: float
    cpu_ms: float
    body: bytes


def _filled(jobs: int, suspects: int, *, apart: bool) -> Pipeline:
    """Return a collector with so many jobs, each in a call; so many of the calls hang."""
    clock = HeldClock()
    rules = (Rule(Match(kind=Kind.HTTP), 2 * _HANGS, "rules[0]"), Rule(Match(kind=Kind.DB), 2 * _HANGS, "rules[1]"))
    pipeline = pipeline_of(clock, 4 * jobs, Policy(rules))
    for body in requests(Workload(evidence=True, unique_stacks=True), 2 * jobs, SPANS_A_PROCESS):
        pipeline.accept_logs(body, transport="bench")
    for number, job in enumerate(list(pipeline.tracker.jobs.values())[:suspects]):
        _hang(job, number if apart else 0)
        pipeline.tracker.touch(job)
    clock.now_ns += _SECOND
    tick(pipeline)
    counts = pipeline.view.states()
    assert (counts["stuck"], counts["running"]) == (suspects, jobs - suspects), counts
    assert len(pipeline.tracker.counts.incidents) == (suspects if apart else 1)
    return pipeline


def _hang(job: JobRow, place: int) -> None:
    """Have a job's call be open for too long, at a peer of its own or at one that all have."""
    call = next(job.members())
    call.start_ns -= 3 * _HANGS
    if call.evidence is not None:
        call.evidence = replace(call.evidence, cpu_ratio=0.0)
    kept = tuple(pair for pair in call.call.attributes if not pair[0].startswith(("server.", "url.")))
    peer = (("server.address", f"peer-{place}.internal"), ("server.port", 443))
    call.call = Call((*kept, *peer), Kind.HTTP, None, True)


def _asked(together: Pipeline, apart: Pipeline) -> Iterator[tuple[str, Pipeline, str]]:
    job = next(iter(together.tracker.suspects.values()))
    assert job.suspect_state is not None
    trace_id = job.span.key[:16].hex()
    yield "/ together", together, "/"
    yield "/ apart", apart, "/"
    yield "/ of one incident", together, f"/?incident={job.suspect_state.incident}"
    yield "/ of running", together, "/?state=running"
    yield "/jobs/{ref}", together, f"/jobs/{key_text(job.span.key)}"
    yield "/jobs/{ref}.txt", together, f"/jobs/{key_text(job.span.key)}.txt"
    yield "/jaeger/api/traces/{id}", together, f"/jaeger/api/traces/{trace_id}"
    yield "/jaeger/api/traces", together, f"/jaeger/api/traces?service={job.type.service}"


def _ask(app: Starlette, url: str) -> Asked:
    """Return an answer, and how long it took this thread."""
    path, _, query = url.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "server": ("collector", 80),
        "path": path,
        "query_string": query.encode(),
        "headers": [],
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    async def ask() -> tuple[float, float]:
        began, busy = time.perf_counter(), time.thread_time()
        await app(scope, receive, send)
        return (time.perf_counter() - began) * 1000, (time.thread_time() - busy) * 1000

    wall_ms, cpu_ms = asyncio.run(ask())
    assert sent[0]["status"] == 200, sent
    return Asked(wall_ms, cpu_ms, b"".join(message.get("body", b"") for message in sent))


def _figures(answers: list[Asked]) -> dict[str, float]:
    cpu, wall = [answer.cpu_ms for answer in answers], [answer.wall_ms for answer in answers]
    return {
        "cpu": median(cpu),
        "cpu_max": max(cpu),
        "wall": median(wall),
        "wall_max": max(wall),
        "kib": max(len(answer.body) for answer in answers) / 1024,
    }


if __name__ == "__main__":
    main()
