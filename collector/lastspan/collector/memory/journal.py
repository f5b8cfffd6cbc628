"""What the memory holds, as bytes: frames of entries, each guarded by its length and a checksum.

An entry is a signal as it was observed, or something saved (`track.saved`). A file begins with a line that names the
format and its version; its first frame names the fields of every structure, so that a later lastspan, whose structures
have other fields, reads what it still knows. What many entries share (resource, process, job type, call) is written
once and referred to by number. MessagePack: https://msgpack.org; CRC-32 as in zlib.

Pure: bytes in, bytes out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from zlib import crc32

import msgspec

from lastspan.semconv.vocabulary import Word

from ..model.records import Call, JobType, Origin, Resource, Signal
from ..track import Saved

Entry = Signal | Saved

MAGIC = b"lastspan memory 1\n"
_ANY_MAGIC = b"lastspan memory "
_FRAME = struct.Struct("<II")
_FRAME_MAX = 1 << 28
_TABLES = 65_536
"""Shared things that are numbered before all numbers are forgotten."""
_FORGET, _SCHEMA = 0, 1
"""What a row that is no entry says: all numbers are forgotten; the names of the fields."""
_SHARED: tuple[type, ...] = (Resource, Origin, JobType, Call)
_SCALARS = {int, str, bytes, float, bool}

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class FormatError(Exception):
    """A file is not a memory that this version can read; the message says why."""


# --- writing --------------------------------------------------------------------------------------------------------


class Writer:
    """Turns entries into frames of one file."""

    def __init__(self) -> None:
        self._numbers: dict[Any, tuple[int, Any]] = {}
        """Number by identity; what is numbered is held, so that its identity is not another's."""
        self._next = 0
        self._rows: list[Any] = []

    def begin(self) -> bytes:
        """Return the beginning of a file."""
        self._numbers, self._next = {}, 0
        names = {cls.__name__: cls.__struct_fields__ for cls in _CLASSES}
        return MAGIC + _frame(_encode((0, 0, [(_SCHEMA, names)])))

    def frame(self, entries: Iterable[Entry], *, now_ns: int, wall_ns: int) -> bytes:
        """Return one frame: what was observed or saved at a time."""
        if len(self._numbers) > _TABLES:
            self._numbers = {}
            self._rows.append((_FORGET,))
        for entry in entries:
            self._rows.append(self._row(entry))
        rows, self._rows = self._rows, []
        return _frame(_encode((now_ns, wall_ns, rows)))

    def _row(self, value: Any) -> list[Any]:
        shape = _SHAPES[type(value)]
        row = list(shape.values(value))
        for place, is_shared in shape.nested:
            inner = row[place]
            if inner is not None:
                row[place] = self._number(inner) if is_shared else self._inner(inner)
        row.insert(0, shape.tag)
        return row

    def _inner(self, value: Any) -> list[Any]:
        if type(value) is tuple:
            return [self._row(item) for item in value]
        return self._row(value)[1:]

    def _number(self, value: Any) -> Any:
        if type(value) is Origin:
            key = (value.process_id, id(value.resource), value.interval_ns)
            found = self._numbers.get(key)
            if found is None:
                resource = self._number(value.resource)
                found = self._define(key, value, [_TAGS[Origin], resource, value.process_id, value.interval_ns])
            return (found[0], value.sequence)
        found = self._numbers.get(id(value))
        if found is None:
            found = self._define(id(value), value, [_TAGS[type(value)], *_SHAPES[type(value)].values(value)])
        return found[0]

    def _define(self, key: Any, value: Any, row: list[Any]) -> tuple[int, Any]:
        self._next += 1
        self._rows.append(row)
        self._numbers[key] = found = (self._next, value)
        return found


def _frame(payload: bytes) -> bytes:
    return _FRAME.pack(len(payload), crc32(payload)) + payload


# --- reading --------------------------------------------------------------------------------------------------------


class Reader:
    """Reads one file: its frames in order, up to the first that is torn or corrupt."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.good = 0
        """Bytes that could be read so far."""
        self._shared: dict[int, Any] = {}
        self._next = 0
        self._texts: dict[str, str] = {}
        self._makers: list[Callable[[list[Any]], Any]] = []
        """By tag, which is the place of a structure in the schema of the file."""
        self._places: dict[str, int] = {}

    def frames(self) -> Iterator[tuple[int, int, list[Entry]]]:
        """Yield (now_ns, wall_ns, entries). FormatError: the file is not ours, or of a later version."""
        if not self._data.startswith(MAGIC):
            if self._data.startswith(_ANY_MAGIC):
                raise FormatError("was written by a later version of lastspan")
            if MAGIC.startswith(self._data) or not any(self._data):
                return  # torn at its very beginning; zeros are what a power cut leaves of what was not on the disk
            if not self._is_ours():
                raise FormatError("is not lastspan's")
        self.good = len(MAGIC)
        while (payload := self._payload()) is not None:
            now_ns, wall_ns, rows = _decode(payload)
            entries = [entry for row in rows if (entry := self._entry(row)) is not None]
            self.good += _FRAME.size + len(payload)
            yield now_ns, wall_ns, entries

    def _is_ours(self) -> bool:
        """Whether only the first line is corrupt: a frame that is whole stands behind it."""
        self.good = len(MAGIC)
        is_ours = self._payload() is not None
        self.good = 0
        return is_ours

    def _payload(self) -> bytes | None:
        head = self._data[self.good : self.good + _FRAME.size]
        if len(head) < _FRAME.size:
            return None
        length, checksum = _FRAME.unpack(head)
        start = self.good + _FRAME.size
        payload = self._data[start : start + length]
        if len(payload) < length or length > _FRAME_MAX or crc32(payload) != checksum:
            return None
        return payload

    def _entry(self, row: list[Any]) -> Any:
        tag = row[0]
        if tag >= _FIRST_TAG:
            return self._makers[tag - _FIRST_TAG](row) if tag - _FIRST_TAG < len(self._makers) else None
        if tag == _SCHEMA:
            self._learn_schema(row[1])
        else:
            self._shared = {}
        return None

    def _learn_schema(self, schema: dict[str, list[str]]) -> None:
        """Make a maker for each structure, by the names of the fields that it had when this was written."""
        known = {cls.__name__: cls for cls in _CLASSES}
        self._makers, self._places = [], {name: place for place, name in enumerate(schema)}
        for name, fields in schema.items():
            cls = known.get(name)
            if cls is None:
                self._makers.append(_nothing)
            elif cls is Origin:
                self._makers.append(self._origin)
            else:
                make = self._maker(cls, tuple(fields))
                self._makers.append(partial(self._define, make) if cls in _SHARED else make)

    def _origin(self, row: list[Any]) -> None:
        _, resource, process_id, interval_ns = row
        self._next += 1
        self._shared[self._next] = (self._shared[resource], process_id, interval_ns)

    def _define(self, make: Callable[[list[Any]], Any], row: list[Any]) -> None:
        self._next += 1
        self._shared[self._next] = make(row)

    def _maker(self, cls: Any, fields: tuple[str, ...]) -> Callable[[list[Any]], Any]:
        """Return what makes a *cls* of a row whose values are those of *fields*, behind a tag."""
        hints = _SHAPES[cls].hints
        readers = [(place, self._reader(hints[name])) for place, name in enumerate(fields, start=1) if name in hints]
        special = [(place, read) for place, read in readers if read is not None]
        is_same = fields == cls.__struct_fields__

        def make(row: list[Any]) -> Any:
            for place, read in special:
                value = row[place]
                if value is not None:
                    row[place] = read(value)
            if is_same:
                return cls(*row[1:])
            named = dict(zip(fields, row[1:], strict=True))
            return cls(**{name: value for name, value in named.items() if name in hints})

        return make

    def _reader(self, hint: Any) -> Callable[[Any], Any] | None:
        """Return what turns a value as it was written into one of a type; None: it is one."""
        kinds = [kind for kind in _alternatives(hint) if kind is not type(None)]
        kind = kinds[0]
        if kind is Origin:
            return self._read_origin
        if kind in _SHARED:
            return self._read_shared
        if kind is str:
            return self._text
        if isinstance(kind, type) and issubclass(kind, Word):
            return kind.known
        if len(kinds) > 1 or kind in _SCALARS:
            return None
        if _is_struct(kind):
            return self._late(kind)
        if get_origin(kind) is tuple and _is_struct(get_args(kind)[0]):
            read = self._late(get_args(kind)[0], tagged=True)
            return lambda items: tuple(read(item) for item in items)
        return partial(msgspec.convert, type=kind)

    def _late(self, cls: type, *, tagged: bool = False) -> Callable[[Any], Any]:
        """Return the maker of a structure that is part of another: found when it is first asked for."""
        name = cls.__name__
        return lambda row: self._makers[self._places[name]](row if tagged else [0, *row])

    def _read_origin(self, value: list[Any]) -> Origin:
        resource, process_id, interval_ns = self._shared[value[0]]
        return Origin(resource, process_id, value[1], interval_ns)

    def _read_shared(self, number: int) -> Any:
        return self._shared[number]

    def _text(self, value: str) -> str:
        """Return the one copy of a text: names come again and again."""
        if len(self._texts) > _TABLES:
            self._texts = {}
        return self._texts.setdefault(value, value)


def _nothing(row: list[Any]) -> None:
    """Stand for a structure that is known no more."""


# --- shapes -----------------------------------------------------------------------------------------------------------


class _Shape:
    """How one structure is written."""

    def __init__(self, cls: Any) -> None:
        self.tag = _TAGS[cls]
        self.hints: dict[str, Any] = {name: get_type_hints(cls)[name] for name in cls.__struct_fields__}
        self.values = msgspec.structs.astuple
        self.nested: list[tuple[int, bool]] = []
        """Places of structures in it, and whether they are shared."""
        for place, hint in enumerate(self.hints.values()):
            for kind in _alternatives(hint):
                inner = get_args(kind)[0] if get_origin(kind) is tuple else kind
                if _is_struct(inner):
                    self.nested.append((place, inner in _SHARED))


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _structures(roots: Iterable[Any]) -> Iterator[Any]:
    """Yield structures and all that are part of them."""
    for root in roots:
        yield root
        for hint in get_type_hints(root).values():
            for kind in _alternatives(hint):
                inner = get_args(kind)[0] if get_origin(kind) is tuple else kind
                if _is_struct(inner):
                    yield from _structures([inner])


_FIRST_TAG = 2
_CLASSES: tuple[Any, ...] = tuple(dict.fromkeys([*_SHARED, *_structures(get_args(Entry))]))
_TAGS: dict[Any, int] = {cls: tag for tag, cls in enumerate(_CLASSES, start=_FIRST_TAG)}
_SHAPES: dict[type, _Shape] = {cls: _Shape(cls) for cls in _CLASSES}
