"""The demo: real Celery workers under `opentelemetry-instrument`, jobs that hang, and where each one stopped.

`lastspan demo` goes on until Ctrl-C; `--once` prints the table, says whether all was found, and ends.
"""

from __future__ import annotations

import linecache
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import requests

from .running import Collector, Running, StartError

RULES: Final = Path(__file__).with_name("demo.yaml")
SECONDS: Final = 75.0
"""How long the demo waits for all to be found."""

Job = Mapping[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """A job that the demo enqueues, and what lastspan is to say of it."""

    task: str
    arguments: tuple[Any, ...] = ()
    state: str = "stuck"
    outcome: str | None = None
    last_span_kind: str = "job"
    functions: frozenset[str] = field(default_factory=frozenset)
    """The code line stands in one of these."""
    source: str = ""
    """And holds this text."""
    cause: str = ""
    """Empty: any."""

    def is_met_by(self, job: Job) -> bool:
        """Say whether the collector's view of the job is the right one."""
        if job["state"] != self.state or (self.outcome is not None and job["outcome"] != self.outcome):
            return False
        if self.state != "stuck":
            return True
        span, code = job["last_span"] or {}, job["code"] or {}
        line = linecache.getline(code.get("file") or "", code.get("line") or 0)
        is_right_code = code.get("function") in self.functions and self.source in line
        is_right_cause = self.cause in ("", job["cause"])
        return span.get("kind") == self.last_span_kind and is_right_code and is_right_cause


_TRANSFER: Final = frozenset({"transfer"})
CASES: Final = (
    Case("send_newsletter", state="running"),
    Case("resize_image", (2.0,), state="ended", outcome="ok"),
    Case(
        "charge_card",
        last_span_kind="http",
        functions=frozenset({"charge_card"}),
        source="requests.get(",
        cause="http_no_timeout",
    ),
    Case("rebuild_index", functions=frozenset({"rebuild_index"}), cause="cpu_loop"),
    Case("transfer", ("out",), last_span_kind="lock", functions=_TRANSFER, source="with second:", cause="deadlock"),
    Case("transfer", ("in",), last_span_kind="lock", functions=_TRANSFER, source="with second:", cause="deadlock"),
    Case("import_feed", functions=frozenset({"_read_feed"}), source="time.sleep(3600)"),
    Case("monthly_report", functions=frozenset({"monthly_report", "_is_ready"})),
    Case("sync_orders", state="ended", outcome="killed"),
)


class Demo:
    """The demo as it runs; `show` draws the table of jobs, `say` tells what happens."""

    def __init__(self, running: Running, say: Say, *, broker: str | None = None) -> None:
        self._running = running
        self._say = say
        self._broker = broker
        self._ids: dict[str, Case] = {}
        self._killed = False
        self.collector: Collector

    def start(self) -> None:
        """Start the collector and two workers, and enqueue the jobs."""
        self._say("starting the collector")
        self.collector = self._running.collector("--config", str(RULES))
        environ = {"BROKER_URL": self._broker} if self._broker else {}
        self._say("starting a Celery worker: prefork, 8 processes")
        self._running.celery(self.collector.otlp, environ=environ)
        self._say("starting a Celery worker: threads")
        self._running.celery(self.collector.otlp, pool="threads", concurrency=4, queues="transfers", environ=environ)
        self._enqueue()
        self._say(f"{len(CASES)} jobs enqueued; {self.collector.web} shows them too")

    def jobs(self) -> list[Job]:
        """Return the collector's jobs; kill the process of one job when it is seen."""
        jobs: list[Job] = list(self.collector.jobs())
        for job in jobs:
            case = self._ids.get(job["job_id"])
            if case is not None and case.outcome == "killed" and job["state"] == "running" and not self._killed:
                self._killed = True
                self._say(f"kill -9 {job['pid']}: the process of {case.task}")
                os.kill(job["pid"], signal.SIGKILL)
        return jobs

    def missing(self, jobs: list[Job]) -> list[str]:
        """Say, for each job that is not seen as it should be, what is wrong with it."""
        by_id = {job["job_id"]: job for job in jobs}
        return [
            f"{case.task}{case.arguments or '()'}: {_describe(by_id.get(job_id))}, {_wanted(case)} expected"
            for job_id, case in self._ids.items()
            if job_id not in by_id or not case.is_met_by(by_id[job_id])
        ]

    def wait(self) -> Iterator[tuple[list[Job], list[str]]]:
        """Yield the jobs, and what is missing, twice a second until nothing is or the time is over."""
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                jobs = self.jobs()
            except requests.RequestException as error:
                raise StartError(f"the collector does not answer any more ({type(error).__name__})") from error
            missing = self.missing(jobs)
            yield jobs, missing
            if not missing or time.monotonic() > deadline:
                return
            time.sleep(0.5)

    def enqueue(self, task: str, *arguments: Any) -> str:
        """Enqueue one more job of the shop; return its id."""
        return str(self._app.send_task(f"shop.{task}", arguments).id)

    def _enqueue(self) -> None:
        from .shop import make_app

        # An app of this demo's own: the module's may be bound to another broker already.
        self._app = make_app(self._broker, None if self._broker else str(self._running.folder / "broker"))
        for case in CASES:
            self._ids[self.enqueue(case.task, *case.arguments)] = case


def _describe(job: Job | None) -> str:
    if job is None:
        return "not seen"
    span, code = job["last_span"] or {}, job["code"] or {}
    return f"{job['state']} {job['outcome'] or ''} in {span.get('name')} at {code.get('function')}:{code.get('line')}"


def _wanted(case: Case) -> str:
    if case.state != "stuck":
        return case.outcome or case.state
    return f"stuck in {case.last_span_kind} at {' or '.join(sorted(case.functions))} {case.source}".rstrip()
