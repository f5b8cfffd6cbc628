"""A short way to the values that differ in each record: ages, ratios, ids, sequences.

An attribute whose value has a fixed size (a double, 16 hex digits, a UUID as text, a small int) is encoded as a head
that never changes, which protobuf itself writes for us here, and the bytes of the value behind it. So length and head
tell which attribute it is and where its value starts. What does not fit exactly goes the general way (`layout.FIELDS`).
"""

from __future__ import annotations

import struct
from binascii import unhexlify
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from . import values
from .layout import FIELDS
from .proto import AnyValue, KeyValue

_double = struct.Struct("<d").unpack_from


def _number(raw: bytes) -> float | None:
    value: float = _double(raw, -8)[0]
    return value if -1e300 < value < 1e300 else None


def _nanoseconds(raw: bytes) -> int | None:
    value: float = _double(raw, -8)[0]
    return int(value * 1e9) if 0.0 <= value <= 1e8 else None


def _span_id(raw: bytes) -> bytes | None:
    try:
        return unhexlify(raw[-16:])
    except ValueError:
        return None


def _text(size: int) -> Callable[[bytes], str | None]:
    def text(raw: bytes) -> str | None:
        try:
            return raw[-size:].decode()
        except UnicodeDecodeError:
            return None

    return text


def _two_bytes(raw: bytes) -> int | None:
    low, high = raw[-2:]
    return (low & 127) | high << 7 if low > 127 > high else None  # protobuf's variable-size int


def _three_bytes(raw: bytes) -> int | None:
    low, middle, high = raw[-3:]
    return (low & 127) | (middle & 127) << 7 | high << 14 if low > 127 < middle and high < 128 else None


_DOUBLE = AnyValue(double_value=1.0)
_FORMS: dict[values.Reader, list[tuple[int, Any, Callable[[bytes], Any]]]] = {
    # Of each reader: the value's size, a value of that size, how to read it.
    values.nanoseconds: [(8, _DOUBLE, _nanoseconds)],
    values.number: [(8, _DOUBLE, _number)],
    values.span_id: [(16, AnyValue(string_value="0" * 16), _span_id)],
    values.text: [(size, AnyValue(string_value="0" * size), _text(size)) for size in (16, 32, 36)],
    values.count: [(2, AnyValue(int_value=1 << 7), _two_bytes), (3, AnyValue(int_value=1 << 14), _three_bytes)],
}


class Form(NamedTuple):
    """One size of one attribute."""

    head: bytes
    slot: int
    convert: Callable[[bytes], Any]
    """Reads the value off the end of the attribute; None: it does not fit after all."""


def _forms() -> Iterator[tuple[int, Form]]:
    for name, field in FIELDS.items():
        if not field.repeats:
            for size, sample, convert in _FORMS.get(field.read, ()):
                raw = KeyValue(key=name, value=sample).SerializeToString()
                yield len(raw), Form(raw[:-size], field.slot, convert)


_LONGEST = 128
BY_LENGTH = [tuple(form for length, form in _forms() if length == wanted) for wanted in range(_LONGEST)]


def form_of(raw: bytes) -> Form | None:
    """Return the form of an attribute in its wire bytes; None: go the general way."""
    if len(raw) < _LONGEST:
        for form in BY_LENGTH[len(raw)]:
            if raw.startswith(form.head):
                return form
    return None
