"""gevent: the hub is blocked by a job that never yields, or the job waits in the main or another greenlet."""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import gevent  # noqa: E402
import gevent.os  # noqa: E402

from lastspan.instrumentation import job  # noqa: E402


def blocked() -> None:
    os.read(0, 1)


def waits() -> None:
    gevent.os.tp_read(0, 1)


def run(wait: str) -> None:
    with job(wait):
        blocked() if wait == "blocked" else waits()


if sys.argv[2] == "main":
    run(sys.argv[1])
else:
    greenlet = gevent.spawn(run, sys.argv[1])
    greenlet.join()
time.sleep(0)
