"""The web port: API, metrics, health, pages, open traces."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ..model import State
from ..pipeline import Pipeline
from . import jaeger, pages
from .metrics import CONTENT_TYPE, render
from .status import status
from .views import find_job, list_jobs, view

_LIMIT = 1000
_json = msgspec.json.Encoder()


def web_app(
    pipeline: Pipeline,
    *,
    ready: Callable[[], bool],
    wall: Callable[[], float] = time.time,
    trace_url: str | None = None,
) -> Starlette:
    """Return the application of the web port; *trace_url*: where a job's page finds its trace."""

    async def jobs(request: Request) -> Response:
        query = request.query_params
        state, limit = query.get("state") or None, query.get("limit", str(_LIMIT))
        if state is not None and state not in {member.value for member in State}:
            return _error(400, f"state: {state!r} is none of {', '.join(member.value for member in State)}")
        if not limit.isdecimal():
            return _error(400, f"limit: {limit!r} is not a number")
        found = list_jobs(
            pipeline,
            state=state,
            job_name=query.get("job_name") or None,
            service=query.get("service") or None,
            limit=min(int(limit[:6]), 10 * _LIMIT),
            wall=wall,
        )
        return _answer(found)

    async def one_job(request: Request) -> Response:
        ref = request.path_params["ref"]
        job = find_job(pipeline, ref)
        if job is None:
            return _error(404, f"no job {ref!r} is open or has ended lately")
        return _answer(view(pipeline, job, wall=wall))

    async def lint(request: Request) -> Response:
        return _answer({"findings": pipeline.findings()})

    async def state(request: Request) -> Response:
        return _answer(status(pipeline))

    async def metrics(request: Request) -> Response:
        return Response(await render(pipeline, wall=wall), media_type=CONTENT_TYPE)

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
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            *jaeger.routes(pipeline, wall),
            *pages.routes(pipeline, wall, trace_url),
        ],
        exception_handlers={404: unknown},
    )


def _answer(content: object, status: int = 200) -> Response:
    return Response(_json.encode(content), status, media_type="application/json")


def _error(status: int, message: str) -> Response:
    return _answer({"error": message}, status)
