"""Reads by a path, from a variable of a function on through what is stored: `self.name`, `address.0`."""

from __future__ import annotations

from itertools import islice
from types import FrameType
from typing import Final

from ...guest.redact import TEXT_MAX
from . import values

_ITEMS_MAX: Final = 4


def read(frame: FrameType, path: str) -> object:
    """Return what a path leads to; `MISSING`: the function has no such variable, or nothing is stored there."""
    name, _, rest = path.partition(".")
    code = frame.f_code
    if name not in code.co_varnames and name not in code.co_freevars + code.co_cellvars:
        return values.MISSING
    return follow(values.variable(frame, name), rest)


def follow(value: object, path: str) -> object:
    """Return what a path leads to from an object on; an empty one to the object itself."""
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
