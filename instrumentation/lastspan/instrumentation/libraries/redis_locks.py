"""redis-py's `Lock`, sync and async: its wait is a span of the job, and the job holds the lock until it gives it back.

`acquire` asks the server again and again and sleeps between: without this a trace shows many short SETs, and a sleep.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Collection, Mapping
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from lastspan.semconv import attributes as a

from ..guest import log
from ..guest.patches import Make, Patches
from ..registry import current
from ..registry.current import current_run
from ..registry.held_locks import held, host_name
from .lock_span import LockWait, current_lock_wait, limit

_log = log.Log(__name__)

SPAN_NAME: Final = "redis.lock acquire"
_KIND: Final = "redis"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class RedisLocksInstrumentor(BaseInstrumentor):
    """Shows waits for redis-py's locks, and who holds them."""

    _patches = Patches()

    def instrumentation_dependencies(self) -> Collection[str]:
        """redis-py 4.5 and later."""
        return ("redis >= 4.5, < 9",)

    def _instrument(self, **kwargs: Any) -> None:
        if current.load() is None:
            return
        self._patches.when_imported("redis.lock", lambda module: self._patches.wrap(module.Lock, _SYNC))
        self._patches.when_imported("redis.asyncio.lock", lambda module: self._patches.wrap(module.Lock, _ASYNC))

    def _uninstrument(self, **kwargs: Any) -> None:
        self._patches.restore()


# --- sync --------------------------------------------------------------------------------------------------------


def _acquire(original: Any) -> Any:
    order = _order(original)

    @functools.wraps(original)
    def acquire(self: Any, *args: Any, **kwargs: Any) -> Any:
        wait = _wait(self, args, kwargs, order)
        if wait is None:
            return original(self, *args, **kwargs)
        with wait:
            got = original(self, *args, **kwargs)
            wait.got = bool(got)
            return got

    return acquire


def _do_acquire(original: Any) -> Any:
    @functools.wraps(original)
    def do_acquire(self: Any, token: Any) -> Any:
        got = original(self, token)
        _tried(self, token, got)
        return got

    return do_acquire


def _do_release(original: Any) -> Any:
    @functools.wraps(original)
    def do_release(self: Any, expected_token: Any) -> Any:
        try:
            result = original(self, expected_token)
        except Exception as error:
            _refused(self, expected_token, error)
            raise
        _released(self, expected_token)
        return result

    return do_release


def _do_extend(original: Any) -> Any:
    @functools.wraps(original)
    def do_extend(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        _extended(self, *args, **kwargs)
        return result

    return do_extend


def _do_reacquire(original: Any) -> Any:
    @functools.wraps(original)
    def do_reacquire(self: Any) -> Any:
        result = original(self)
        _extended(self, self.timeout, replace_ttl=True)
        return result

    return do_reacquire


# --- async -------------------------------------------------------------------------------------------------------


def _acquire_async(original: Any) -> Any:
    order = _order(original)

    @functools.wraps(original)
    async def acquire(self: Any, *args: Any, **kwargs: Any) -> Any:
        wait = _wait(self, args, kwargs, order)
        if wait is None:
            return await original(self, *args, **kwargs)
        with wait:
            got = await original(self, *args, **kwargs)
            wait.got = bool(got)
            return got

    return acquire


def _do_acquire_async(original: Any) -> Any:
    @functools.wraps(original)
    async def do_acquire(self: Any, token: Any) -> Any:
        got = await original(self, token)
        _tried(self, token, got)
        return got

    return do_acquire


def _do_release_async(original: Any) -> Any:
    @functools.wraps(original)
    async def do_release(self: Any, expected_token: Any) -> Any:
        try:
            result = await original(self, expected_token)
        except Exception as error:
            _refused(self, expected_token, error)
            raise
        _released(self, expected_token)
        return result

    return do_release


def _do_extend_async(original: Any) -> Any:
    @functools.wraps(original)
    async def do_extend(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = await original(self, *args, **kwargs)
        _extended(self, *args, **kwargs)
        return result

    return do_extend


def _do_reacquire_async(original: Any) -> Any:
    @functools.wraps(original)
    async def do_reacquire(self: Any) -> Any:
        result = await original(self)
        _extended(self, self.timeout, replace_ttl=True)
        return result

    return do_reacquire


_SYNC: Final[Mapping[str, Make]] = {
    "acquire": _acquire,
    "do_acquire": _do_acquire,
    "do_release": _do_release,
    "do_extend": _do_extend,
    "do_reacquire": _do_reacquire,
}
_ASYNC: Final[Mapping[str, Make]] = {
    "acquire": _acquire_async,
    "do_acquire": _do_acquire_async,
    "do_release": _do_release_async,
    "do_extend": _do_extend_async,
    "do_reacquire": _do_reacquire_async,
}


# --- what is noted -----------------------------------------------------------------------------------------------


def _wait(lock: Any, args: Any, kwargs: Any, order: tuple[str, ...]) -> LockWait | None:
    try:
        run = current_run()
        return None if run is None else LockWait(run, lock, SPAN_NAME, lambda: _attributes(lock, args, kwargs, order))
    except Exception as error:  # a guest never raises
        _log.fault("lastspan: a wait for a lock was not recorded", error)
        return None


def _attributes(lock: Any, args: Any, kwargs: Any, order: tuple[str, ...]) -> dict[str, Any] | None:
    given = {**dict(zip(order, args, strict=False)), **kwargs}
    is_blocking = given.get("blocking")
    if not (lock.blocking if is_blocking is None else is_blocking):
        return None
    seconds = given.get("blocking_timeout")
    return {
        a.LOCK_NAME: _name(lock),
        a.LOCK_KIND: _KIND,
        a.LOCK_KEY: key(lock),
        **limit(lock.blocking_timeout if seconds is None else seconds),
    }


def _order(acquire: Any) -> tuple[str, ...]:
    """Names of its arguments: they differ between versions."""
    return tuple(inspect.signature(acquire).parameters)[1:]


def _tried(lock: Any, token: object, got: object) -> None:
    try:
        wait = current_lock_wait(lock)
        if not got:
            if wait is not None:
                wait.failed()
            return
        run = wait.run if wait is not None else current_run()
        if run is not None:
            held.add(run, key(lock), time.monotonic(), owner=token, expires_after=lock.timeout or None)
    except Exception as error:  # a guest never raises
        _log.fault("lastspan: a lock was not recorded", error)


def _released(lock: Any, token: object) -> None:
    try:
        if held:
            held.remove(key(lock), owner=token)
    except Exception as error:  # a guest never raises
        _log.fault("lastspan: the release of a lock was not recorded", error)


def _refused(lock: Any, token: object, error: Exception) -> None:
    """It was not its own any more; any other error leaves it held at the server."""
    if type(error).__name__ == "LockNotOwnedError":
        _released(lock, token)


def _extended(lock: Any, additional_time: float, replace_ttl: bool = False) -> None:
    try:
        name, token = key(lock), lock.local.token
        hold, now = held.of(name), time.monotonic()
        if hold is not None:
            begins = now if replace_ttl or hold.expires is None else hold.expires
            held.extend(name, begins + float(additional_time), owner=token)
    except Exception as error:  # a guest never raises
        _log.fault("lastspan: the extension of a lock was not recorded", error)


def key(lock: Any) -> str:
    """Return the lock's name for everybody: server, database and name; the server's own host where it is this one."""
    return f"redis:{_server(lock.redis)}:{_name(lock)}"


def _name(lock: Any) -> str:
    name = lock.name
    return bytes(name).decode("utf-8", "replace") if isinstance(name, bytes | memoryview) else str(name)


def _server(client: Any) -> str:
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        return _cluster(client)
    how = pool.connection_kwargs
    database = how.get("db") or 0
    if (service := getattr(pool, "service_name", None)) is not None:
        return f"sentinel/{service}/{database}"
    if (path := how.get("path")) is not None:
        return f"{host_name()}:{path}/{database}"
    host = how.get("host") or "localhost"
    return f"{host_name() if host in _LOOPBACK else host}:{how.get('port') or 6379}/{database}"


def _cluster(client: Any) -> str:
    """Any node leads to all of them: the first that the host named, in the order of names."""
    nodes = getattr(getattr(client, "nodes_manager", None), "startup_nodes", None) or {}
    return f"cluster/{min(map(str, nodes), default='')}"
