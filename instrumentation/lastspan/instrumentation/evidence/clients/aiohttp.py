"""aiohttp."""

from __future__ import annotations

from typing import Final

from .page import KnownCall, Page, TimeoutSource, Unread, each

PAGE: Final = Page(
    calls={
        "aiohttp.client_ws": each(  # no call with an answer: a peer that speaks when it likes
            "ClientWebSocketResponse.receive ClientWebSocketResponse.receive_str ClientWebSocketResponse.receive_bytes "
            "ClientWebSocketResponse.receive_json ClientWebSocketResponse.__anext__",
            KnownCall("socket"),
        ),
        "aiohttp.connector": {"BaseConnector._wait_for_available_connection": KnownCall("pool", is_final=True)},
    },
    packages={"aiohttp": "http"},
    timeouts={
        "aiohttp.client": {
            "_request": TimeoutSource(("real_timeout",), "{url._netloc}", "conn._protocol.transport"),
            "_connect_and_send_request": TimeoutSource((), "{req.url._netloc}", "conn._protocol.transport"),
        },
        "aiohttp.client_reqrep": {
            **each(
                "read text json",
                TimeoutSource(("self._session._timeout",), transport="self._connection._protocol.transport"),
            ),
            "start": TimeoutSource(transport="connection._protocol.transport"),
        },
        "aiohttp.client_ws": {
            "receive": TimeoutSource(("receive_timeout",), transport="self._response._connection._protocol.transport"),
        },
        "aiohttp.streams": {  # the headers have come, and the body has not
            "_wait": TimeoutSource(
                ("self._protocol._read_timeout", "self._timer"), transport="self._protocol.transport"
            ),
        },
    },
    timeout_classes={
        "aiohttp.client.ClientTimeout": ("total", "sock_read"),
        "aiohttp.helpers.TimerNoop": (),
        "aiohttp.helpers.TimerContext": Unread.UNKNOWN,
    },
)
