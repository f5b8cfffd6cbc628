"""`/runbooks/{alert}`: what to do about an alert, as a page; the text lies beside the alerts."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from typing import Final

from markdown_it import MarkdownIt
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

_NAME: Final = re.compile(r"Lastspan[A-Za-z]{1,60}")
_STYLE: Final = "body{font:16px/1.6 sans-serif;max-width:44em;margin:2em auto;padding:0 1em}code{background:#8882}"


async def runbook(request: Request) -> Response:
    """Answer with the runbook of an alert."""
    found = page(request.path_params["alert"])
    return PlainTextResponse("no runbook of this name\n", 404) if found is None else HTMLResponse(found)


@lru_cache(maxsize=64)  # names that are not there are asked for too
def page(alert: str) -> str | None:
    """Return the runbook of an alert as HTML; None: there is none."""
    if not _NAME.fullmatch(alert):
        return None
    source = files("lastspan.alerts").joinpath("runbooks", f"{alert}.md")
    if not source.is_file():
        return None
    body = MarkdownIt().render(source.read_text(encoding="utf-8"))
    body = re.sub(r"<h3>(\w+)</h3>", r'<h3 id="\1">\1</h3>', body)  # a cause: pages link to it
    return f"<!doctype html><meta charset=utf-8><title>{alert}</title><style>{_STYLE}</style>{body}"
