"""Celery tells by no signal of a job that it gives back, or tries again, since its process was lost: we hear of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, os, sys
from billiard.einfo import ExceptionInfo
from celery import Celery
from celery.exceptions import WorkerLostError
from celery.worker.request import Request
from kombu import Message
from lastspan.instrumentation import LastspanInstrumentor
from lastspan.instrumentation import agent as lastspan
from lastspan.instrumentation.jobs.celery import CeleryJobsInstrumentor

LastspanInstrumentor().instrument()
CeleryJobsInstrumentor()._parent_pid = os.getpid()
app = Celery("shop", broker="memory://", backend="cache+memory://")


@app.task(name="resize", **json.loads(sys.argv[1]))
def resize():
    pass


def lost(job_id, error):
    named = {"id": job_id, "task": "resize", "lang": "py", "retries": 1}
    message = Message(
        json.dumps([[], {}, {}]), headers=named, content_type="application/json", content_encoding="utf-8",
        channel=app.connection().default_channel, delivery_tag=job_id,
    )
    message.delivery_info = {"routing_key": "images"}
    request = Request(message, app=app, task=app.tasks["resize"])
    try:
        raise error
    except BaseException:
        request.on_failure(ExceptionInfo(), send_failed_event=False, return_ok=True)


lost("gone", WorkerLostError("Worker exited prematurely: signal 9 (SIGKILL)."))
lost("failed", ValueError("no"))
print(sorted((end.job_id, end.attempt, end.outcome) for end in lastspan.agent()._announcer.child_processes._reported))
"""


@pytest.mark.parametrize(
    "terms",
    [
        "{}",  # told by a signal too: once is enough, which the registry of ends sees to
        '{"acks_late": true, "reject_on_worker_lost": true}',
        '{"acks_late": true, "retry_on_worker_lost": true}',
    ],
)
def test_the_loss_of_a_process_is_heard(terms: str) -> None:
    environ = {**os.environ, "OTEL_LASTSPAN_ENDPOINT": "http://127.0.0.1:9"}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, terms], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert set(eval(ran.stdout)) == {("gone", 2, "killed")}, ran.stderr
