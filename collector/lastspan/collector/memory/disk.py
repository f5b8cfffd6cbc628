"""The state on disk: what the collector knows survives a stop, a kill and a full disk.

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
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from lastspan.semconv import duration

from ..model.facts import MemoryFacts
from ..track import Tracker, replay, resume, save
from .database import Database, FolderError
from .entries import DamageError, Entry, Reader, encode

logger = logging.getLogger(__name__)

FLUSH_S = 0.1
"""What was observed is in the hands of the operating system after so long, and survives our own death."""
_RETRY_S = 10.0
_BACKLOG = 64 << 20
"""Bytes that wait for the disk; beyond it the disk is taken for ill."""
_LOG_TIMES = 2
"""A new snapshot is due when the log is bigger than so many times the last one, and than a minimum."""
_FILE = "state.sqlite3"

T = TypeVar("T")


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
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
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
            logger.info("data_dir: %s is new; the collector saves its state there from now on", self._folder)
            return
        age_s = max(0, self._wall() - found.newest_wall_ns) / 1e9
        logger.info(
            "data_dir: %d open spans, %d open jobs, %d processes, %d learned durations were restored, saved %s ago "
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
        frame = encode(entries, wall_ns=self._wall())
        self._waiting.append(frame)
        self._waiting_bytes += len(frame)
        if self._waiting_bytes > _BACKLOG:
            self._fail("the disk is too slow")

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
        self._log_bytes = 0
        for _, entries in save(self._tracker, self._clock):
            frame = encode(entries, wall_ns=self._wall())
            size += await self._on_disk(lambda frame=frame: self._database.write("draft", [frame]))  # type: ignore[misc]
            await self._flush()
            if self.facts.failed:  # meanwhile: then the log has a hole
                return
        await self._on_disk(lambda: self._database.adopt_draft(covered))
        self._snapshot_bytes = size

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
        frames, self._waiting, self._waiting_bytes = self._waiting, [], 0
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
        self._waiting, self._waiting_bytes = [], 0
        self._retry_at = time.monotonic() + _RETRY_S
        logger.error("data_dir: %s cannot be written (%s); the state is not saved until it can", self._folder, why)

    async def _recover(self) -> None:
        why, self.facts.failed = self.facts.failed, ""
        await self.snapshot()
        if not self.facts.failed:
            logger.info("data_dir: %s can be written again; the state is saved (the error was: %s)", self._folder, why)


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
