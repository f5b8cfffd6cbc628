"""OTLP/HTTP: protobuf and JSON, plain or gzip. A bare ASGI application: a framework costs more than the decoding.

https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

from google.protobuf import json_format
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from ..decode.values import RequestError
from .budget import Budget
from .sink import AcceptResult, Sink

TRANSPORT = "http"
_PROTOBUF, _JSON = b"application/x-protobuf", b"application/json"
_BODY_TIMEOUT_S = 30.0
_GZIP = 31  # zlib's wbits for a gzip header
_MEMBERS = 1000
"""Parts of a gzip body, each with a header of its own: compressors write one."""
_RETRY_AFTER = (b"retry-after", b"1")

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class _RefusedError(Exception):
    """The request is answered with an HTTP status that is not 200."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


class _GoneError(Exception):
    """The client hung up."""


class _Route(NamedTuple):
    accept: Callable[..., AcceptResult]
    response: Callable[[AcceptResult], Any]


class OtlpHttp:
    """The application of the OTLP/HTTP port."""

    def __init__(self, sink: Sink, *, max_body: int, budget: Budget) -> None:
        self._sink = sink
        self._max_body = max_body
        self._budget = budget
        self._routes = {
            "/v1/logs": _Route(sink.accept_logs, logs_response),
            "/v1/traces": _Route(sink.accept_traces, traces_response),
            "/v1/metrics": _Route(sink.accept_metrics, metrics_response),
        }

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        json = False
        try:
            route, json, gzip = self._check(scope)
            body = _Body(self._budget, self._max_body, gzip)
            try:
                data = await body.read(receive)
                answer = route.accept(data, transport=TRANSPORT, json=json)
            finally:
                body.release()
            await _send(send, 200, route.response(answer), json)
        except RequestError as problem:
            self._sink.refuse(TRANSPORT, "undecodable")
            await _send(send, 400, Status(code=3, message=str(problem)), json)
        except _RefusedError as problem:
            self._sink.refuse(TRANSPORT, problem.reason)
            await _send(send, problem.status, Status(message=str(problem)), json)
        except _GoneError:
            self._sink.refuse(TRANSPORT, "disconnected")
        except asyncio.CancelledError:  # we stop, and the rest of the body did not come in time
            self._sink.refuse(TRANSPORT, "stopping")

    def _check(self, scope: _Message) -> tuple[_Route, bool, bool]:
        """Return the route, and whether the body is JSON and gzip."""
        route = self._routes.get(scope["path"])
        if route is None:
            raise _RefusedError(404, "unknown_path", f"{scope['path'][:200]} is not one of {', '.join(self._routes)}")
        if scope["method"] != "POST":
            raise _RefusedError(405, "wrong_method", "OTLP is sent by POST")
        headers = dict(scope["headers"])
        content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if content_type not in (_PROTOBUF, _JSON):
            raise _RefusedError(
                415, "unknown_content_type", "the content type must be application/x-protobuf or application/json"
            )
        encoding = headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding not in (b"gzip", b"identity", b""):
            raise _RefusedError(415, "unknown_content_encoding", "the content encoding must be gzip or identity")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body:
            raise _too_big(self._max_body)
        return route, content_type == _JSON, encoding == b"gzip"


class _Body:
    """A request's body: read, inflated and bounded as it comes in."""

    def __init__(self, budget: Budget, limit: int, gzip: bool) -> None:
        self._budget = budget
        self._limit = limit
        self._taken = 0
        self._inflate = zlib.decompressobj(_GZIP) if gzip else None
        self._members = 1
        self._parts: list[bytes] = []

    async def read(self, receive: _Receive) -> bytes:
        """Return the whole body."""
        if await self._part(receive):
            # Only bodies in several parts pay for a timeout.
            try:
                await asyncio.wait_for(self._rest(receive), _BODY_TIMEOUT_S)
            except asyncio.TimeoutError:
                raise _RefusedError(408, "body_timeout", "the body did not arrive in time") from None
        if self._inflate is not None and not self._inflate.eof and self._parts:
            raise RequestError("the gzip body is truncated")
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def release(self) -> None:
        """Give its bytes back to the budget."""
        self._budget.release(self._taken)
        self._taken = 0

    async def _rest(self, receive: _Receive) -> None:
        while await self._part(receive):
            pass

    async def _part(self, receive: _Receive) -> bool:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        part: bytes = message.get("body", b"")
        if part:
            self._add(part)
        return bool(message.get("more_body", False))

    def _add(self, part: bytes) -> None:
        if self._inflate is None:
            self._keep(part)
        while part and self._inflate is not None:
            try:
                self._keep(self._inflate.decompress(part, self._limit - self._taken + 1))
            except zlib.error:
                raise RequestError("the body is not gzip") from None
            part = self._inflate.unconsumed_tail
            if self._inflate.eof and (part := self._inflate.unused_data):
                self._inflate = zlib.decompressobj(_GZIP)  # another member
                self._members += 1
                if self._members > _MEMBERS:
                    raise RequestError(f"the gzip body has more than {_MEMBERS} members")

    def _keep(self, data: bytes) -> None:
        if self._taken + len(data) > self._limit:
            raise _too_big(self._limit)
        if not self._budget.take(len(data)):
            raise _RefusedError(429, "busy", "too many bytes are in flight; send it again")
        self._taken += len(data)
        self._parts.append(data)


def _too_big(limit: int) -> _RefusedError:
    return _RefusedError(413, "too_big", f"the body is bigger than {limit} bytes (after decompression)")


async def _send(send: _Send, status: int, message: Any, json: bool) -> None:
    body = json_format.MessageToJson(message).encode() if json else message.SerializeToString()
    headers = [(b"content-type", _JSON if json else _PROTOBUF), (b"content-length", str(len(body)).encode())]
    if status == 429:
        headers.append(_RETRY_AFTER)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def logs_response(answer: AcceptResult) -> ExportLogsServiceResponse:
    """Return the answer to a logs request, in both transports."""
    response = ExportLogsServiceResponse()
    if answer.rejected:
        response.partial_success.rejected_log_records = answer.rejected
        response.partial_success.error_message = answer.message
    return response


def traces_response(answer: AcceptResult) -> ExportTraceServiceResponse:
    """Return the answer to a traces request, in both transports."""
    response = ExportTraceServiceResponse()
    if answer.rejected:
        response.partial_success.rejected_spans = answer.rejected
        response.partial_success.error_message = answer.message
    return response


def metrics_response(answer: AcceptResult) -> ExportMetricsServiceResponse:
    """Return the answer to a metrics request, in both transports."""
    return ExportMetricsServiceResponse()
