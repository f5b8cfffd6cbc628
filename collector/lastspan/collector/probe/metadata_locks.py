"""Who blocks whom at a metadata lock: MySQL's and MariaDB's locks on names (tables, GET_LOCK, the whole server).

The servers' own view (`sys.schema_table_lock_waits`) names every holder of a table, also those in nobody's way. Here
are only those whose lock excludes the one that is waited for. The matrix is that of MySQL's `sql/mdl.cc` (documented
there at `MDL_lock::MDL_object_lock`), for the lock types as `performance_schema.metadata_locks` names them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

_OBJECT_TYPES: Final = (
    "SHARED",
    "SHARED_HIGH_PRIO",
    "SHARED_READ",
    "SHARED_WRITE",
    "SHARED_WRITE_LOW_PRIO",
    "SHARED_UPGRADABLE",
    "SHARED_READ_ONLY",
    "SHARED_NO_WRITE",
    "SHARED_NO_READ_WRITE",
    "EXCLUSIVE",
)
# A row for the lock that is asked for, a column for the one that somebody has, both in that order; x: they exclude.
_OBJECT: Final = (
    ".........x",
    ".........x",
    "........xx",
    "......xxxx",
    "......xxxx",
    ".....x.xxx",
    "...xx...xx",
    "...xxx.xxx",
    "..xxxxxxxx",
    "xxxxxxxxxx",
)
_PLACES: Final = {kind: place for place, kind in enumerate(_OBJECT_TYPES)}
_SCOPE: Final = {
    ("INTENTION_EXCLUSIVE", "SHARED"),
    ("INTENTION_EXCLUSIVE", "EXCLUSIVE"),
    ("SHARED", "INTENTION_EXCLUSIVE"),
    ("SHARED", "EXCLUSIVE"),
    ("EXCLUSIVE", "INTENTION_EXCLUSIVE"),
    ("EXCLUSIVE", "SHARED"),
    ("EXCLUSIVE", "EXCLUSIVE"),
}
_FIRST_COME: Final = {"SHARED_NO_WRITE", "SHARED_NO_READ_WRITE", "EXCLUSIVE", "SHARED"}
_SCOPES: Final = {"GLOBAL", "COMMIT", "SCHEMA", "TABLESPACE", "BACKUP LOCK"}
_BACKUP_STOPS: Final = ("BACKUP_START", "BACKUP_FLUSH", "BACKUP_WAIT", "BACKUP_FTWRL", "BACKUP_BLOCK")
"""MariaDB's namespace BACKUP: kinds of this beginning stop the rest, which is work that goes on side by side."""


class MetadataLock(NamedTuple):
    """One lock that somebody has or waits for."""

    owner: str
    object_type: str
    schema: str
    name: str
    kind: str
    is_granted: bool


def blockers(locks: Iterable[MetadataLock]) -> dict[str, tuple[MetadataLock, list[str]]]:
    """Return, for each owner that waits, the lock that it waits for and the owners that keep it from it."""
    by_object: dict[tuple[str, str, str], list[MetadataLock]] = defaultdict(list)
    for lock in locks:
        by_object[lock.object_type, lock.schema, lock.name].append(lock)
    return {
        lock.owner: (lock, _blockers_of(lock, others))
        for others in by_object.values()
        for lock in others
        if not lock.is_granted
    }


def _blockers_of(wanted: MetadataLock, others: Iterable[MetadataLock]) -> list[str]:
    in_the_way = [other for other in others if other.owner != wanted.owner and _excludes(wanted, other)]
    granted = [other.owner for other in in_the_way if other.is_granted]
    waiting = [other.owner for other in in_the_way if not other.is_granted and _keeps_out(other)]
    return list(dict.fromkeys(granted or waiting))


def _excludes(wanted: MetadataLock, other: MetadataLock) -> bool:
    if wanted.object_type == "BACKUP":
        return _stops(wanted.kind) or _stops(other.kind)
    if wanted.object_type in _SCOPES:
        return (wanted.kind, other.kind) in _SCOPE
    if wanted.kind not in _PLACES or other.kind not in _PLACES:
        return True  # a kind that we do not know: rather one too many
    return _OBJECT[_PLACES[wanted.kind]][_PLACES[other.kind]] == "x"


def _keeps_out(waiting: MetadataLock) -> bool:
    """Does a lock keep others out even while it is waited for? Many SELECTs stop behind an ALTER TABLE that waits."""
    return waiting.kind in _FIRST_COME or _stops(waiting.kind)


def _stops(kind: str) -> bool:
    return kind.startswith(_BACKUP_STOPS)
