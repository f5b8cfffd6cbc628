"""Celery: results that do not come, jobs given out twice, processes that stop, freeze or vanish, in each pool."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import requests
from celery import Celery, chord, group
from tests.e2e.causes.place import here
from tests.e2e.causes.way import DB, HTTP, own_wait, way

HOUR = 3600


def make_app(folder: str, broker: str | None = None) -> Celery:
    """Return the app; without a broker its messages, and always its results, are files in *folder*."""
    root = Path(folder)
    for name in ("queue", "control", "processed", "results"):
        (root / name).mkdir(parents=True, exist_ok=True)
    app = Celery("causes", broker=broker or "filesystem://", backend=f"file://{root / 'results'}")
    if not broker:
        app.conf.broker_transport_options = {
            "data_folder_in": str(root / "queue"),
            "data_folder_out": str(root / "queue"),
            "control_folder": str(root / "control"),
            "processed_folder": str(root / "processed"),
            "polling_interval": 0.2,
        }
    else:
        app.conf.broker_transport_options = {"visibility_timeout": 5}
    app.conf.update(worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)
    return app


def _app_of_this_process() -> Celery:
    """Return the worker's app; in the harness, which only reads the labels, an app without a broker."""
    folder = os.environ.get("CAUSES_FOLDER")
    return make_app(folder, os.environ.get("CAUSES_BROKER")) if folder else Celery("causes", broker="memory://")


app = _app_of_this_process()

# --- the other jobs --------------------------------------------------------------------------------------------------


@app.task(name="fails", ignore_result=True)
def fails() -> None:
    raise ValueError("no such order")


@app.task(name="slow")
def slow() -> None:
    time.sleep(HOUR)


# --- calls, in each pool ---------------------------------------------------------------------------------------------


@way("http_no_timeout", span=HTTP, peer="silent", host="prefork")
@app.task(name="http_in_prefork")
def http_in_prefork() -> None:
    requests.get(f"http://{here().silent}/rates")  # <- stops here


@way("http_no_timeout", span=HTTP, peer="silent", host="threads")
@app.task(name="http_in_threads")
def http_in_threads() -> None:
    requests.get(f"http://{here().silent}/rates")  # <- stops here


@way("http_no_timeout", span=HTTP, peer="silent", host="celery-gevent")
@app.task(name="http_in_gevent")
def http_in_gevent() -> None:
    requests.get(f"http://{here().silent}/rates")  # <- stops here


@way("http_no_timeout", span=HTTP, peer="silent", host="solo")
@app.task(name="http_in_solo")
def http_in_solo() -> None:
    requests.get(f"http://{here().silent}/rates")  # <- stops here


# --- results of other jobs -------------------------------------------------------------------------------------------


@way("waiting_for_job", span=own_wait(), host="prefork", in_test=True)
@app.task(name="result_of_a_slow_job")
def result_of_a_slow_job() -> None:
    slow.delay().get(disable_sync_subtasks=False)  # <- stops here


@way("waiting_for_job", span=own_wait(), host="prefork")
@app.task(name="result_of_a_job_that_failed")
def result_of_a_job_that_failed() -> None:
    """Its result is not kept, so nobody ever says that it failed."""
    result = fails.delay()
    app.AsyncResult(result.id).get(disable_sync_subtasks=False)  # <- stops here


@way("waiting_for_job", span=own_wait(), host="threads")
@app.task(name="result_of_a_job_that_nobody_takes")
def result_of_a_job_that_nobody_takes() -> None:
    """Its queue has no worker."""
    result = slow.apply_async(queue="nobody")
    result.get(disable_sync_subtasks=False)  # <- stops here


@way("waiting_for_job", span=own_wait(), host="solo")
@app.task(name="result_of_a_job_behind_this_one")
def result_of_a_job_behind_this_one() -> None:
    """The only process of the worker waits for a job that waits for it."""
    slow.delay().get(timeout=900, disable_sync_subtasks=False)  # <- stops here


@way("waiting_for_job", span=own_wait(), host="prefork")
@app.task(name="group_of_which_one_hangs")
def group_of_which_one_hangs() -> None:
    group(quick.s(), slow.s())().get(disable_sync_subtasks=False)  # <- stops here


@app.task(name="quick")
def quick() -> int:
    return 1


@app.task(name="collect")
def collect(numbers: list[int]) -> int:
    return sum(numbers)


@way("waiting_for_job", span=own_wait(), host="prefork")
@app.task(name="chord_whose_header_fails")
def chord_whose_header_fails() -> None:
    """The callback is never run: one job of the header has not ended."""
    chord([quick.s(), slow.s()])(collect.s()).get(disable_sync_subtasks=False)  # <- stops here


# --- a result that nobody takes -------------------------------------------------------------------------------------

REDIS = "a Redis that does not answer; without spans it is a server behind a socket"


def _stopped_backend() -> Any:
    """A result backend of its own, which does not answer; in the harness, which only reads the labels, the app's."""
    from celery.backends.redis import RedisBackend

    if not os.environ.get("CAUSES_FOLDER"):
        return app.backend
    return RedisBackend(app=app, url=here().stopped_redis)


@way("db_query", "socket_wait", because=REDIS, span=DB, host="prefork", needs="redis", stops_in=r"Backend\.")
@app.task(name="result_that_cannot_be_stored", backend=_stopped_backend())
def result_that_cannot_be_stored() -> int:
    """The job's own code is over."""
    return 42


@way("db_query", "socket_wait", because=REDIS, span=DB, bare_span="other ", host="prefork", needs="redis")
@app.task(name="broker_that_does_not_answer")
def broker_that_does_not_answer() -> None:
    with Celery("other", broker=here().stopped_redis) as other:
        other.send_task("slow")  # <- stops here


# --- given out twice -------------------------------------------------------------------------------------------------


@way("redelivered", span=own_wait(), host="prefork", deliveries=2, in_test=True)
@app.task(name="job_delivered_twice")
def job_delivered_twice() -> None:
    """Its message comes twice, with one id."""
    time.sleep(HOUR)  # <- stops here


@way("redelivered", span=own_wait(), host="prefork", needs="redis", settle=115.0)
@app.task(name="visibility_timeout_too_short", acks_late=True)
def visibility_timeout_too_short() -> None:
    """Longer than the broker waits for an acknowledgement: 5 s here, which it looks at every 100 s."""
    time.sleep(HOUR)  # <- stops here


# --- processes -------------------------------------------------------------------------------------------------------


def _stop(job: dict[str, Any]) -> None:
    os.kill(job["pid"], signal.SIGSTOP)


def _kill_group(job: dict[str, Any]) -> None:
    os.killpg(os.getpgid(job["pid"]), signal.SIGKILL)


def _kill(job: dict[str, Any]) -> None:
    os.kill(job["pid"], signal.SIGKILL)


@way("worker_frozen", host="prefork", fault=_stop, states=frozenset({"frozen"}), in_test=True)
@app.task(name="stopped_child")
def stopped_child() -> None:
    """SIGSTOP, while it computes and sleeps."""
    while True:
        time.sleep(0.1)  # <- stops here


@way("worker_lost", host="prefork", fault=_kill_group, states=frozenset({"lost"}), in_test=True)
@app.task(name="killed_worker")
def killed_worker() -> None:
    """kill -9 of all its processes: nobody is left to say so."""
    time.sleep(HOUR)  # <- stops here


# Here both lines are right: nobody in the process can look once the interpreter's lock is held, so that the last line
# seen may be the one before.


@way("gil_held", host="prefork", states=frozenset({"stuck", "frozen"}), is_heavy=True, in_test=True)
@app.task(name="catastrophic_regex")
def catastrophic_regex() -> None:
    time.sleep(2)  # <- stops here
    re.match(r"(a+)+$", "a" * 60 + "b")  # <- stops here


@way("gil_held", host="prefork", states=frozenset({"stuck", "frozen"}))
@app.task(name="native_call_that_keeps_the_lock")
def native_call_that_keeps_the_lock() -> None:
    """An extension that blocks without letting go of the interpreter's lock."""
    time.sleep(2)  # <- stops here
    ctypes.PyDLL(None).sleep(HOUR)  # <- stops here


@way("gil_held", host="prefork", states=frozenset({"stuck", "frozen"}), is_heavy=True)
@app.task(name="one_huge_power")
def one_huge_power() -> None:
    base = 7
    time.sleep(2)  # <- stops here
    base**400_000_000  # <- stops here
