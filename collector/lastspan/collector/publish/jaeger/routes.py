"""The routes below `/jaeger`: Jaeger's `/api`, and `/api/v3`."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..jobs import Wall
from ..view import View
from . import find, otlp, query
from .shapes import JaegerAnswer, JaegerProblem, JaegerTrace
from .summaries import Summaries, summary

_json = msgspec.json.Encoder()
_UNKNOWN = "trace not found"
_PREFIX = "/jaeger/api"

Ask = Callable[[Request], Response]


def routes(view: View, wall: Wall) -> list[Route]:
    """Return the routes over what is known."""
    return [*_classic(view, wall), *_v3(view, wall)]


def _classic(view: View, wall: Wall) -> list[Route]:
    def services(request: Request) -> Response:
        found = find.services(view)
        return _answer(JaegerAnswer(found, total=len(found)))

    def names(request: Request) -> Response:
        found = sorted({one.name for one in find.operations(view, request.path_params["service"])})
        return _answer(JaegerAnswer(found, total=len(found)))

    def operations(request: Request) -> Response:
        service = _required(request, "service")
        found = find.operations(view, service, request.query_params.get("spanKind", ""))
        return _answer(JaegerAnswer(found, total=len(found)))

    def traces(request: Request) -> Response:
        found = find.search(view, query.search(request.query_params), wall)
        return _answer(JaegerAnswer(found))

    def trace(request: Request) -> Response:
        found = _find(request, view, wall)
        if found is None:
            return _answer(JaegerAnswer(None, errors=[JaegerProblem(404, _UNKNOWN)]), 404)
        return _answer(JaegerAnswer([found]))

    def dependencies(request: Request) -> Response:
        return _answer(JaegerAnswer([]))

    asks: dict[str, Ask] = {
        "/services": services,
        "/services/{service:path}/operations": names,
        "/operations": operations,
        "/traces": traces,
        "/traces/{trace_id}": trace,
        "/dependencies": dependencies,
    }
    return [_route(path, ask, _refuse) for path, ask in asks.items()]


def _v3(view: View, wall: Wall) -> list[Route]:
    def services(request: Request) -> Response:
        return _answer({"services": find.services(view)})

    def operations(request: Request) -> Response:
        kind = request.query_params.get("spanKind") or request.query_params.get("span_kind", "")
        return _answer({"operations": find.operations(view, _required(request, "service"), kind)})

    def traces(request: Request) -> Response:
        return _answer(otlp.result(find.search(view, query.search_v3(request.query_params), wall)))

    def trace(request: Request) -> Response:
        found = _find(request, view, wall)
        return _refuse_v3(404, _UNKNOWN) if found is None else _answer(otlp.result([found]))

    def summaries(request: Request) -> Response:
        found = find.search(view, query.search_v3(request.query_params), wall)
        return _answer(Summaries([summary(one) for one in found]))

    def dependencies(request: Request) -> Response:
        return _answer({"dependencies": []})

    asks: dict[str, Ask] = {
        "/services": services,
        "/operations": operations,
        "/traces": traces,
        "/traces/{trace_id}": trace,
        "/trace-summaries": summaries,
        "/dependencies": dependencies,
    }
    return [_route("/v3" + path, ask, _refuse_v3) for path, ask in asks.items()]


def _find(request: Request, view: View, wall: Wall) -> JaegerTrace | None:
    return find.one(view, query.trace_id(request.path_params["trace_id"]), wall)


def _required(request: Request, name: str) -> str:
    value = request.query_params.get(name, "")
    if not value:
        raise ValueError(f"parameter '{name}' is required")
    return value


def _route(path: str, ask: Ask, refuse: Callable[[int, str], Response]) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return ask(request)
        except ValueError as problem:
            return refuse(400, str(problem))

    return Route(_PREFIX + path, endpoint)


def _refuse(status: int, message: str) -> Response:
    return _answer(JaegerAnswer(None, errors=[JaegerProblem(status, message)]), status)


def _refuse_v3(status: int, message: str) -> Response:
    return _answer(otlp.problem(status, HTTPStatus(status).phrase, message), status)


def _answer(content: object, status: int = 200) -> Response:
    return Response(_json.encode(content), status, media_type="application/json")
