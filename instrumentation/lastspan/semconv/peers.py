"""Names of few values for what has many: `/orders/17` and `/orders/18` are one path, `db-1` and `db-2` one peer.

Workers keep durations by them and the collector asks for what was learned by them, so both use these functions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

ID: Final = "{id}"
_ADDRESS: Final = "{ip}"
_MAX: Final = 120
_HOST_MAX: Final = 80
_KEPT: Final = 1024
_WORD: Final = re.compile(r"[0-9A-Za-z]+(?:[-_][0-9A-Za-z]+)*")
_NUMBER: Final = re.compile(r"(?<=[-_])\d+(?=[-_]|$)")
_IDS: Final = re.compile(r"\d+|[0-9a-f]{8,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_RPC: Final = frozenset(
    {"grpc", "connect_rpc", "jsonrpc", "apache_dubbo", "dubbo", "dotnet_wcf", "java_rmi", "onc_rpc"}
)
_LONG: Final = 20
"""So many letters and digits are no word."""
_IP: Final = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}|\[?[0-9a-f]*:[0-9a-f:.]*\]?(?::\d+)?", re.IGNORECASE)


def template(text: str) -> str:
    """Return a name with `{id}` for each number, UUID, digest or token in it; at most 120 characters."""
    return _template(text[: 4 * _MAX])


@lru_cache(_KEPT)
def _template(text: str) -> str:
    return _WORD.sub(_word, text)[:_MAX]


def _word(match: re.Match[str]) -> str:
    word = match[0]
    has_digits = any(letter.isdigit() for letter in word)
    if not has_digits:
        return word
    if _IDS.fullmatch(word) or (len(word) >= _LONG and "_" not in word):
        return ID
    return _NUMBER.sub(ID, word)


def peer(attributes: Mapping[str, object]) -> str:
    """Return whom a span calls, by its attributes of either generation; empty: nobody, or not known."""
    of = attributes.get
    system = of("db.system.name") or of("db.system") or of("rpc.system")
    return named(system, of("server.address") or of("net.peer.name") or of("url.full") or of("http.url"))


def named(system: object, host: object) -> str:
    """Name a peer by the system that a call speaks and its host or URL: `http api.example`, `db redis cache-{id}`."""
    if not system and not host:
        return ""
    address = str(host or "")  # of a URL no more is kept, for its path has ids and its user may have a password
    host = host_of(address) if "://" in address else address
    return _named(str(system or "")[:_HOST_MAX], host[: 2 * _HOST_MAX])  # short: they are kept


def kind_of(peer: str) -> str:
    """Return what a peer as `named` is called by: http, rpc, db; empty: nobody is."""
    return peer.partition(" ")[0]


def host_of(url: str) -> str:
    """Return host and port of a URL, without its user and password."""
    authority = url.partition("://")[2].partition("/")[0].partition("?")[0]
    return authority.rpartition("@")[2]


@lru_cache(_KEPT)
def _named(system: str, host: str) -> str:
    host = host.partition(":")[0] if host.count(":") == 1 else host
    known = _ADDRESS if _IP.fullmatch(host) else template(host[:_HOST_MAX].lower())
    kind = "http" if not system else "rpc" if system in _RPC else "db"
    return " ".join(part for part in (kind, system, known) if part)
