"""What the end-to-end tests share: enqueueing jobs of the example app, and waiting for the collector's view."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lastspan.examples.running import Collector
from lastspan.examples.shop import make_app

Job = dict[str, Any]


class Shop:
    """Enqueues jobs of the example app on this test's broker."""

    def __init__(self, folder: str) -> None:
        self._app = make_app(broker=None, folder=folder)

    def enqueue(self, task: str, *arguments: Any, **options: Any) -> str:
        """Return the id of the new job."""
        return str(self._app.send_task(f"shop.{task}", arguments, **options).id)

    def revoke(self, job_id: str) -> None:
        """Revoke a job that runs."""
        self._app.control.revoke(job_id, terminate=True)


def wait_for_end(collector: Collector, job_id: str, *, seconds: float = 30) -> str:
    """Return the first outcome that the collector shows; no later one is to differ."""
    return str(wait_for_job(collector, job_id, lambda job: bool(job["state"] == "ended"), seconds=seconds)["outcome"])


def ends(collector: Collector) -> dict[str, int]:
    """Return how many jobs are counted as ended, by outcome."""
    found: dict[str, int] = {}
    for line in collector.metrics().splitlines():
        if line.startswith("lastspan_jobs_ended_total{"):
            outcome = line.split('outcome="')[1].split('"')[0]
            found[outcome] = found.get(outcome, 0) + round(float(line.split()[-1]))
    return found


def wait_for_job(
    collector: Collector, job_id: str, fits: Callable[[Job], bool] = lambda job: True, *, seconds: float = 30
) -> Job:
    """Return the collector's view of a job as soon as it fits."""
    deadline = time.monotonic() + seconds
    seen: Job | None = None
    while time.monotonic() < deadline:
        for job in collector.jobs():
            if job["job_id"] == job_id:
                seen = job
                if fits(job):
                    return job
        time.sleep(0.1)
    raise AssertionError(f"within {seconds} s job {job_id} never fitted; last seen: {seen}")
