"""Reads by a path, through what is stored: `name.0`; and what of it may leave, as text or as a number."""

from __future__ import annotations

from itertools import islice
from typing import Final

from ...guest.redact import TEXT_MAX
from . import values

_ITEMS_MAX: Final = 4


def follow(value: object, path: str) -> object:
    """Return what a path leads to from an object on, an empty one to the object itself; `MISSING`: to nothing."""
    for part in path.split(".") if path else ():
        if value is values.MISSING:
            break
        value = _part(value, part)
    return value


def _part(value: object, part: str) -> object:
    if type(value) is dict:
        return values.element(value, part)
    return values.element(value, int(part)) if part.lstrip("-").isdecimal() else values.attribute(value, part)


def plain(value: object) -> str:
    """Return text for text, numbers, a list of texts, or a dictionary's keys; of anything else nothing."""
    if type(value) is str:
        return value
    if type(value) is bytes:
        return value[:TEXT_MAX].decode("utf-8", "replace")
    if type(value) in (int, float):
        return str(value)
    if type(value) in (list, tuple, dict, set, frozenset):
        items = list(islice(list(value), _ITEMS_MAX))  # type: ignore[call-overload]
        return ", ".join(plain(item) for item in items if type(item) in (str, bytes))
    return ""


def number(value: object) -> float | None:
    """Return a number of seconds."""
    return float(value) if type(value) in (int, float) else None  # type: ignore[arg-type]
