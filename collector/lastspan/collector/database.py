"""The memory on disk: what the collector knows survives its end, its death, and the end of its disk.

In the folder: `lock`, held by the one collector that uses it, and `state.sqlite3`: its table `snapshot` is the whole
state at some time, its table `log` all that has changed it since. Ten times a second what is new is committed to
SQLite's write-ahead log, which survives our own death; once a second that is brought to the disk. All of it happens on
one thread beside the loop: an ill disk stops nobody. Where the disk is full the collector goes on without memory, says
so, and writes the whole state anew as soon as there is room.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from lastspan.semconv import duration

from .rows import DamageError, Entry, Frame, Reader, pack
from .track import Tracker, replay, resume, save

logger = logging.getLogger(__name__)

FLUSH_S = 0.1
"""What was observed is in the hands of the operating system after so long, and survives our own death."""
_RETRY_S = 10.0
_BACKLOG = 100_000
"""Entries that wait for the disk; beyond it the disk is taken for ill."""
_LOG_TIMES = 2
"""A new snapshot is due when the log is bigger than so many times the last one, and than a minimum."""
_FRAMES = 16
"""In one row: it is packed in one go, for a few milliseconds at most."""
_FILE = "state.sqlite3"
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

T = TypeVar("T")


class FolderError(Exception):
    """The folder cannot be used; the message says why."""


class MemoryFacts(msgspec.Struct):
    """What the memory on disk says of itself."""

    written_bytes: int = 0
    failed: str = ""
    """Why nothing is kept now; empty: all is well."""


class Restored(msgspec.Struct):
    """What was found at the start."""

    entries: int = 0
    newest_wall_ns: int = 0
    cut: list[str] = []
    """What was torn or corrupt, and how much was lost."""


class Memory:
    """One folder, and the tracker whose state is kept there."""

    def __init__(
        self,
        folder: Path,
        tracker: Tracker,
        *,
        clock: Callable[[], int],
        sync_s: float,
        log_max: int,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        self.facts = MemoryFacts()
        self._folder = folder
        self._tracker = tracker
        self._clock = clock
        self._log_max = log_max
        self._wall = wall
        self._waiting: list[Frame] = []
        self._waiting_entries = 0
        self._log_bytes = 0
        self._snapshot_bytes = 0
        self._retry_at = 0.0
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="lastspan-disk")
        self._lock = _lock(folder)
        self._database = Database(folder / _FILE, sync_s=sync_s)

    # --- start ------------------------------------------------------------------------------------------------------

    def restore(self) -> Restored:
        """Bring back what is in the folder. FolderError: it cannot be read here."""
        try:
            return self._restore()
        except (FolderError, OSError, sqlite3.OperationalError) as problem:
            os.close(self._lock)
            if isinstance(problem, FolderError):
                raise
            where, why = getattr(problem, "filename", None), getattr(problem, "strerror", None)
            raise FolderError(f"{where or self._folder} cannot be used: {why or problem}") from None

    def _restore(self) -> Restored:
        found, began = Restored(), time.perf_counter()
        if old := next(self._folder.glob("log-????????"), None):
            raise FolderError(f"{old} was written by an earlier version of lastspan; use that, or another folder")
        rows = self._database.open(found.cut)
        was_on = gc.isenabled()
        gc.disable()  # nothing of what is made is garbage
        try:
            for table in rows:
                self._replay(table, rows[table], found)
        finally:
            if was_on:
                gc.enable()
        resume(self._tracker, self._clock())
        self._snapshot_bytes, log_bytes = (sum(map(len, rows[table])) for table in ("snapshot", "log"))
        self._log_bytes = 1 << 62 if found.cut else log_bytes  # what is damaged goes with the next snapshot
        self._say(found, time.perf_counter() - began)
        return found

    def _replay(self, table: str, rows: Sequence[bytes], found: Restored) -> None:
        reader, latest_ns, damaged = Reader(), 0, 0
        for row in rows:
            try:
                frames = reader.frames(row)
            except DamageError:
                damaged += 1  # but what comes behind it is good: records are the full state of their subject
                continue
            for wall_ns, entries in frames:
                age_ns = max(0, self._wall() - wall_ns)
                latest_ns = max(latest_ns, self._clock() - age_ns)  # whatever the wall clock did: time goes forward
                for entry in entries:
                    replay(self._tracker, entry, latest_ns)
                found.entries += len(entries)
                found.newest_wall_ns = max(found.newest_wall_ns, wall_ns)
        if damaged:
            found.cut.append(f"{_FILE}: {damaged} of {len(rows)} rows of the {table} were corrupt")

    def _say(self, found: Restored, seconds: float) -> None:
        for cut in found.cut:
            logger.warning("data_dir: %s", cut)
        tracker = self._tracker
        if not found.entries:
            logger.info("data_dir: %s is new; the state is kept there from now on", self._folder)
            return
        age_s = max(0, self._wall() - found.newest_wall_ns) / 1e9
        logger.info(
            "data_dir: %d open spans, %d open jobs, %d processes, %d learned durations are known again, as of %s ago "
            "(%d entries in %.1f s)",
            len(tracker.spans),
            len(tracker.jobs),
            len(tracker.processes.rows),
            len(tracker.learner.rows),
            duration.render(age_s),
            found.entries,
            seconds,
        )

    # --- what happens -------------------------------------------------------------------------------------------------

    def take(self, entries: Sequence[Entry]) -> None:
        """Note what was observed or concluded. Never blocks, never raises for the disk's sake."""
        if self.facts.failed:
            return
        self._waiting.append((self._wall(), entries))
        self._waiting_entries += len(entries)
        if self._waiting_entries > _BACKLOG:
            self._fail("the disk does not keep up")

    async def run(self) -> None:
        """Bring what is noted to the disk, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.turn()

    async def turn(self) -> None:
        """Do what is due."""
        try:
            if not self.facts.failed:
                await self._flush()
                if self._log_bytes > max(self._log_max, _LOG_TIMES * self._snapshot_bytes):
                    await self.snapshot()
            elif time.monotonic() >= self._retry_at:
                await self._recover()
        except sqlite3.Error as problem:
            self._fail(str(problem))

    async def snapshot(self) -> None:
        """Write the whole state beside the log; then what it covers of the log is not needed any more."""
        covered, size = await self._on_disk(self._database.begin_draft), 0
        for _, entries in save(self._tracker, self._clock):
            frame = (self._wall(), entries)
            size += await self._on_disk(lambda frame=frame: self._database.write("draft", [frame]))  # type: ignore[misc]
            await self._flush()
            if self.facts.failed:  # meanwhile: then the log has a hole
                return
        await self._on_disk(lambda: self._database.adopt_draft(covered))
        self._snapshot_bytes, self._log_bytes = size, 0

    async def close(self) -> None:
        """Write what is left, and let go of the folder."""
        try:
            if not self.facts.failed:
                await self._flush()
            await self._on_disk(self._database.close)
        except sqlite3.Error as problem:
            self._fail(str(problem))
        self._beside.shutdown()
        os.close(self._lock)

    async def _flush(self) -> None:
        if not self._waiting and not self._database.is_unsynced:
            return
        frames, self._waiting, self._waiting_entries = self._waiting, [], 0
        size = await self._on_disk(lambda: self._database.write("log", frames))
        self._log_bytes += size
        self.facts.written_bytes += size

    async def _on_disk(self, work: Callable[[], T]) -> T:
        """Do it on the thread beside. That we are cancelled meanwhile leaves nothing half done."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._beside, work))

    def _fail(self, why: str) -> None:
        if self.facts.failed:
            return
        self.facts.failed = why
        self._waiting, self._waiting_entries = [], 0
        self._retry_at = time.monotonic() + _RETRY_S
        logger.error("data_dir: %s cannot be written (%s); going on without memory until it can", self._folder, why)

    async def _recover(self) -> None:
        why, self.facts.failed = self.facts.failed, ""
        await self.snapshot()
        if not self.facts.failed:
            logger.info("data_dir: %s can be written again; the state is kept (it was: %s)", self._folder, why)


class Database:
    """The file. Its methods wait for the disk; they are called by one thread at a time."""

    def __init__(self, path: Path, *, sync_s: float) -> None:
        self.is_unsynced = False
        """What was committed last may not be on the disk yet."""
        self._path = path
        self._sync_s = sync_s
        self._synced = time.monotonic()
        self._db: sqlite3.Connection

    # --- start ------------------------------------------------------------------------------------------------------

    def open(self, cut: list[str]) -> dict[str, list[bytes]]:
        """Return the rows by table; *cut* gets what was damaged. FolderError: it is not ours, or of a later version."""
        self._look()
        wal = self._path.with_name(f"{self._path.name}-wal")
        wal_bytes = wal.stat().st_size if wal.exists() else 0
        rows: dict[str, list[bytes]] = {"snapshot": [], "log": []}
        try:
            self._db = _connect(self._path)
            if lost := wal_bytes - _whole_bytes(self._db):
                cut.append(f"{wal.name}: cut at byte {wal_bytes - lost}, {lost} bytes were torn or corrupt")
            damage = _read(self._db, rows)
        except sqlite3.OperationalError:  # not of the file: it is locked, say
            raise
        except sqlite3.DatabaseError as problem:
            damage = str(problem)
        if damage:
            self._begin_anew(rows)
            whole = sum(map(len, rows.values()))
            cut.append(f"{self._path.name}: {damage}; {whole} rows could be read, see also {self._aside.name}")
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
        if hasattr(self, "_db"):
            self._db.close()
        os.replace(self._path, self._aside)
        for name in ("-wal", "-journal"):
            self._path.with_name(self._path.name + name).unlink(missing_ok=True)
        self._look()
        self._db = _connect(self._path)
        for table, found in rows.items():
            self._insert(table, found)

    # --- work -------------------------------------------------------------------------------------------------------

    def write(self, table: str, frames: Sequence[Frame]) -> int:
        """Commit frames, and have all on the disk if that is due; return how many bytes they take."""
        rows = [pack(frames[at : at + _FRAMES]) for at in range(0, len(frames), _FRAMES)]
        if rows:
            self._insert(table, rows)
            self.is_unsynced = True
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

    def _sync(self) -> None:
        """Bring what was committed to the disk, and from the write-ahead log, which is empty then, into the file."""
        self._db.execute("pragma wal_checkpoint(truncate)")
        self.is_unsynced, self._synced = False, time.monotonic()


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=0, check_same_thread=False)
    try:
        db.execute("pragma locking_mode = exclusive")  # so the write-ahead log needs no shared memory
        db.execute("pragma secure_delete = fast")  # some builds write zeros over all that is deleted
        ((application_id,),) = db.execute("pragma application_id")
        if application_id != _APPLICATION_ID:
            db.executescript(_SCHEMA)
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = normal")  # checkpoints bring all to the disk, commits wait for nothing
        db.execute("pragma wal_autocheckpoint = 0")
    except BaseException:
        db.close()
        raise
    return db


def _whole_bytes(db: sqlite3.Connection) -> int:
    """Return how much of the write-ahead log SQLite has found whole: what is behind it, it drops without a word.

    See "The WAL File Format", https://www.sqlite.org/fileformat2.html. We empty it with each checkpoint, so all that is
    in it is new.
    """
    ((_, frames, _),) = db.execute("pragma wal_checkpoint(passive)")
    ((page_size,),) = db.execute("pragma page_size")
    return 32 + frames * (24 + page_size) if frames > 0 else 0


def _read(db: sqlite3.Connection, rows: dict[str, list[bytes]]) -> str:
    """Read all rows that can be read; return what is wrong with the file, if anything is."""
    damage = ""
    for table, found in rows.items():
        try:
            for (row,) in db.execute(f"select data from {table} order by id"):
                found.append(row)
        except sqlite3.DatabaseError as problem:
            damage = str(problem)
    ((verdict,),) = db.execute("pragma quick_check(1)")
    return damage or ("" if verdict == "ok" else " ".join(str(verdict).split()))


def _lock(folder: Path) -> int:
    """Return the descriptor that holds the folder. FolderError: it cannot be used, or another collector uses it."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise FolderError(f"{folder} cannot be used: {problem.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(descriptor, 20).decode(errors="replace").strip()
        os.close(descriptor)
        raise FolderError(f"{folder} is in use by another collector (process {owner or '?'})") from None
    with contextlib.suppress(OSError):  # whose it is, is told for people only
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    return descriptor
