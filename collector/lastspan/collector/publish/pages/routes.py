"""The routes of the pages."""

from __future__ import annotations

import io
from typing import Any

import msgspec
from rich.console import Console
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...api_client import printable
from ...pipeline import Pipeline
from ...story import explanation
from ..metrics import own_version
from ..shapes import JobView
from ..views import Wall, find_job, iso, view
from . import engine
from .filter import from_query
from .incident import incident
from .overview import overview

_TEXT = ".txt"
_WIDTH = 120


def routes(pipeline: Pipeline, wall: Wall, trace_url: str | None) -> list[Route]:
    """Return the routes of `/`, `/jobs/{ref}`, `/jobs/{ref}.txt` and `/static/`."""

    def frame() -> dict[str, Any]:
        return {"now": iso(wall())[11:19], "version": own_version()}

    async def stuck(request: Request) -> Response:
        shown = overview(pipeline, from_query(request.query_params), f"{request.url.scheme}://{request.url.netloc}")
        return engine.page("overview.html", frame() | shown)

    async def one_job(request: Request) -> Response:
        ref = request.path_params["ref"]
        job = find_job(pipeline, ref)
        if job is None and ref.endswith(_TEXT) and (job := find_job(pipeline, ref.removesuffix(_TEXT))) is not None:
            return engine.text(story(view(pipeline, job, wall=wall)))
        if job is None:
            return _unknown(ref, frame())
        return engine.page("job.html", frame() | incident(view(pipeline, job, wall=wall), trace_url))

    return [
        Route("/", stuck),
        Route("/jobs/{ref:path}", one_job),
        Route("/static/{name}", engine.static),
    ]


def story(job: JobView) -> str:
    """Return what `lastspan explain` says of a job."""
    paper = Console(file=io.StringIO(), width=_WIDTH, color_system=None, force_terminal=False, soft_wrap=False)
    told = {name: printable(value) for name, value in msgspec.to_builtins(job).items()}
    with paper.capture() as written:
        paper.print(explanation(told))
    return "\n".join(line.rstrip() for line in written.get().splitlines()) + "\n"


def _unknown(ref: str, frame: dict[str, Any]) -> Response:
    if ref.endswith(_TEXT):
        return engine.text(f"no job {ref.removesuffix(_TEXT)!r} is open or has ended lately\n", 404)
    return engine.page("unknown.html", frame | {"ref": ref}, 404)
