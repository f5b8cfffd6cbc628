"""asyncio."""

from __future__ import annotations

from typing import Final

from .page import KnownCall, Page, TimeoutSource, each

_SOCKET: Final = KnownCall("socket")
_CONNECT: Final = KnownCall("connect", peer="{host}:{port}")

PAGE: Final = Page(
    calls={
        "asyncio.locks": {
            "Lock.acquire": KnownCall("lock"),
            "_ContextManagerMixin.__aenter__": KnownCall("lock", is_weak=True),
            "Event.wait": KnownCall("event"),
            **each("Condition.wait Condition.wait_for", KnownCall("condition")),
            "Semaphore.acquire": KnownCall("semaphore"),
            "Barrier.wait": KnownCall("barrier"),
        },
        "asyncio.queues": each("Queue.get Queue.put Queue.join", KnownCall("queue")),
        "asyncio.subprocess": each("Process.wait Process.communicate", KnownCall("process", pid="self.pid")),
        "asyncio.streams": {
            **each("StreamReader.read StreamReader.readline StreamReader.readexactly StreamReader.readuntil", _SOCKET),
            **each("StreamWriter.drain StreamWriter.wait_closed", _SOCKET),
            "open_connection": _CONNECT,
        },
        "asyncio.base_events": {
            "BaseEventLoop.getaddrinfo": KnownCall("dns", peer="{host}:{port}", is_final=True),
            "BaseEventLoop.create_connection": _CONNECT,
            **each("BaseEventLoop.run_until_complete BaseEventLoop.run_forever", KnownCall("task", is_weak=True)),
        },
        "asyncio.selector_events": {
            **each("BaseSelectorEventLoop.sock_recv BaseSelectorEventLoop.sock_recv_into", _SOCKET),
            **each("BaseSelectorEventLoop.sock_sendall BaseSelectorEventLoop.sock_recvfrom", _SOCKET),
            "BaseSelectorEventLoop.sock_accept": KnownCall("accept"),
            "BaseSelectorEventLoop.sock_connect": KnownCall("connect"),
        },
        "asyncio.tasks": {
            "sleep": KnownCall("sleep", "delay"),
            **each("wait_for _wait wait", KnownCall("future", "timeout", is_weak=True)),
            "as_completed.<locals>._wait_for_one": KnownCall("future", "timeout", is_weak=True),
            "_AsCompletedIterator._wait_for_one": KnownCall("future", is_weak=True),
        },
        "asyncio.taskgroups": each("TaskGroup.__aexit__ TaskGroup._aexit", KnownCall("task", is_weak=True)),
        "asyncio.threads": {"to_thread": KnownCall("future", is_weak=True)},
        "asyncio.runners": each("run Runner.run", KnownCall("task", is_weak=True)),
    },
    timeouts={
        "asyncio.tasks": {"wait_for": TimeoutSource(("timeout",))},
        "asyncio.streams": each(
            "read readline readexactly readuntil drain", TimeoutSource(transport="self._transport")
        ),
    },
)
