"""gRPC, of threads and of asyncio."""

from __future__ import annotations

from typing import Final

from .page import Page, TimeoutSource, each

PAGE: Final = Page(
    packages={"grpc": "http"},
    timeouts={
        "grpc._channel": {
            "_blocking": TimeoutSource(("timeout",), "{self._target}"),
            **each("result exception", TimeoutSource(("timeout",), deadline="self._deadline")),
            "_next": TimeoutSource(deadline="self._deadline"),
        },
        "grpc.aio._call": each(
            "_invoke _read _send_unary_request _conduct_rpc _prepare_rpc __await__",
            TimeoutSource(deadline="self._cython_call"),
        ),
        "grpc.aio._interceptor": {"_invoke": TimeoutSource(("timeout",))},
    },
)
