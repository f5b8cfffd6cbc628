"""What a span calls: its live attributes, and the kind that follows from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lastspan.semconv.attributes import CALL_ATTRIBUTES, STABLE_NAMES
from lastspan.semconv.peers import peer

from ..model.records import NO_CALL, Call, Kind
from .values import RecordError, scalar

Pair = tuple[str, str | int | float | bool]


def call(pairs: Iterable[Pair], timeout_ns: int | None = None, unbounded: bool = False) -> Call:
    """Return the call that *pairs* (stable names) describe."""
    attributes = tuple(pairs)
    told = dict(attributes)
    return Call(attributes, kind(set(told)), timeout_ns, unbounded, peer(told))


def kind(names: set[str]) -> Kind:
    """Return what a span with attributes of these (stable) names does."""
    if "db.system.name" in names:  # first: some databases speak HTTP
        return Kind.DB
    if any(name.startswith(("http.", "url.")) for name in names):
        return Kind.HTTP
    return Kind.OTHER


def foreign_call(attributes: Iterable[Any]) -> Call:
    """Return the call of a span as its own SDK exports it: old names too, and values that nobody has made safe."""
    found: dict[str, str | int | float | bool] = {}
    for pair in attributes:
        name = STABLE_NAMES.get(pair.key, pair.key)
        if name in CALL_ATTRIBUTES:
            try:
                found[name] = _safe(name, scalar(pair.value))
            except RecordError:
                continue
    return call(sorted(found.items())) if found else NO_CALL


def _safe(name: str, value: str | int | float | bool) -> str | int | float | bool:
    if name == "url.full" and isinstance(value, str):
        scheme, separator, rest = value.partition("://")
        rest = rest.split("?", 1)[0].split("#", 1)[0]
        return scheme + separator + rest.rsplit("@", 1)[-1] if separator else ""
    return value[:1024] if isinstance(value, str) else value
