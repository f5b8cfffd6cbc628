"""filelock's locks, sync and async: their wait is a span of the job, and the job holds the file until it gives it back.

`acquire` tries again and again and sleeps between: without this a trace shows nothing at all.
No file is opened here: closing it again would drop locks of the process that are not ours.
"""

from __future__ import annotations

import functools
import inspect
import os
import time
from collections.abc import Collection
from functools import partial
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from lastspan.semconv import attributes as a

from ..guest import log
from ..guest.patches import Patches
from ..registry import current
from ..registry.current import current_run
from ..registry.held_locks import file_key, held
from .lock_span import LockWait, current_lock_wait, limit

_log = log.Log(__name__)

SPAN_NAME: Final = "filelock acquire"
_FLOCK: Final = "flock"
_EXISTENCE: Final = "lockfile"
"""Whose file exists, holds the lock; the kernel knows nothing of it."""


class FileLocksInstrumentor(BaseInstrumentor):
    """Shows waits for filelock's locks, and who holds them."""

    _patches = Patches()

    def instrumentation_dependencies(self) -> Collection[str]:
        """Filelock 3.12 and later."""
        return ("filelock >= 3.12, < 5",)

    def _instrument(self, **kwargs: Any) -> None:
        if current.load() is None:
            return
        self._patches.when_imported("filelock", self._patch)
        self._patches.when_imported("filelock.asyncio", self._patch_async)

    def _uninstrument(self, **kwargs: Any) -> None:
        self._patches.restore()

    def _patch(self, module: Any) -> None:
        self._patches.wrap(module.BaseFileLock, {"acquire": _acquire})
        for one in (module.UnixFileLock, module.SoftFileLock):
            self._patches.wrap(one, {"_acquire": _try, "_release": _release})

    def _patch_async(self, module: Any) -> None:
        self._patches.wrap(module.BaseAsyncFileLock, {"acquire": _acquire_async})


def _acquire(original: Any) -> Any:
    @functools.wraps(original)
    def acquire(self: Any, *args: Any, **kwargs: Any) -> Any:
        wait = _wait(original, self, args, kwargs)
        if wait is None:
            return original(self, *args, **kwargs)
        with wait:
            proxy = original(self, *args, **kwargs)
        _took(wait, self)
        return proxy

    return acquire


def _acquire_async(original: Any) -> Any:
    @functools.wraps(original)
    async def acquire(self: Any, *args: Any, **kwargs: Any) -> Any:
        wait = _wait(original, self, args, kwargs)
        if wait is None:
            return await original(self, *args, **kwargs)
        with wait:
            if not self.is_locked:
                _failed(wait, self)  # its tries are another thread's: all that is seen from here is one wait
            proxy = await original(self, *args, **kwargs)
        _took(wait, self)
        return proxy

    return acquire


def _try(original: Any) -> Any:
    @functools.wraps(original)
    def _acquire(self: Any) -> Any:
        result = original(self)
        wait = current_lock_wait(self)
        if wait is not None and _descriptor(self) is None:
            _failed(wait, self)
        return result

    return _acquire


def _release(original: Any) -> Any:
    @functools.wraps(original)
    def _release(self: Any) -> Any:
        number = _descriptor(self)
        try:
            return original(self)
        finally:
            if number is not None and _descriptor(self) is None:
                held.remove((SPAN_NAME, number))

    return _release


# --- what is noted -----------------------------------------------------------------------------------------------


def _wait(acquire: Any, lock: Any, args: Any, kwargs: Any) -> LockWait | None:
    try:
        run = current_run()
        return None if run is None else LockWait(run, lock, SPAN_NAME, lambda: _attributes(acquire, lock, args, kwargs))
    except Exception as error:  # a guest never raises
        _log.fault("lastspan: a wait for a lock was not recorded", error)
        return None


def _attributes(acquire: Any, lock: Any, args: Any, kwargs: Any) -> dict[str, Any] | None:
    given = inspect.signature(acquire).bind(lock, *args, **kwargs).arguments
    is_blocking = given.get("blocking")
    seconds = given.get("timeout")
    seconds = lock.timeout if seconds is None else seconds
    if not (getattr(lock, "blocking", True) if is_blocking is None else is_blocking) or seconds == 0:
        return None
    key = _key_of_path(lock)
    return {
        a.LOCK_NAME: str(lock.lock_file),
        a.LOCK_KIND: _kind(lock),
        **({} if key is None else {a.LOCK_KEY: key}),
        **limit(None if seconds < 0 else seconds),
    }


def _failed(wait: LockWait, lock: Any) -> None:
    try:
        if wait.has_span:
            wait.rename(_key_of_path(lock))  # a file that is deleted and made again is another one
        else:
            wait.failed()
    except Exception as error:  # a guest never raises
        _log.fault("lastspan: a wait for a lock was not recorded", error)


def _took(wait: LockWait, lock: Any) -> None:
    try:
        number = _descriptor(lock)
        key = (SPAN_NAME, number)
        if number is None or lock.lock_counter != 1:  # it had it before
            return
        kind = _kind(lock)
        lifetime = lock.lifetime if kind == _EXISTENCE and hasattr(lock, "lifetime") else None
        # Its own descriptor is asked when somebody looks: that costs more than all else here.
        held.add(wait.run, key, time.monotonic(), expires_after=lifetime, name=partial(_name, number, kind))
    except Exception as error:  # a guest never raises
        _log.fault("lastspan: a lock was not recorded", error)


def _name(number: int, kind: str) -> str | None:
    try:
        return file_key(os.fstat(number), kind)
    except OSError:  # closed meanwhile
        return None


def _descriptor(lock: Any) -> int | None:
    """The lock's own descriptor, while it holds the lock."""
    descriptor: int | None = getattr(getattr(lock, "_context", None), "lock_file_fd", None)
    return descriptor


def _key_of_path(lock: Any) -> str | None:
    try:
        return file_key(os.stat(lock.lock_file), _kind(lock))
    except OSError:  # deleted meanwhile
        return None


def _kind(lock: Any) -> str:
    return _EXISTENCE if any("Soft" in one.__name__ for one in type(lock).__mro__) else _FLOCK
