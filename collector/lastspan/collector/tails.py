"""A short way to the values that differ in each record: ages, ratios, ids.

An attribute whose value has a fixed size (a double, 16 hex digits, a UUID as text) is encoded as a head that never
changes, which protobuf itself writes for us here, and the value's bytes behind it. So one dict lookup tells which
attribute it is and where the value starts. Whatever does not fit exactly goes the general way (`layout.FIELDS`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from . import values
from .layout import FIELDS
from .proto import AnyValue, KeyValue

_double = struct.Struct("<d").unpack


def _number(tail: bytes) -> float | None:
    (value,) = _double(tail)
    return value if -1e300 < value < 1e300 else None


def _nanoseconds(tail: bytes) -> int | None:
    (value,) = _double(tail)
    return int(value * 1e9) if 0.0 <= value <= 1e8 else None


def _span_id(tail: bytes) -> bytes | None:
    try:
        result = bytes.fromhex(tail.decode("ascii"))
    except ValueError:
        return None
    return result if len(result) == 8 else None  # fromhex skips spaces


def _text(tail: bytes) -> str | None:
    try:
        return tail.decode()
    except UnicodeDecodeError:
        return None


_Heads = dict[bytes, tuple[int, Callable[[bytes], Any]]]


def _heads(size: int, read: values.Reader, sample: Any, convert: Callable[[bytes], Any]) -> _Heads:
    """Return the heads of all attributes of one reader that differ in each record."""
    return {
        KeyValue(key=name, value=sample).SerializeToString()[:-size]: (field.slot, convert)
        for name, field in FIELDS.items()
        if field.read is read and not field.repeats
    }


_DOUBLE = AnyValue(double_value=1.0)
_HEADS_8 = _heads(8, values.nanoseconds, _DOUBLE, _nanoseconds) | _heads(8, values.number, _DOUBLE, _number)
_HEADS_16 = _heads(16, values.span_id, AnyValue(string_value="0" * 16), _span_id)
_HEADS_36 = _heads(36, values.text, AnyValue(string_value="0" * 36), _text)


def find(raw: bytes) -> tuple[int, Any] | None:
    """Return slot and value of an attribute in its wire bytes; None: go the general way."""
    found, tail = _HEADS_8.get(raw[:-8]), -8
    if found is None:
        found, tail = _HEADS_16.get(raw[:-16]), -16
        if found is None:
            found, tail = _HEADS_36.get(raw[:-36]), -36
            if found is None:
                return None
    slot, convert = found
    value = convert(raw[tail:])
    return None if value is None else (slot, value)
