"""The Celery application of the healthy hour: results of all sizes, of jobs that stand with their hands full."""

from __future__ import annotations

import os

from celery import Celery
from tests.e2e.guest.holding import BODIES

URL = os.environ["GUEST_REDIS"]

app = Celery("guest", broker=URL, backend=URL)
app.conf.update(
    worker_prefetch_multiplier=1,
    worker_max_tasks_per_child=200,
    result_expires=600,
    task_serializer="pickle",
    accept_content=["pickle", "json"],
    broker_connection_retry_on_startup=True,
)


def _result(body: str, size: int, seconds: float) -> str:
    data = os.urandom(size // 2)
    BODIES[body](data, seconds)
    return data.hex()


@app.task(name="as_json", serializer="json")
def as_json(body: str, size: int, seconds: float) -> str:
    """Return text of *size* characters."""
    return _result(body, size, seconds)


@app.task(name="as_pickle", serializer="pickle")
def as_pickle(body: str, size: int, seconds: float, ballast: bytes = b"") -> bytes:
    """Return as many bytes; *ballast* came the way from the parent."""
    return _result(body, size, seconds).encode() + ballast[:0]
