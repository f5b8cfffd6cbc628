"""Templates, files that browsers keep, and what a browser may do with a page: load our own files, nothing else."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from lastspan.semconv import duration

from ...judge.names import file_line
from ...judge.words import short
from .external_links import runbook
from .headings import heading
from .paths import job_path
from .rows import id_start

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_FOREVER: Final = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_LONG: Final = 300
"""Of a name that somebody else gave; the rest is in the JSON."""
_UNSEEN: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that set the direction of what follows them."""


def _assets() -> dict[str, tuple[str, bytes]]:
    """Return the files by the name that browsers keep them under: it holds a hash of what is in them."""
    found = {}
    for path in files(__package__).joinpath("static").iterdir():
        stem, _, kind = path.name.rpartition(".")
        if kind in _TYPES:
            content = path.read_bytes()
            found[f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{kind}"] = (_TYPES[kind], content)
    return found


_ASSETS: Final = _assets()


def asset(name: str) -> str:
    """Return the path of a file below `static/`."""
    stem, _, kind = name.rpartition(".")
    return "/static/" + next(kept for kept in _ASSETS if kept.startswith(f"{stem}.") and kept.endswith(f".{kind}"))


def _sentence(text: str) -> str:
    """Begin with a capital letter and end with a full stop."""
    return text[:1].upper() + text[1:].rstrip(".") + "." if text else ""


def _ticks(text: str) -> Markup:
    """Show text between `ticks` as code."""
    code = (
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part)
        for index, part in enumerate(text.split("`"))
    )
    return Markup("").join(code)


def _visible(value: object) -> object:
    """Show what cannot be seen, or would turn the text around it, as a replacement character. Markup is ours."""
    return _UNSEEN.sub("\ufffd", value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _engine() -> Environment:
    engine = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    engine.filters |= {
        "took": duration.render,
        "short": short,
        "name": lambda text: short(str(text), _LONG),
        "file_line": file_line,
        "heading": heading,
        "id_start": id_start,
        "sentence": _sentence,
        "ticks": _ticks,
    }
    engine.globals |= {"asset": asset, "job_path": job_path, "runbook": runbook}
    return engine


_ENGINE: Final = _engine()


def page(template: str, context: dict[str, Any], status: int = 200) -> Response:
    """Return a page."""
    return HTMLResponse(_ENGINE.get_template(template).render(context), status, HEADERS)


def text(content: str, status: int = 200) -> Response:
    """Return plain text."""
    return PlainTextResponse(content, status, HEADERS)


async def static(request: Request) -> Response:
    """Answer with a file that browsers may keep."""
    found = _ASSETS.get(request.path_params["name"])
    if found is None:
        return text("no such file\n", 404)
    return Response(found[1], media_type=found[0], headers=_FOREVER)
