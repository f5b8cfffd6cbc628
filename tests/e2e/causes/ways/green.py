"""gevent: greenlets that wait for each other, and a hub that is blocked. The program patches everything first."""

from __future__ import annotations

import gevent
import requests
from gevent.event import Event
from gevent.lock import BoundedSemaphore
from gevent.queue import Queue
from tests.e2e.causes.place import here, ready
from tests.e2e.causes.way import HTTP, JOB, lock, own_wait, wait, way

HOUR = 3600


@way("http_no_timeout", span=HTTP, peer="silent", host="gevent")
def gevent_http() -> None:
    requests.get(f"http://{here().silent}/rates")  # <- stops here


_till = BoundedSemaphore(1)


def count_cash() -> None:
    with _till:
        ready()
        gevent.sleep(HOUR)


@way("lock_wait", span=lock("_till"), beside=(count_cash,), host="gevent")
def gevent_semaphore() -> None:
    _till.acquire()  # <- stops here


def other_work() -> None:
    """A worker has something else to do; with nothing at all gevent would raise LoopExit."""
    ready()
    while True:
        gevent.sleep(1)


_inbox = Queue()


@way("waiting", span=wait("_inbox") + "|job ", beside=(other_work,), host="gevent")
def gevent_queue() -> None:
    _inbox.get()  # <- stops here


_ready = Event()


@way("waiting", span=wait("_ready") + "|job ", beside=(other_work,), host="gevent")
def gevent_event() -> None:
    _ready.wait()  # <- stops here


@way("waiting", span=own_wait(), host="gevent")
def gevent_join() -> None:
    gevent.spawn(gevent.sleep, HOUR).join()  # <- stops here


def _sleep(seconds: float) -> None:
    gevent.sleep(seconds)


@way("waiting", span=own_wait(), host="gevent")
def gevent_joinall() -> None:
    gevent.joinall([gevent.spawn(_sleep, HOUR) for _ in range(2)])  # <- stops here


def crunch() -> None:
    """Never yields to the hub."""
    ready()
    gevent.sleep(2)
    number = 1
    while number:
        number = number % 1000 + 1


@way("event_loop_blocked", span=JOB, beside=(crunch,), held_by="crunch", host="gevent", is_heavy=True)
def victim_of_a_blocked_hub() -> None:
    while True:
        gevent.sleep(0.2)  # <- stops here
