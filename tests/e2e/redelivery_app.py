"""The app of `redelivery`: one task for each set of terms, which notes that it starts, and the first time stays."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import Any

import celery
from kombu import Queue

VISIBILITY = 20
"""s; long enough that a worker can start meanwhile on a busy machine."""

FLAGS = ("acks_late", "reject_on_worker_lost", "acks_on_failure_or_timeout")
TERMS: dict[str, dict[str, bool]] = {
    "".join(f"{int(value)}" for value in values): dict(zip(FLAGS, values, strict=True))
    for values in itertools.product((False, True), (False, True), (True, False))
}
if tuple(map(int, celery.__version__.split(".")[:2])) >= (5, 7):
    for acks_late in (False, True):
        TERMS[f"{int(acks_late)}01-retry"] = {**TERMS[f"{int(acks_late)}01"], "retry_on_worker_lost": True}


def make_app(broker: str) -> celery.Celery:
    """Return the app on a broker."""
    app = celery.Celery("redelivery", broker=broker)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    app.conf.update(
        task_queues=[Queue("celery", routing_key="celery", queue_arguments=arguments if "amqp" in broker else None)],
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        broker_heartbeat=2,
        broker_connection_retry_on_startup=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    if broker.startswith("redis"):
        app.conf.broker_transport_options = {
            "visibility_timeout": VISIBILITY,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
        }
    for name, options in TERMS.items():
        app.task(name=name, bind=True, default_retry_delay=1, **options)(_run)
    return app


def _run(self: Any) -> None:
    """Note the start; stay if it is the first."""
    runs = Path(os.environ["REDELIVERY_RUNS"])
    is_first = self.request.id not in runs.read_text()
    with runs.open("a") as file:
        file.write(f"{self.request.id} {self.request.retries} {os.getpid()} {time.time()}\n")
    if is_first:
        time.sleep(600)


if "REDELIVERY_BROKER" in os.environ:
    app = make_app(os.environ["REDELIVERY_BROKER"])
