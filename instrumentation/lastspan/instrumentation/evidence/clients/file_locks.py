"""Locks on files: filelock, fasteners, portalocker, oslo.concurrency."""

from __future__ import annotations

from typing import Final

from .page import KnownCall, Page, each

_LOCK_FILE: Final = "{canonical_path|canonical|lock_filename|self._context.lock_file}"
_FILELOCK: Final = KnownCall("file_lock", "timeout", _LOCK_FILE, _LOCK_FILE)
_AT_PATH: Final = KnownCall("file_lock", "timeout", "{self.path}", "{self.path}")
_SEMAPHORE: Final = KnownCall("semaphore", "timeout")

PAGE: Final = Page(
    calls={
        **each(  # the second of each: from 4.1 on
            "filelock._api filelock._core._lock filelock.asyncio filelock._async_lock._lock",
            each("BaseFileLock.acquire BaseAsyncFileLock.acquire", _FILELOCK),
        ),
        **each(
            "filelock._read_write filelock._sqlite._lock filelock._soft._read_write._lock",
            each(
                "ReadWriteLock.acquire_read ReadWriteLock.acquire_write SoftReadWriteLock.acquire_read "
                "SoftReadWriteLock.acquire_write",
                KnownCall("file_lock", "timeout"),
            ),
        ),
        "fasteners.process_lock": each(
            "_InterProcessLock.acquire _InterProcessReaderWriterLock.acquire_read_lock "
            "_InterProcessReaderWriterLock.acquire_write_lock",
            _AT_PATH,
        ),
        "fasteners.lock": each(
            "ReaderWriterLock.acquire_read_lock ReaderWriterLock.acquire_write_lock", KnownCall("lock")
        ),
        "portalocker.utils": {
            **each(
                "Lock.acquire RLock.acquire", KnownCall("file_lock", "timeout", "{self.filename}", "{self.filename}")
            ),
            **each("BoundedSemaphore.acquire NamedBoundedSemaphore.acquire", _SEMAPHORE),
        },
        "portalocker.portalocker": {"lock": KnownCall("file_lock")},
        "portalocker.redis": {"RedisLock.acquire": KnownCall("redis_lock", "timeout", "{self.channel}")},
        "oslo_concurrency.lockutils": {"external_lock": KnownCall("file_lock", "", "{name}")},
    },
)
