"""urllib3, and requests around it."""

from __future__ import annotations

from typing import Final

from .page import KnownCall, Page, TimeoutSource, Unread, each

_PEER: Final = "{self.host}:{self.port}"

PAGE: Final = Page(
    calls={
        "urllib3.connectionpool": {
            "HTTPConnectionPool._get_conn": KnownCall("pool", "timeout", peer=_PEER, is_final=True),
        },
    },
    packages=each("urllib3 requests", "http"),
    timeouts={"urllib3.connectionpool": each("_make_request urlopen", TimeoutSource(("timeout_obj",), _PEER))},
    timeout_classes={
        "urllib3.util.timeout.Timeout": ("_read", "total"),
        **each("urllib3.util.timeout._TYPE_DEFAULT urllib3.util._TYPE_DEFAULT", Unread.OF_SOCKETS),
    },
)
