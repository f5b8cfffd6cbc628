"""What may leave the worker: allow-listed by name, without secrets, valid UTF-8, and short.

When in doubt, less: a statement that cannot be read safely is cut or left out.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from lastspan.semconv import attributes as a
from lastspan.semconv.attributes import CALL_ATTRIBUTES, STABLE_NAMES
from lastspan.semconv.peers import ID
from lastspan.semconv.redaction import SQL, STATEMENT_MAX, STATEMENT_READ_MAX, TEXT_MAX, UNKNOWN_SQL, statement, text

__all__ = [
    "STATEMENT_MAX",
    "TEXT_MAX",
    "Value",
    "call_attributes",
    "route",
    "span_name",
    "statement",
    "text",
    "url",
]

Value: TypeAlias = "str | int | float | bool"

URL_MAX: Final = 1024
_URL_READ_MAX: Final = 4 * URL_MAX
_SENT: Final = CALL_ATTRIBUTES | {a.LOCK_NAME, a.LOCK_KIND, a.LOCK_KEY, a.CALL_TIMEOUT, a.CALL_UNBOUNDED}
"""Also what our own spans of lock libraries say of the wait; application code may say it of its own locks."""
_PLAIN: Final = (
    r"(?:v\d{1,2}(?:alpha|beta)\d{0,2}|(?:[a-z]{1,24}|[A-Z]{1,24}|(?:[A-Z]?[a-z]{2,12}){1,4})\d{0,3}|\d{1,9})"
)
_WORDS: Final = re.compile(rf"(?:\{{\w{{1,40}}\}}|…|{_PLAIN}(?:[-_.]{_PLAIN}){{0,5}})?", re.ASCII)
"""A part of a path: words, numbers, a name in a template; random text is none, for it has digits amid letters."""
_PATH_END: Final = re.compile(";|://")
"""A session's id, or a URL inside of a URL."""
_VERBS: Final = "select insert update delete merge replace upsert with values call exec execute copy set"
_QUERY_BEGINS: Final = frozenset((*_VERBS.split(), *_VERBS.upper().split()))


def url(value: object) -> str | None:
    """Return scheme, host, port and path: no user, password, query or fragment. None: not to be read."""
    whole = str(value)
    if len(whole) > _URL_READ_MAX:
        whole = whole.partition("?")[0]
    if len(whole) > _URL_READ_MAX:  # cut, a user's name would look like a host's
        return None
    try:
        parts = urlsplit(whole)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not parts.scheme or not host:
        return None
    host = f"[{host}]" if ":" in host else host
    path = _PATH_END.split(parts.path, maxsplit=1)[0]
    return text(f"{parts.scheme}://{host}{f':{port}' if port else ''}{path}", URL_MAX)


def route(target: str) -> str:
    """Return host and path, with `{id}` for each part of the path that is no plain word or number.

    It may be a key to the service (`/bot123:AAHdq/send`), and stands on pages that many see.
    """
    host, *parts = target.split("/")
    return "/".join([host, *(part if _WORDS.fullmatch(part) else ID for part in parts)])


def span_name(name: object, system: str = "") -> str:
    """Return a span's name without what it may have copied from a URL or a query.

    By the name alone, so that a span is called the same while it is open and when it has ended; *system* of a
    database that is not SQL only shortens it.
    """
    raw = text(name, STATEMENT_READ_MAX)
    if system and system.lower() not in SQL and _may_hold_values(raw):
        return statement(raw, system)
    return _name(raw)


@functools.lru_cache(256)
def _name(raw: str) -> str:
    if "://" in raw:
        raw = " ".join(url(word) or "…" if "://" in word else word for word in raw.split())
    return text(statement(raw, UNKNOWN_SQL) if _may_hold_values(raw) else raw)


def _may_hold_values(name: str) -> bool:
    """Is it a query? Then it begins like one, or has a quote."""
    return "'" in name or '"' in name or "/*" in name or (name.split(None, 1) or [""])[0] in _QUERY_BEGINS


def call_attributes(attributes: Mapping[str, object]) -> dict[str, Value]:
    """Return the allow-listed attributes of a call under their stable names; the stable one wins over the older."""
    system = str(attributes.get("db.system.name") or attributes.get("db.system") or "")
    found: dict[str, Value] = {}
    for name, value in attributes.items():
        stable = STABLE_NAMES.get(name, name)
        if stable not in _SENT or (stable != name and stable in attributes):
            continue
        cleaned = _call_value(stable, value, system)
        if cleaned is not None:
            found[stable] = cleaned
    return found


def _call_value(name: str, value: object, system: str) -> Value | None:
    if name == "url.full":
        return url(value)
    if name in {"db.query.text", "db.query.summary", "db.operation.name"}:
        return statement(value, system)
    if isinstance(value, bool | int | float):
        return value
    return text(value) if isinstance(value, str) else None
