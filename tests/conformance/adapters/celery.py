"""Celery, with its pool of processes and a broker of files."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import celery
from tests.conformance import work
from tests.conformance.framework import Framework

from lastspan.examples.shop import make_app
from lastspan.instrumentation.jobs.celery import CeleryJobsInstrumentor


class Celery(Framework):
    instrumentor = CeleryJobsInstrumentor
    official = "celery"
    queue = "celery"
    modules = ("celery.signals", "celery.worker.request")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.app = make_app(broker=None, folder=str(folder))
        self.app.conf.worker_lost_wait = 0.5  # how long its parent looks for the result of a process that is gone, s

    def command(self) -> Sequence[str]:
        program = ["celery", "-A", "tests.conformance.adapters.celery", "worker", "-c", "4", "-l", "WARNING"]
        return [sys.executable, "-m", *program, "--without-mingle", "--without-gossip"]

    def enqueue(self, work: str, ticket: str, *, limit: float | None = None, gives_back: bool = False) -> str:
        name = "hold_to_the_end" if gives_back else work
        return str(self.app.send_task(name, [ticket], time_limit=limit).id)

    def cancel(self, job_id: str) -> None:
        self.app.control.revoke(job_id, terminate=True)


def worker_app(framework: Celery) -> celery.Celery:
    """The functions of `work.py` as tasks."""
    app = framework.app
    options = {"fail_once": {"autoretry_for": (work.AgainError,), "max_retries": 1, "default_retry_delay": 0}}
    for name, function in work.all_of(framework.enqueue).items():
        app.task(function, name=name, **options.get(name, {}))
    app.task(work.hold, name="hold_to_the_end", acks_late=True, reject_on_worker_lost=True)
    return app


if folder := os.environ.get("CONFORMANCE_FOLDER"):
    app = worker_app(Celery(Path(folder)))
