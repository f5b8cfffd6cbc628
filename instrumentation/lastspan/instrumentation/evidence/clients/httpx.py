"""httpx, and httpcore below it."""

from __future__ import annotations

from typing import Final

from .page import KnownCall, Page, TimeoutSource, each

PAGE: Final = Page(
    calls=each(
        "httpcore._sync.connection_pool httpcore._async.connection_pool",
        each(
            "PoolRequest.wait_for_connection AsyncPoolRequest.wait_for_connection",
            KnownCall("pool", "timeout", is_final=True),
        ),
    ),
    packages=each("httpx httpcore", "http"),
    timeouts={
        "httpx._transports.default": each(
            "handle_request handle_async_request", TimeoutSource(("request.extensions.timeout.read",))
        ),
        **each(
            "httpcore._sync.http11 httpcore._async.http11 httpcore._sync.http2 httpcore._async.http2",
            each(
                "_receive_event _receive_response_headers _receive_response_body _send_event",
                TimeoutSource(("timeout",), "{self._origin.host}:{self._origin.port}"),
            ),
        ),
    },
)
