"""A record's attributes, from wire bytes to a row of values.

Most attributes repeat: the same bytes come in record after record. So bytes are decoded once and found again in a dict;
and records of one shape (as many attributes, the same in each place, of one job) differ from the last one in a few
places only, which is told by comparing bytes in C. Only what differs is looked at in Python.
"""

from __future__ import annotations

from itertools import compress
from operator import ne
from typing import Any, TypeVar

import msgspec
from google.protobuf.message import DecodeError

from ..model.records import Call, JobType, Resource
from . import fixed_size, layout, older, proto
from .values import RecordError

CACHE = 65_536
"""Entries of a cache; a full one is emptied, which costs a moment and no memory."""
_SIZES, _NAMES = 64, 500
"""Numbers of attributes, and job names of each, whose last record is kept: a few MiB at most."""
_NO_NAME = b""
MOST = 1000
"""Attributes of one record: workers send some forty, and OpenTelemetry's SDKs 128 at most."""
_CACHED_BYTES = 512
"""Longer values are decoded each time."""
_TYPE, _TYPE_END, _CALL = layout.TYPE.start, layout.TYPE.stop, layout.CALL.start
_EVIDENCE = frozenset(range(layout.EVIDENCE.start, layout.EVIDENCE.stop))
_DETAILS = frozenset(range(layout.DETAILS.start, layout.DETAILS.stop))
_ELSEWHERE = 0
"""The slot of what is not ours."""

_Place = tuple[int, bytes, int, Any]
"""Slot; head, length and converter of a value that differs in each record (length -1: it repeats)."""

K = TypeVar("K")
V = TypeVar("V")


class Shape(msgspec.Struct, eq=False):
    """The last record of a shape, and what was made of it."""

    raws: list[bytes]
    places: list[_Place]
    row: list[Any]
    has_evidence: bool
    has_details: bool
    """Of the evidence: what it waits for and the like, and what the job owns."""
    is_older: bool
    """Some of it is told as workers of before told it."""
    has_progress: bool
    call_slots: tuple[int, ...]
    """Of the call's attributes, those that records of this shape have."""
    resource: Resource | None = None
    """Of the record that `type` was made for."""
    type: JobType | None = None
    """None: one of its facts has changed, or it was not asked for yet."""
    call: Call | None = None


class _Size(msgspec.Struct, eq=False):
    """The shapes of all records with a certain number of attributes."""

    name_at: int
    """Position of the job's name; -1: these have none."""
    shapes: dict[bytes, Shape]
    """By the job's name in wire bytes: records of one job have most else in common too."""


class Attributes:
    """Reads attributes, remembering those that repeat."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[int, Any]] = {}
        """Slot and value by wire bytes."""
        self._sizes: dict[int, _Size] = {}

    def read(self, attributes: Any) -> Shape:
        """Return the values that we read, each in its slot; the shape is good until the next call."""
        if len(attributes) > MOST:
            raise RecordError("oversized", f"{len(attributes)} attributes (limit {MOST})")
        raws: list[bytes] = attributes[:]
        size = self._sizes.get(len(raws))
        if size is None:
            return self._read_new(raws)
        name = raws[size.name_at] if size.name_at >= 0 else _NO_NAME
        shape = size.shapes.get(name)
        try:
            if shape is None or not self._read_same_shape(shape, raws):
                shape = self._read_new(raws)
        except RecordError:
            size.shapes.pop(name, None)  # half brought up to date
            raise
        return shape

    def _read_same_shape(self, shape: Shape, raws: list[bytes]) -> bool:
        """Bring a shape up to date with another record; False: it is not of this shape."""
        row, known = shape.row, self._known
        for raw, (slot, head, length, convert) in compress(zip(raws, shape.places), map(ne, raws, shape.raws)):  # noqa: B905
            if len(raw) == length and raw.startswith(head) and (value := convert(raw)) is not None:
                row[slot] = value
                continue
            found = known.get(raw) or self._decode(raw)
            if found[0] != slot:
                return False
            row[slot] = found[1]
            if slot >= _CALL:
                shape.call = None
            elif _TYPE <= slot < _TYPE_END:
                shape.type = None
            elif slot in older.IN_TEXT:
                return False
        shape.raws = raws
        return True

    def _read_new(self, raws: list[bytes]) -> Shape:
        row, places = layout.BLANK[:], []
        for raw in raws:
            slot, value = self._known.get(raw) or self._decode(raw)
            row[slot] = value
            form = fixed_size.form_of(raw)
            places.append((slot, b"", -1, None) if form is None else (slot, form.head, len(raw), form.convert))
        taken = {place[0] for place in places}
        has_evidence = not taken.isdisjoint(_EVIDENCE)
        has_details = not taken.isdisjoint(_DETAILS)
        call_slots = tuple(sorted(slot for slot in taken if slot >= _CALL))
        has_progress = row[layout.PROGRESS_DONE] is not None
        is_older = older.speaks(taken, row)
        shape = Shape(raws, places, row, has_evidence, has_details, is_older, has_progress, call_slots)
        slots = [place[0] for place in places if place[0] != _ELSEWHERE]
        if len(set(slots)) == len(slots):  # a name that comes twice: the last counts, which only order tells
            self._remember(shape, slots=[place[0] for place in places])
        return shape

    def _remember(self, shape: Shape, *, slots: list[int]) -> None:
        name_at = slots.index(_TYPE) if _TYPE in slots else -1
        size = self._sizes.get(len(slots))
        if size is None or size.name_at != name_at:
            size = remember(self._sizes, len(slots), _Size(name_at, {}), limit=_SIZES)
        remember(size.shapes, shape.raws[name_at] if name_at >= 0 else _NO_NAME, shape, limit=_NAMES)

    def _decode(self, raw: bytes) -> tuple[int, Any]:
        """Return slot and value of one attribute, and remember them if they will come again."""
        try:
            pair = proto.KeyValue.FromString(raw)
        except DecodeError:
            raise RecordError("bad_attribute", "an attribute is not a KeyValue in UTF-8") from None
        field = layout.FIELDS.get(pair.key)
        found: tuple[int, Any] = (_ELSEWHERE, None)
        if field is not None:
            try:
                found = field.slot, field.read(pair.value)
            except RecordError as problem:
                raise RecordError(problem.reason, f"{pair.key}: {problem}") from None
        if (field is None or field.repeats) and len(raw) <= _CACHED_BYTES:
            remember(self._known, raw, found)
        return found


def remember(cache: dict[K, V], key: K, value: V, *, limit: int = CACHE) -> V:
    """Put something into a cache and return it."""
    if len(cache) >= limit:
        cache.clear()
    cache[key] = value
    return value
