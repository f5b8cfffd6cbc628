"""One client's connection: closed if its request does not arrive in time, so that slow clients cannot block us."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEAD_MAX = 64 * 1024
"""Bytes of what comes before a body."""


class Connection(HttpToolsProtocol):
    """uvicorn's, which waits for ever for a request that has not come in whole, and keeps headers of any size."""

    request_s = 40.0
    """For a whole request, from when a client connects, or begins the next one."""
    _late: asyncio.TimerHandle | None = None
    _head: int | None = None
    """Bytes of the headers so far; None: they are complete, or have not begun."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._waited()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        if self._head is not None:
            self._head += len(data)
            if self._head > _HEAD_MAX:
                self.transport.close()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._head = 0
        self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin a body."""
        self._head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Have the whole request: however long the answer takes."""
        self._waited()
        super().on_message_complete()

    def _wait(self) -> None:
        self._waited()
        self._late = self.loop.call_later(self.request_s, self.timeout_keep_alive_handler)

    def _waited(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
