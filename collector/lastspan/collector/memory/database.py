"""The file of the memory, as SQLite keeps it: two tables of rows, of which this module knows their order alone.

What SQLite leaves to us is damage: it drops the torn end of its write-ahead log without a word, and gives up a file of
which a page is damaged. Here it is told, and all that can be read is kept.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import time
from collections.abc import Sequence
from pathlib import Path

from .entries import pack

_FRAMES = 64
"""In one row, at most."""
_HEAD = struct.Struct(">16s44xi4xi")
"""Of a SQLite file: its first line, `user_version`, `application_id`."""
_MAGIC = b"SQLite format 3\0"
_APPLICATION_ID = 0x6C737061
"""Says in the header of the file that it is ours."""
_VERSION = 1
_SCHEMA = f"""
    begin;
    pragma application_id = {_APPLICATION_ID};
    pragma user_version = {_VERSION};
    create table log (id integer primary key, data blob not null);
    create table snapshot (id integer primary key, data blob not null);
    commit;
"""


class FolderError(Exception):
    """The folder cannot be used; the message says why."""


class Database:
    """The file. Its methods wait for the disk; they are called by one thread at a time."""

    def __init__(self, path: Path, *, sync_s: float) -> None:
        self.is_unsynced = False
        """What was committed last may not be on the disk yet."""
        self._path = path
        self._sync_s = sync_s
        self._synced = time.monotonic()

    # --- start ------------------------------------------------------------------------------------------------------

    def open(self, cut: list[str]) -> dict[str, list[bytes]]:
        """Return the rows by table; *cut* gets what was damaged. FolderError: it is not ours, or of a later version."""
        self._look()
        wal = self._path.with_name(f"{self._path.name}-wal")
        wal_bytes = wal.stat().st_size if wal.exists() else 0
        rows: dict[str, list[bytes]] = {"snapshot": [], "log": []}
        try:
            self._connect()
            whole = _whole_bytes(self._db, wal_bytes)
            if whole < wal_bytes:
                cut.append(f"{wal.name}: cut at byte {whole}, {wal_bytes - whole} bytes were torn or corrupt")
            damage = _read(self._db, rows)
        except sqlite3.OperationalError:  # not of the file: it is locked, say
            self._db.close()
            raise
        except sqlite3.DatabaseError as problem:
            damage = str(problem)
        if damage:
            self._begin_anew(rows)
            count = sum(map(len, rows.values()))
            cut.append(f"{self._path.name}: {damage}; {count} rows could be read, it is kept as {self._aside.name}")
        return rows

    @property
    def _aside(self) -> Path:
        return self._path.with_suffix(".damaged")

    def _look(self) -> None:
        """FolderError: the file is not ours, or of a later version; then it is left as it is."""
        with open(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as file:
            head = file.read(_HEAD.size)
            if not any(head):
                return  # new; or zeros, which a power cut leaves of what was not on the disk
            magic, version, application_id = _HEAD.unpack(head.ljust(_HEAD.size))
            if application_id != _APPLICATION_ID:
                raise FolderError(f"{self._path} is not lastspan's; use another folder")
            if version > _VERSION:
                raise FolderError(
                    f"{self._path} was written by a later version of lastspan; use that, or another folder"
                )
            if magic != _MAGIC:  # always the same; without it SQLite would refuse all that is whole behind it
                file.seek(0)
                file.write(_MAGIC)

    def _begin_anew(self, rows: dict[str, list[bytes]]) -> None:
        """Put the file aside, and what could be read of it into a new one."""
        self._db.close()
        os.replace(self._path, self._aside)
        for name in ("-wal", "-journal"):
            self._path.with_name(self._path.name + name).unlink(missing_ok=True)
        self._look()
        self._connect()
        for table, found in rows.items():
            self._insert(table, found)

    def _connect(self) -> None:
        self._db = sqlite3.connect(self._path, timeout=0, check_same_thread=False)
        self._db.text_factory = bytes
        self._db.execute("pragma locking_mode = exclusive")  # so the write-ahead log needs no shared memory
        self._db.execute("pragma secure_delete = fast")  # some builds write zeros over all that is deleted
        ((application_id,),) = self._db.execute("pragma application_id")
        if application_id != _APPLICATION_ID:
            self._db.executescript(_SCHEMA)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")  # checkpoints bring all to the disk, commits wait for nothing
        self._db.execute("pragma wal_autocheckpoint = 0")

    # --- work -------------------------------------------------------------------------------------------------------

    def write(self, table: str, frames: Sequence[bytes]) -> int:
        """Commit frames, and have all on the disk if that is due; return how many bytes they take."""
        rows = [pack(frames[at : at + _FRAMES]) for at in range(0, len(frames), _FRAMES)]
        if rows:
            self._insert(table, rows)
        if self.is_unsynced and time.monotonic() - self._synced >= self._sync_s:
            self._sync()
        return sum(map(len, rows))

    def begin_draft(self) -> int:
        """Begin a new snapshot; return up to where the log is covered by it."""
        with self._db:
            self._db.execute("drop table if exists draft")
            self._db.execute("create table draft (id integer primary key, data blob not null)")
        ((covered,),) = self._db.execute("select coalesce(max(id), 0) from log")
        return int(covered)

    def adopt_draft(self, covered: int) -> None:
        """Put the new snapshot in the place of the old one, and of the log that it covers, all at once."""
        with self._db:
            self._db.execute("delete from log where id <= ?", (covered,))
            self._db.execute("drop table snapshot")
            self._db.execute("alter table draft rename to snapshot")
        self._sync()

    def close(self) -> None:
        """Have all on the disk, in the one file."""
        try:
            self._sync()
        finally:
            self._db.close()

    def _insert(self, table: str, rows: Sequence[bytes]) -> None:
        with self._db:
            self._db.executemany(f"insert into {table} (data) values (?)", [(row,) for row in rows])
        self.is_unsynced = True

    def _sync(self) -> None:
        """Bring what was committed to the disk, and from the write-ahead log, which is empty then, into the file."""
        self._db.execute("pragma wal_checkpoint(truncate)")
        self.is_unsynced, self._synced = False, time.monotonic()


def _whole_bytes(db: sqlite3.Connection, size: int) -> int:
    """Return how much of the write-ahead log, of *size* bytes, SQLite found whole: what is behind it, it has dropped.

    See "The WAL File Format", https://www.sqlite.org/fileformat2.html. Each checkpoint of ours empties it, so all that
    is in it is new.
    """
    try:
        ((_, frames, _),) = db.execute("pragma wal_checkpoint(passive)")
    except sqlite3.OperationalError:  # the disk is full, say; what there is can be read all the same
        return size
    ((page_size,),) = db.execute("pragma page_size")
    return 32 + frames * (24 + page_size) if frames > 0 else 0


def _read(db: sqlite3.Connection, rows: dict[str, list[bytes]]) -> str:
    """Read all rows that can be read; return what is wrong with the file, if anything is."""
    damage = ""
    for table, found in rows.items():
        try:
            for (row,) in db.execute(f"select data from {table} order by id"):
                if type(row) is bytes:  # of a damaged page anything may come
                    found.append(row)
        except sqlite3.DatabaseError as problem:
            damage = str(problem)
    ((verdict,),) = db.execute("pragma quick_check(1)")
    if not damage and verdict != b"ok":
        damage = " ".join(verdict.decode(errors="replace").split())
    return damage
