"""OTLP/gRPC: generic handlers that take raw bytes, so that decoding is ours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from ..decode.values import RequestError
from .budget import Budget
from .http import logs_response, metrics_response, traces_response
from .sink import AcceptResult, Sink

TRANSPORT = "grpc"
_DETAILS = "grpc-status-details-bin"


def grpc_server(sink: Sink, *, max_body: int, budget: Budget) -> Any:
    """Return a `grpc.aio` server, not yet bound."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", max_body), ("grpc.so_reuseport", 0)])
    for service, accept, response in (
        ("logs.v1.LogsService", sink.accept_logs, logs_response),
        ("trace.v1.TraceService", sink.accept_traces, traces_response),
        ("metrics.v1.MetricsService", sink.accept_metrics, metrics_response),
    ):
        export = _export(sink, budget, accept, response)
        handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
        name = f"opentelemetry.proto.collector.{service}"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    return server


def _export(
    sink: Sink, budget: Budget, accept: Callable[..., AcceptResult], response: Callable[[AcceptResult], Any]
) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def export(body: bytes, context: Any) -> bytes:
        if not budget.take(len(body)):
            sink.refuse(TRANSPORT, "busy")
            await _abort_busy(context)
        try:
            answer = accept(body, transport=TRANSPORT)
        except RequestError as problem:
            sink.refuse(TRANSPORT, "undecodable")
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(problem))
            raise AssertionError from problem  # abort has raised
        finally:
            budget.release(len(body))
        encoded: bytes = response(answer).SerializeToString()
        return encoded

    return export


async def _abort_busy(context: Any) -> None:
    """Say that it may be sent again: without RetryInfo a client must take RESOURCE_EXHAUSTED as final."""
    message = "too many bytes are in flight; send it again"
    detail = AnyMessage()
    detail.Pack(RetryInfo(retry_delay=Duration(seconds=1)))
    status = Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message=message, details=[detail])
    context.set_trailing_metadata(((_DETAILS, status.SerializeToString()),))
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, message)
