"""The routes of the pages."""

from __future__ import annotations

import io
from typing import Any

import msgspec
from rich.console import Console
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..jobs import Wall, find_job, iso, job_view
from ..shapes import JobView
from ..text.printable import printable
from ..text.story import explanation
from ..text.version import own_version
from ..view import View
from . import engine
from .external_links import ExternalLinks
from .filter import from_query
from .incident import incident
from .overview import overview
from .runbooks import runbook_text

_TEXT = ".txt"
_WIDTH = 120


def routes(view: View, wall: Wall, links: ExternalLinks) -> list[Route]:
    """Return the routes of `/`, `/jobs/{ref}`, `/jobs/{ref}.txt`, `/runbooks/{alert}` and `/static/`."""

    def frame() -> dict[str, Any]:
        grafana = links.dashboard("lastspan-fleet")
        return {"now": iso(wall())[11:19], "version": own_version(), "grafana": grafana}

    async def stuck(request: Request) -> Response:
        shown = overview(view, from_query(request.query_params), f"{request.url.scheme}://{request.url.netloc}")
        return engine.page("overview.html", frame() | shown)

    async def one_job(request: Request) -> Response:
        ref = request.path_params["ref"]
        job = find_job(view, ref)
        if job is None and ref.endswith(_TEXT) and (job := find_job(view, ref.removesuffix(_TEXT))) is not None:
            return engine.text(story(job_view(view, job, wall=wall)))
        if job is None:
            return _unknown(ref, frame())
        told = job_view(view, job, wall=wall)
        return engine.page("job.html", frame() | incident(told, links, alike=_alike(told)))

    def _alike(job: JobView) -> int:
        """Return how many others stopped at the same thing."""
        found = view.incidents().get(job.incident or "")
        return 0 if found is None else len(found.jobs) - 1

    async def runbook(request: Request) -> Response:
        alert = request.path_params["alert"]
        body = runbook_text(alert)
        if body is None:
            return engine.text("no runbook of this name\n", 404)
        return engine.page("runbook.html", frame() | {"alert": alert, "body": body})

    return [
        Route("/", stuck),
        Route("/jobs/{ref:path}", one_job),
        Route("/runbooks/{alert}", runbook),
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
