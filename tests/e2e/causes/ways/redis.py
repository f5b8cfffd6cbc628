"""Redis: locks, queues, subscriptions, a server that does not answer."""

from __future__ import annotations

import time
from typing import Any

from tests.e2e.causes.place import here, ready
from tests.e2e.causes.way import DB, own_wait, way


def _client(url: str | None = None) -> Any:
    import redis

    # As redis-py was until version 8, and as those ask who read for long: without a timeout.
    return redis.Redis.from_url(url or here().redis, socket_timeout=None, socket_connect_timeout=None)


def refresh_prices() -> None:
    with _client().lock("prices"):
        ready()
        time.sleep(3600)


@way(
    "lock_wait", span=r"lock .*prices", beside=(refresh_prices,), where="process", held_by="refresh_prices",
    needs="redis",
)  # fmt: skip
def redis_lock_of_another_process() -> None:
    lock = _client().lock("prices")
    lock.acquire()  # <- stops here


def crashed_worker() -> None:
    """Took the lock and ended without giving it back; it has no time limit."""
    _client().lock("import").acquire()
    ready()


@way("lock_wait", span=r"lock .*import", beside=(crashed_worker,), needs="redis")
def redis_lock_that_nobody_holds() -> None:
    with _client().lock("import"):  # <- stops here
        pass


@way(
    "waiting",
    "db_query",
    because="an item of a queue that does not come; to the client it is a command without an answer",
    span=DB,
    needs="redis",
)
def redis_blpop() -> None:
    _client().blpop(["inbox"], timeout=0)  # <- stops here


@way(
    "waiting",
    "db_query",
    because="a message that does not come; the client only reads",
    span=own_wait(),
    needs="redis",
)
def redis_subscription() -> None:
    subscription = _client().pubsub()
    subscription.subscribe("news")
    for message in subscription.listen():  # <- stops here
        print(message["type"])


@way("db_query", span=DB, needs="redis")
def stopped_redis() -> None:
    client = _client(here().stopped_redis)
    client.get("prices")  # <- stops here


def write_report() -> None:
    _client().set("lock:report", "me", nx=True, ex=3600)
    ready()
    time.sleep(3600)


@way(
    "call_loop",
    "waiting",
    "lock_wait",
    because="a lock that the application has made of polling: calls, and without spans it polls and sleeps",
    span=own_wait(),
    beside=(write_report,),
    where="process",
    needs="redis",
)
def redis_lock_by_hand() -> None:
    client = _client()
    while not client.set("lock:report", "me", nx=True, ex=3600):  # <- stops here
        time.sleep(0.1)  # <- stops here
