"""AnyIO."""

from __future__ import annotations

from typing import Final

from .page import KnownCall, Page, TimeoutSource, each

PAGE: Final = Page(
    calls={
        "anyio._core._synchronization": {"Lock.acquire": KnownCall("lock")},
        "anyio._backends._asyncio": {
            "Lock.acquire": KnownCall("lock"),
            **each("Semaphore.acquire CapacityLimiter.acquire_on_behalf_of", KnownCall("semaphore")),
            "Event.wait": KnownCall("event"),
            "AsyncIOBackend.run_sync_in_worker_thread": KnownCall("future", is_weak=True),
            "TaskGroup.__aexit__": KnownCall("task", is_weak=True),
        },
        "anyio.streams.memory": each(
            "MemoryObjectReceiveStream.receive MemoryObjectSendStream.send", KnownCall("queue")
        ),
    },
    timeouts={"anyio._backends._asyncio": each("receive send", TimeoutSource(stream="self._transport"))},
    threads={("anyio._backends._asyncio", "run_sync_in_worker_thread"): "worker"},
)
