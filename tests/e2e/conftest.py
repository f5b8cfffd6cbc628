"""Real processes: a collector, Celery workers under the wrapper, a server that never answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from lastspan.examples.running import Collector, Running

Job = dict[str, Any]


@pytest.fixture
def running() -> Iterator[Running]:
    with Running() as started:
        yield started


@pytest.fixture
def rules(running: Running) -> str:
    """Config that allows seconds: 3 s for a job or a call, an hour for the newsletter."""
    path = running.folder / "rules.yaml"
    path.write_text(
        "rules:\n"
        "  - {match: {job_name: '*send_newsletter'}, allowed: 1h}\n"
        "  - {match: {kind: http}, allowed: 3s}\n"
        "  - {match: {job_name: '*'}, allowed: 3s}\n"
    )
    return str(path)


class Shop:
    """Enqueues jobs of the example app on this test's broker."""

    def __init__(self, folder: str) -> None:
        from lastspan.examples import shop

        for key in ("data_folder_in", "data_folder_out"):
            shop.app.conf.broker_transport_options[key] = f"{folder}/queue"
        shop.app.conf.broker_transport_options["control_folder"] = f"{folder}/control"
        shop.app.conf.broker_transport_options["processed_folder"] = f"{folder}/processed"
        shop.app.pool.force_close_all()
        self._shop = shop

    def enqueue(self, task: str, *arguments: Any, **options: Any) -> str:
        """Return the id of the new job."""
        return str(getattr(self._shop, task).apply_async(arguments, **options).id)

    def revoke(self, job_id: str) -> None:
        """Revoke a job that runs."""
        self._shop.app.control.revoke(job_id, terminate=True)


@pytest.fixture
def shop(running: Running) -> Shop:
    folder = running.folder / "broker"
    for name in ("queue", "control", "processed"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Shop(str(folder))


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
