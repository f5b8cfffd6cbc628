"""What the memory holds, as bytes: a row is some frames, a frame is what was observed or saved at one time.

Each entry is written with the name of its structure, and each structure with the names of its fields, so a later
lastspan, whose structures have other fields, reads what it still knows. Written as MessagePack (https://msgpack.org) by
msgspec, and deflated: names, and what entries share, come again and again; zlib's checksum finds what is damaged.

Pure: entries in, bytes out, and back.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from ..model.records import Call, JobType, Resource, Signal
from ..track import Saved

Entry = Signal | Saved

_LEVEL = 1
_KNOWN = 65_536
"""Shared things that a reader remembers before it forgets them all."""
_SHARED: tuple[type, ...] = (Resource, JobType, Call, str)
"""What is one object for all entries in which it is equal: the tracker compares it by `is`, and it saves memory."""


class DamageError(Exception):
    """A row is not as it was written."""


def encode(entries: Iterable[Entry], *, wall_ns: int) -> bytes:
    """Return a frame: what was observed or saved at a time by the wall clock."""
    return _encode((wall_ns, [(type(entry).__name__, entry) for entry in entries]))


def pack(frames: Iterable[bytes]) -> bytes:
    """Return the row that holds these frames."""
    return zlib.compress(_encode([msgspec.Raw(frame) for frame in frames]), _LEVEL)


class Reader:
    """Reads rows."""

    def __init__(self) -> None:
        self._known: dict[bytes, Any] = {}
        """What is shared, by how it is written."""

    def frames(self, row: bytes) -> list[tuple[int, list[Entry]]]:
        """Return the frames of a row. DamageError: it is damaged."""
        try:
            frames = _decode(zlib.decompress(row))
        except (zlib.error, msgspec.DecodeError) as problem:
            raise DamageError(str(problem)) from None
        if len(self._known) > _KNOWN:
            self._known.clear()
        return [(wall_ns, self._entries(entries)) for wall_ns, entries in frames]

    def _entries(self, named: list[tuple[str, msgspec.Raw]]) -> list[Entry]:
        return [entry for name, raw in named if (entry := self._entry(name, raw)) is not None]

    def _entry(self, name: str, raw: msgspec.Raw) -> Any:
        """Return an entry; None: this version does not know its kind, or a value in it."""
        decode = _ENTRIES.get(name)
        try:
            return None if decode is None else self._made(decode(raw))
        except msgspec.ValidationError:
            return None

    def _made(self, stored: Any) -> Any:
        shape, known = _SHAPES[type(stored)], self._known
        values = list(msgspec.structs.astuple(stored))
        for place, decode in shape.shared:
            if type(values[place]) is msgspec.Raw:  # else it was not written, and has its default
                raw = bytes(values[place])
                value = known.get(raw, _NEW)
                if value is _NEW:
                    value = known[raw] = decode(raw)
                values[place] = value
        for place in shape.parts:
            part = values[place]
            if part:
                many = type(part) is tuple
                values[place] = tuple(self._made(one) for one in part) if many else self._made(part)
        return shape.cls(*values)


_NEW = object()


class _Shape:
    """How a structure is read: as another one, in which what is shared is still bytes."""

    def __init__(self, cls: Any) -> None:
        hints = get_type_hints(cls)
        fields: list[tuple[Any, ...]] = []
        self.cls = cls
        self.shared: list[tuple[int, Callable[[bytes], Any]]] = []
        """Places, and what reads each."""
        self.parts: list[int] = []
        """Places of other structures, or tuples of them."""
        for place, field in enumerate(msgspec.structs.fields(cls)):
            hint = hints[field.name]
            kinds = [kind for kind in _alternatives(hint) if kind is not type(None)]
            inner = get_args(kinds[0])[0] if get_origin(kinds[0]) is tuple else kinds[0]
            is_id = field.name.endswith("_id")  # of its own in most entries
            if len(kinds) == 1 and kinds[0] in _SHARED and not is_id:
                self.shared.append((place, _decoder(hint)))
                hint = msgspec.Raw
            elif isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                self.parts.append(place)
                stored: Any = _shape(inner).stored
                hint = (stored if inner is kinds[0] else tuple[stored, ...]) | None
            defaults: Any = {"default": field.default, "default_factory": field.default_factory}
            fields.append((field.name, hint, msgspec.field(**defaults)))
        self.stored: Any = msgspec.defstruct(cls.__name__, fields)


@cache
def _shape(cls: Any) -> _Shape:
    shape = _Shape(cls)
    _SHAPES[shape.stored] = shape
    return shape


@cache
def _decoder(hint: Any) -> Callable[[bytes], Any]:
    return msgspec.msgpack.Decoder(hint).decode


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


_SHAPES: dict[type, _Shape] = {}
_ENTRIES = {cls.__name__: _decoder(_shape(cls).stored) for cls in get_args(Entry)}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[int, list[tuple[str, msgspec.Raw]]]]).decode
