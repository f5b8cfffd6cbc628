"""redis-py's locks, with a real server: the wait is a span, the lock is the job's, and nothing else changes."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import redis.asyncio
from opentelemetry.trace import StatusCode
from redis.asyncio.lock import Lock as AsyncLock
from redis.backoff import NoBackoff
from redis.exceptions import LockError, LockNotOwnedError
from redis.lock import Lock
from redis.retry import Retry
from tests.instrumentation.live import Live, instrumented, lock_facts
from tests.instrumentation.live import live as live
from tests.servers import Redis

from lastspan.instrumentation import job
from lastspan.instrumentation.libraries.redis_locks import SPAN_NAME, RedisLocksInstrumentor, key
from lastspan.instrumentation.registry.held_locks import host_name
from lastspan.semconv import attributes as a


@pytest.fixture(autouse=True)
def wrapped(live: Live) -> Iterator[Any]:
    yield from instrumented(RedisLocksInstrumentor())


@pytest.fixture
def client(redis_server: Redis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.dsn) as made:
        made.flushall()
        yield made


@pytest.fixture
def orders(redis_server: Redis) -> str:
    """The key of the lock `orders`: a server of this machine goes by the machine's name."""
    return f"redis:{host_name()}:{redis_server.port}/0:orders"


def test_a_free_lock_is_held_and_leaves_no_span(live: Live, client: redis.Redis, orders: str) -> None:
    """From acquire to release, with `with` and without."""
    with job("nightly"):
        with client.lock("orders"):
            assert live.holds() == [orders]
        assert live.holds() == []
        lock = client.lock("orders")
        assert lock.acquire() is True
        assert live.holds() == [orders]
        assert lock.release() is None
        assert live.holds() == []
    assert live.ended(SPAN_NAME) == []


LIMITS: list[tuple[dict[str, Any], dict[str, Any], dict[str, object]]] = [
    # of the lock, of the call, what the span says
    ({"blocking_timeout": 0.3}, {}, {a.CALL_TIMEOUT: 0.3}),
    ({}, {"blocking_timeout": 0.3}, {a.CALL_TIMEOUT: 0.3}),
    ({"blocking_timeout": 60}, {"blocking": True, "blocking_timeout": 0.2}, {a.CALL_TIMEOUT: 0.2}),
]


@pytest.mark.parametrize(("lock", "call", "said"), LIMITS, ids=str)
def test_a_wait_is_a_span(
    live: Live, client: redis.Redis, orders: str, lock: dict[str, Any], call: dict[str, Any], said: dict[str, object]
) -> None:
    """With the lock's name and key, and how long it may last; without the lock in the end, it is an error."""
    client.lock("orders").acquire()
    with job("nightly"):
        assert client.lock("orders", sleep=0.05, **lock).acquire(**call) is False
        assert live.holds() == []
    (span,) = live.ended(SPAN_NAME)
    assert lock_facts(span.attributes) == {
        a.LOCK_NAME: "orders",
        a.LOCK_KIND: "redis",
        a.LOCK_KEY: orders,
        **said,
    }
    assert span.status.status_code is StatusCode.ERROR
    assert span.end_time - span.start_time > 100_000_000  # type: ignore[operator]


def test_a_wait_without_limit_is_seen_while_it_lasts(live: Live, client: redis.Redis, orders: str) -> None:
    """In the record of the open span; the one who holds it can be found by the same key."""
    holder = client.lock("orders")
    holder.acquire()
    waiter = threading.Thread(target=_job, args=(live, client, "waiter", orders))
    waiter.start()
    said = live.sink.wait_for(lambda record: record.get(a.SPAN_NAME) == SPAN_NAME)
    assert {name: said[name] for name in (a.LOCK_KEY, a.CALL_UNBOUNDED, a.JOB_NAME)} == {
        a.LOCK_KEY: orders,
        a.CALL_UNBOUNDED: True,
        a.JOB_NAME: "waiter",
    }
    holder.release()
    waiter.join(20)
    (span,) = live.ended(SPAN_NAME)
    assert span.status.status_code is StatusCode.UNSET


def _job(live: Live, client: redis.Redis, name: str, key: str) -> None:
    with job(name), client.lock("orders", sleep=0.02):
        assert live.holds() == [key]


def test_a_try_that_does_not_wait_is_no_wait(live: Live, client: redis.Redis) -> None:
    """Not blocking, by the lock or by the call."""
    client.lock("orders").acquire()
    with job("nightly"):
        assert client.lock("orders").acquire(blocking=False) is False
        assert client.lock("orders", blocking=False).acquire() is False
        with pytest.raises(LockError), client.lock("orders", blocking=False):
            pass
    assert live.ended(SPAN_NAME) == []


def test_outside_of_a_job_nothing_is_noted(live: Live, client: redis.Redis) -> None:
    """Neither wait nor hold; also beside a job of another thread."""
    client.lock("orders").acquire()
    with job("nightly"):
        beside = threading.Thread(target=lambda: client.lock("orders", blocking_timeout=0.2).acquire())
        beside.start()
        beside.join()
        assert live.holds() == []
    assert live.ended(SPAN_NAME) == []


def test_a_lock_expires_at_the_server_and_here(live: Live, client: redis.Redis, orders: str) -> None:
    """Extended it lives longer; expired it is nobody's, and its release says so as ever."""
    with job("nightly"):
        lock = client.lock("orders", timeout=0.2)
        lock.acquire()
        lock.extend(0.3)
        lock.reacquire()
        lock.extend(1, replace_ttl=True)
        assert live.holds() == [orders]
        lock.extend(0.05, replace_ttl=True)
        while client.exists("orders"):
            time.sleep(0.01)
        time.sleep(0.05)
        assert live.holds() == []
        with pytest.raises(LockNotOwnedError):
            lock.release()


def test_who_releases_late_does_not_release_anothers(live: Live, client: redis.Redis, orders: str) -> None:
    """The lock expired, and another job of the process has it now."""
    with job("first"):
        first = client.lock("orders", timeout=0.05)
        first.acquire()
        with job("second"):
            second = client.lock("orders", sleep=0.01)
            second.acquire()
            with pytest.raises(LockNotOwnedError):
                first.release()
            assert live.holds() == [orders]
        assert live.holds() == []


def test_another_thread_may_give_it_back(live: Live, client: redis.Redis, orders: str) -> None:
    """One without a job, even."""
    with job("nightly"):
        lock = client.lock("orders", thread_local=False)
        lock.acquire()
        assert live.holds() == [orders]
        other = threading.Thread(target=lock.release)
        other.start()
        other.join()
        assert live.holds() == []


def test_a_server_that_does_not_answer(live: Live) -> None:
    """Its errors are the caller's, as ever; no span is left open."""
    gone = redis.Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    with job("nightly"):
        with pytest.raises(redis.exceptions.ConnectionError):
            gone.lock("orders").acquire()
        assert live.holds() == []
        assert set(live.open()) == {"nightly"}


def test_async_locks_are_the_same(live: Live, redis_server: Redis, client: redis.Redis, orders: str) -> None:
    """Held, waited for, extended, and given back; a cancelled wait is cancelled."""

    async def nightly() -> None:
        async with redis.asyncio.Redis.from_url(redis_server.dsn) as connection:
            with job("nightly"):
                async with connection.lock("orders", timeout=600) as lock:
                    await lock.extend(5)
                    assert live.holds() == [orders]
                    assert await connection.lock("orders", sleep=0.02).acquire(True, 0.1) is False
                    waiting = asyncio.create_task(connection.lock("orders", sleep=0.02).acquire())
                    await asyncio.sleep(0.1)
                    waiting.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await waiting
                assert live.holds() == []
                assert set(live.open()) == {"nightly"}

    asyncio.run(nightly())
    timed_out, cancelled = live.ended(SPAN_NAME)
    assert lock_facts(timed_out.attributes)[a.CALL_TIMEOUT] == 0.1
    assert lock_facts(cancelled.attributes)[a.CALL_UNBOUNDED] is True
    assert cancelled.status.description == "CancelledError"


class Own(Lock):
    """As applications derive them."""

    def acquire(self, *args: Any, **kwargs: Any) -> bool:
        return bool(super().acquire(*args, **kwargs))


def test_subclasses_are_seen(live: Live, client: redis.Redis, orders: str) -> None:
    """What they change stays changed."""
    with job("nightly"), client.lock("orders", lock_class=Own) as lock:
        assert isinstance(lock, Own)
        assert live.holds() == [orders]


SERVERS: list[tuple[dict[str, Any], str]] = [
    ({}, "redis:HOST:6379/0:orders"),
    ({"host": "localhost", "db": 3}, "redis:HOST:6379/3:orders"),
    ({"host": "cache.internal", "port": 6390, "password": "hunter2"}, "redis:cache.internal:6390/0:orders"),
    ({"unix_socket_path": "/run/redis.sock"}, "redis:HOST:/run/redis.sock/0:orders"),
]


@pytest.mark.parametrize(("how", "expected"), SERVERS, ids=lambda item: str(item)[:40])
def test_a_key_is_the_same_for_everybody(how: dict[str, Any], expected: str) -> None:
    """Server, database, name: a server of this machine by the machine's name, never a password."""
    with redis.Redis(**how) as client:
        assert key(client.lock("orders")) == expected.replace("HOST", host_name())
        assert key(client.lock(b"orders")) == expected.replace("HOST", host_name())


def test_loaded_twice_acts_once_and_leaves_nothing() -> None:
    """Functions look as before; afterwards they are the library's own again."""
    RedisLocksInstrumentor().uninstrument()
    own = {(one, name): vars(one)[name] for one in (Lock, AsyncLock) for name in ("acquire", "do_release")}
    RedisLocksInstrumentor().instrument()
    once = {(one, name): vars(one)[name] for one, name in own}
    assert all(once[place].__wrapped__ is own[place] for place in own)
    assert inspect.iscoroutinefunction(AsyncLock.acquire)
    assert list(inspect.signature(Lock.acquire).parameters)[:2] == ["self", "sleep"]
    RedisLocksInstrumentor._patches.when_imported("redis.lock", lambda module: None)
    RedisLocksInstrumentor()._instrument()
    assert {place: vars(place[0])[place[1]] for place in own} == once
    RedisLocksInstrumentor().uninstrument()
    assert {place: vars(place[0])[place[1]] for place in own} == own
    RedisLocksInstrumentor().instrument()
