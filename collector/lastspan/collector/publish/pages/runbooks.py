"""`/runbooks/{alert}`: what to do about an alert; the text lies beside the alerts."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from typing import Final

from markdown_it import MarkdownIt
from markupsafe import Markup

_NAME: Final = re.compile(r"Lastspan[A-Za-z]{1,60}")


@lru_cache(maxsize=64)  # names that are not there are asked for too
def runbook_text(alert: str) -> Markup | None:
    """Return the runbook of an alert as HTML; None: there is none. It is ours: nothing in it comes from elsewhere."""
    if not _NAME.fullmatch(alert):
        return None
    source = files("lastspan.alerts").joinpath("runbooks", f"{alert}.md")
    if not source.is_file():
        return None
    body = MarkdownIt().render(source.read_text(encoding="utf-8"))
    return Markup(re.sub(r"<h3>(\w+)</h3>", r'<h3 id="\1">\1</h3>', body))  # a cause: pages link to it
