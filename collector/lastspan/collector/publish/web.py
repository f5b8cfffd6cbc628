"""The web port: API, metrics, health, and a plain page."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..model import State
from ..pipeline import Pipeline
from . import jaeger
from .metrics import CONTENT_TYPE, render
from .status import status
from .views import find_job, list_jobs, view

_LIMIT = 1000
_json = msgspec.json.Encoder()


def web_app(pipeline: Pipeline, *, ready: Callable[[], bool], wall: Callable[[], float] = time.time) -> Starlette:
    """Return the application of the web port."""

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

    async def page(request: Request) -> Response:
        return HTMLResponse(_page(pipeline, wall))

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
            Route("/", page),
        ],
        exception_handlers={404: unknown},
    )


def _answer(content: object, status: int = 200) -> Response:
    return Response(_json.encode(content), status, media_type="application/json")


def _error(status: int, message: str) -> Response:
    return _answer({"error": message}, status)


def _page(pipeline: Pipeline, wall: Callable[[], float]) -> str:
    found = list_jobs(pipeline, state=None, job_name=None, service=None, limit=200, wall=wall)
    rows = "".join(
        f"<tr><td>{escape(job.state)}<td>{escape(job.job_name)}<td><a href='/api/v1/jobs/{job.job_key}'>"
        f"{escape(job.job_id)}</a><td>{escape(job.last_span.name)}<td>{escape(job.cause_text or '')}"
        for job in found.jobs
    )
    return (
        "<!doctype html><meta charset=utf-8><title>lastspan</title><h1>lastspan</h1>"
        f"<table><tr><th>state<th>job<th>id<th>last span<th>why{rows}</table>"
    )
