"""The collector without sockets and with a clock that stands still until it is moved."""

from __future__ import annotations

import asyncio

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from tests.collector.records import Process

from lastspan.collector.publish.jobs import find_job, job_view
from lastspan.collector.publish.metrics import render
from lastspan.collector.publish.shapes import JobView
from lastspan.collector.receive.sink import AcceptResult
from lastspan.collector.serve.config import check
from lastspan.collector.serve.pipeline import TICK_NS, Pipeline

SECOND = 1_000_000_000


class Held:
    """A pipeline, its clock, and short words for what tests ask."""

    def __init__(self, **settings: object) -> None:
        self.now_ns = 1_000_000 * SECOND
        checked = check(settings, "test")
        self.pipeline = Pipeline(
            limits=checked.limits(),
            policy=checked.policy(checked.learner()),
            clock=lambda: self.now_ns,
            stopwatch=lambda: 0,
        )
        self.tracker = self.pipeline.tracker
        self.view = self.pipeline.view
        self.tick()

    def tell(self, process: Process, *records: LogRecord) -> AcceptResult:
        """Deliver records of one process in one request."""
        return self.pipeline.accept_logs(process.body(*records), transport="test")

    def spans(self, body: bytes) -> AcceptResult:
        """Deliver a traces request."""
        return self.pipeline.accept_traces(body, transport="test")

    def tick(self) -> None:
        """Judge what is due now."""
        for _ in self.pipeline.tick():
            pass

    def wait(self, seconds: float) -> None:
        """Let time pass, with ticks as they come."""
        until_ns = self.now_ns + int(seconds * SECOND)
        while self.now_ns < until_ns:
            self.now_ns = min(until_ns, self.now_ns + TICK_NS)
            self.tick()

    def oversleep(self, seconds: float) -> None:
        """Let time pass without a tick, as if the machine had stood still."""
        self.now_ns += int(seconds * SECOND)
        self.tick()

    def job(self, ref: str) -> JobView:
        """Return a job as the API tells it, after a tick."""
        self.tick()
        job = find_job(self.view, ref)
        assert job is not None, f"{ref} is not known"
        seen = job_view(self.view, job, wall=lambda: 1_700_000_000.0)
        assert seen.state == job.state.value, "counts and verdict differ"
        return seen

    def states(self) -> dict[str, int]:
        """Return the counts by state that are not zero."""
        return {state: count for state, count in self.view.states().items() if count}

    def metrics(self) -> str:
        """Return the page at /metrics, after a tick."""
        self.tick()
        return asyncio.run(render(self.view, wall=lambda: 1_700_000_000.0)).decode()
