"""Attribute values: from wire bytes to Python, each checked for kind, range and size."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from lastspan.semconv.vocabulary import Word

W = TypeVar("W", bound=Word)

MAX_TEXT = 4096
"""Characters of one attribute; stacks have a limit of their own (`Limits.evidence_bytes`)."""
MAX_BRIEF = 512
"""Characters of what only people read: more is cut off."""
MAX_LIST = 64
"""Strings of a list of names: more are left out."""
_MAX_SECONDS = 10 * 365 * 86400.0

Reader: TypeAlias = Callable[[Any], Any]
"""Makes a Python value of an `AnyValue`, or refuses its record."""


class RecordError(Exception):
    """One record cannot be used; the rest of its batch can."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        """A few fixed words, for the counter."""


class RequestError(Exception):
    """The request as a whole is not OTLP."""


def text(value: Any) -> str:
    """Return a string of reasonable length."""
    result: str = value.string_value
    if not result:
        _expect(value, "string_value")
    if len(result) > MAX_TEXT:
        raise RecordError("oversized", f"a string of {len(result)} characters (limit {MAX_TEXT})")
    return result


def brief(value: Any) -> str:
    """Return the beginning of a string."""
    return long_text(value)[:MAX_BRIEF]


def long_text(value: Any) -> str:
    """Return a string; the caller limits it."""
    result: str = value.string_value
    if not result:
        _expect(value, "string_value")
    return result


def integer(value: Any) -> int:
    """Return an int."""
    result: int = value.int_value
    if not result:
        _expect(value, "int_value")
    return result


def count(value: Any) -> int:
    """Return an int of at least 0."""
    result = integer(value)
    if result < 0:
        raise RecordError("bad_number", f"{result} is negative")
    return result


def flag(value: Any) -> bool:
    """Return a bool."""
    result: bool = value.bool_value
    if not result:
        _expect(value, "bool_value")
    return result


def number(value: Any) -> float:
    """Return a finite float; an int will do."""
    result: float = value.double_value
    if not result and value.WhichOneof("value") != "double_value":
        return float(integer(value))
    if not math.isfinite(result):
        raise RecordError("bad_number", f"{result} is not a number to count with")
    return result


def nanoseconds(value: Any) -> int:
    """Return seconds on the wire as nanoseconds, 0 … 10 years."""
    seconds = number(value)
    if seconds < 0:
        raise RecordError("bad_number", f"{seconds} s is negative")
    return int(min(seconds, _MAX_SECONDS) * 1e9)


def span_id(value: Any) -> bytes:
    """Return 16 hex digits as 8 bytes."""
    digits = text(value)
    try:
        result = bytes.fromhex(digits)
    except ValueError:
        result = b""
    if len(result) != 8:
        raise RecordError("bad_id", f"{digits[:40]!r} is not a span id (16 hex digits)")
    return result


def trace_id(value: Any) -> bytes | None:
    """Return 32 hex digits as 16 bytes; None: they are none, and the record is good without."""
    try:
        result = bytes.fromhex(text(value))
    except ValueError:
        return None
    return result if len(result) == 16 else None


def word(kind: type[W], otherwise: W | None = None) -> Reader:
    """Return what reads one of a few words; of others, as a later version may send, it makes *otherwise*."""

    def read(value: Any) -> W | None:
        found = kind.known(long_text(value))
        return otherwise if found is None else found

    return read


def integers(value: Any) -> tuple[int, ...]:
    """Return a list of ints."""
    _expect(value, "array_value")
    return tuple(integer(item) for item in value.array_value.values)


def texts(value: Any) -> tuple[str, ...]:
    """Return a list of strings."""
    _expect(value, "array_value")
    return tuple(text(item) for item in value.array_value.values)


def numbers(value: Any) -> tuple[float, ...]:
    """Return a list of finite floats."""
    _expect(value, "array_value")
    return tuple(number(item) for item in value.array_value.values)


def list_of_texts(value: Any) -> tuple[str, ...]:
    """Return the beginnings of a list's first strings."""
    _expect(value, "array_value")
    return tuple(brief(item) for item in value.array_value.values[:MAX_LIST])


def scalar(value: Any) -> str | int | float | bool:
    """Return whatever scalar it is."""
    match value.WhichOneof("value"):
        case "string_value":
            return text(value)
        case "int_value":
            return integer(value)
        case "double_value":
            return number(value)
        case "bool_value":
            return flag(value)
        case other:
            raise RecordError("wrong_kind", f"{other or 'nothing'} where a scalar belongs")


def _expect(value: Any, kind: str) -> None:
    # A typed field that is not its zero is proof of its kind, so only zeros come here: kinds cost nothing to check.
    if value.WhichOneof("value") != kind:
        found = value.WhichOneof("value") or "nothing"
        raise RecordError("wrong_kind", f"{found} where {kind} belongs")
