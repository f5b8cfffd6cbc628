"""The web port: API, metrics, health, pages, open traces."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ..model.records import State
from . import jaeger, pages
from .jobs import find_job, job_view, list_jobs
from .learned import (
    Imported,
    LearnedForgotten,
    LearnedStore,
    export_learned,
    forget_learned,
    import_learned,
    list_learned,
)
from .metrics import CONTENT_TYPE, render
from .shapes import Error, FindingList
from .status import status
from .view import View

_LIMIT = 1000
_MAX_BODY = 32 << 20
_json = msgspec.json.Encoder()


def web_app(
    view: View,
    store: LearnedStore,
    *,
    ready: Callable[[], bool],
    wall: Callable[[], float] = time.time,
    elsewhere: pages.ExternalLinks = pages.NO_LINKS,
) -> Starlette:
    """Return the application of the web port; *store*: what it may change; *elsewhere*: where its pages lead to."""

    async def jobs(request: Request) -> Response:
        query = request.query_params
        state, limit = query.get("state") or None, query.get("limit", str(_LIMIT))
        if state is not None and state not in {member.value for member in State}:
            return _error(400, f"state: {state!r} is not one of {', '.join(member.value for member in State)}")
        if not limit.isdecimal():
            return _error(400, f"limit: {limit!r} is not a number")
        found = list_jobs(
            view,
            state=state,
            job_name=query.get("job_name") or None,
            service=query.get("service") or None,
            limit=min(int(limit[:6]), 10 * _LIMIT),
            wall=wall,
        )
        return _answer(found)

    async def one_job(request: Request) -> Response:
        ref = request.path_params["ref"]
        job = find_job(view, ref)
        if job is None:
            return _error(404, f"no job {ref!r} is open or has ended lately")
        return _answer(job_view(view, job, wall=wall))

    async def lint(request: Request) -> Response:
        return _answer(FindingList(view.findings()))

    async def state(request: Request) -> Response:
        return _answer(status(view))

    async def learned(request: Request) -> Response:
        query = request.query_params
        of = {"service": query.get("service") or None, "job_name": query.get("job_name") or None}
        if request.method == "POST":
            if request.headers.get("content-type", "").partition(";")[0] != "application/json":
                return _error(415, "Content-Type: application/json is needed")  # no other site's page can send that
            try:
                return _answer(Imported(import_learned(store, await _body(request))))
            except ValueError as problem:
                return _error(400, str(problem))
        if request.method == "DELETE":
            return _answer(LearnedForgotten(forget_learned(view, store, **of)))
        return _answer((export_learned if query.get("form") == "export" else list_learned)(view, **of))

    async def metrics(request: Request) -> Response:
        return Response(await render(view, wall=wall), media_type=CONTENT_TYPE)

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        return PlainTextResponse("ready\n") if ready() else PlainTextResponse("stopping\n", 503)

    async def unknown(request: Request, problem: Exception) -> Response:
        return _error(404, f"nothing is at {request.url.path}")

    return Starlette(
        routes=[
            Route("/api/v1/jobs", jobs),
            Route("/api/v1/jobs/{ref:path}", one_job),
            Route("/api/v1/lint", lint),
            Route("/api/v1/status", state),
            Route("/api/v1/learned", learned, methods=["GET", "POST", "DELETE"]),
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            *jaeger.routes(view, wall),
            *pages.routes(view, wall, elsewhere),
        ],
        exception_handlers={404: unknown},
    )


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY:
            raise ValueError(f"more than {_MAX_BODY >> 20} MiB")
    return bytes(body)


def _answer(content: object, status: int = 200) -> Response:
    return Response(_json.encode(content), status, media_type="application/json")


def _error(status: int, message: str) -> Response:
    return _answer(Error(message), status)
