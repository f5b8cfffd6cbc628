"""The memory on disk: what the collector knows survives its end, its death, and the end of its disk.

In the folder: `lock`, held by the one collector that uses it; `snapshot-N`, the whole state at the beginning of
`log-N`; and the logs since, to which all that changes the state is appended. Writing is done by one thread, so that a
slow disk stops nobody. Where the disk is full the collector goes on without memory, says so, and begins a new snapshot
as soon as there is room.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from lastspan.semconv import duration

from .config import ConfigError
from .journal import Entry, FormatError, Reader, Writer
from .pipeline import Pipeline
from .track import replay, resume, save

logger = logging.getLogger(__name__)

FLUSH_S = 0.25
"""What was observed is in the hands of the operating system after so long, and survives our own death."""
_RETRY_S = 10.0
_BACKLOG = 64 << 20
"""Bytes that wait for the disk; beyond it the disk is taken for ill."""
_LOG_MIN = 32 << 20
_LOG_TIMES = 2
"""A new snapshot is due when the logs are bigger than this minimum and than so many times the last snapshot."""
_NAME = re.compile(r"(snapshot|log)-(\d{8})")
_PAUSE_S = 0.002


class Restored(msgspec.Struct):
    """What was found at the start."""

    entries: int = 0
    newest_wall_ns: int = 0
    cut: list[str] = []
    """Files that were torn or corrupt, and how much was lost."""


class MemoryFacts(msgspec.Struct):
    """What the memory knows of itself."""

    written_bytes: int = 0
    failed: str = ""
    """Why nothing is kept now; empty: all is well."""
    dropped: int = 0
    """Bytes that were not kept."""


class Memory:
    """One folder, and one pipeline whose state is kept there."""

    def __init__(self, folder: Path, pipeline: Pipeline, *, sync_s: float, wall: Callable[[], int] = time.time_ns):
        self.facts = MemoryFacts()
        self._folder = folder
        self._pipeline = pipeline
        self._sync_s = sync_s
        self._wall = wall
        self._writer = Writer()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._number = 0
        self._log: _File | None = None
        self._log_bytes = 0
        self._snapshot_bytes = 0
        self._retry_at = 0.0
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="lastspan-memory")
        self._lock = _lock(folder)

    # --- start ------------------------------------------------------------------------------------------------------

    def restore(self) -> Restored:
        """Bring back what is in the folder, and begin a new log. ConfigError: a later version wrote it."""
        found, began = Restored(), time.perf_counter()
        numbers = self._files()
        snapshots = [number for number in numbers["snapshot"] if self._is_whole(number)]
        since = max(snapshots, default=0)
        paths = [self._path("snapshot", since)] if snapshots else []
        paths += [self._path("log", number) for number in numbers["log"] if number >= since]
        was_on = gc.isenabled()
        gc.disable()  # nothing of what is made is garbage
        try:
            for path in paths:
                self._replay(path, found)
        finally:
            if was_on:
                gc.enable()
        resume(self._pipeline.tracker, self._pipeline.clock())
        self._number = max([*numbers["log"], *numbers["snapshot"], 0]) + 1
        self._snapshot_bytes = paths[0].stat().st_size if snapshots else 0
        self._log_bytes = sum(path.stat().st_size for path in paths) - self._snapshot_bytes
        self._begin_log()
        self._pipeline.memory = self.take
        self._say(found, time.perf_counter() - began)
        return found

    def _files(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {"snapshot": [], "log": []}
        for name in sorted(os.listdir(self._folder)):
            if match := _NAME.fullmatch(name):
                found[match[1]].append(int(match[2]))
        return found

    def _is_whole(self, number: int) -> bool:
        return self._path("snapshot", number).stat().st_size > 0

    def _replay(self, path: Path, found: Restored) -> None:
        data = path.read_bytes()
        reader, tracker, clock = Reader(data), self._pipeline.tracker, self._pipeline.clock
        latest_ns = 0
        try:
            for _, wall_ns, entries in reader.frames():
                age_ns = max(0, self._wall() - wall_ns)
                latest_ns = max(latest_ns, clock() - age_ns)  # whatever the wall clock did: time goes forward
                for entry in entries:
                    replay(tracker, entry, latest_ns)
                found.entries += len(entries)
                found.newest_wall_ns = max(found.newest_wall_ns, wall_ns)
        except FormatError as problem:
            os.close(self._lock)
            raise ConfigError(f"data_dir: {path} {problem}; use that version, or another folder") from None
        if reader.good < len(data):
            lost = len(data) - reader.good
            found.cut.append(f"{path.name}: cut at byte {reader.good}, {lost} bytes were torn or corrupt")
            with path.open("r+b") as file:
                file.truncate(reader.good)

    def _say(self, found: Restored, seconds: float) -> None:
        for cut in found.cut:
            logger.warning("data_dir: %s", cut)
        tracker = self._pipeline.tracker
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

    def take(self, entries: Sequence[Entry], now_ns: int) -> None:
        """Note what was observed or concluded. Never blocks, never raises for the disk's sake."""
        if self.facts.failed:
            return
        frame = self._writer.frame(entries, now_ns=now_ns, wall_ns=self._wall())
        self._waiting.append(frame)
        self._waiting_bytes += len(frame)

    async def run(self) -> None:
        """Bring what is noted to the disk, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self._turn()

    async def _turn(self) -> None:
        if self.facts.failed:
            if time.monotonic() >= self._retry_at:
                await self._recover()
        elif self._waiting_bytes > _BACKLOG:
            self._fail("the disk does not keep up")
        else:
            await self._flush()
            if self._log_bytes > max(_LOG_MIN, _LOG_TIMES * self._snapshot_bytes):
                await self._snapshot()

    async def close(self) -> None:
        """Write what is left, and let go of the folder."""
        if not self.facts.failed:
            await self._flush(sync=True)
        self._disk.shutdown()
        if self._log is not None:
            self._log.close()
        os.close(self._lock)

    # --- the log ------------------------------------------------------------------------------------------------------

    async def _flush(self, *, sync: bool = False) -> None:
        log, frames = self._log, self._waiting
        if log is None or not (frames or log.is_unsynced):
            return
        self._waiting, self._waiting_bytes = [], 0
        try:
            size = await self._on_disk(lambda: log.write(b"".join(frames), sync_s=0.0 if sync else self._sync_s))
        except OSError as problem:
            self._fail(problem.strerror or str(problem))
            return
        self._log_bytes += size
        self.facts.written_bytes += size

    async def _on_disk(self, work: Callable[[], int]) -> int:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    def _begin_log(self) -> None:
        self._log = _File(self._path("log", self._number))
        self._waiting = [self._writer.begin()]
        self._waiting_bytes = len(self._waiting[0])

    def _path(self, kind: str, number: int) -> Path:
        return self._folder / f"{kind}-{number:08d}"

    # --- the disk is full -------------------------------------------------------------------------------------------

    def _fail(self, why: str) -> None:
        self.facts.failed = why
        self.facts.dropped += self._waiting_bytes
        self._waiting, self._waiting_bytes = [], 0
        self._retry_at = time.monotonic() + _RETRY_S
        if self._log is not None:
            self._log.close()
            self._log = None
        logger.error("data_dir: %s cannot be written (%s); going on without memory until it can", self._folder, why)

    async def _recover(self) -> None:
        why, self.facts.failed = self.facts.failed, ""
        try:
            self._number += 1
            self._begin_log()
            await self._snapshot_now()
        except OSError as problem:
            self._fail(problem.strerror or str(problem))
        if self.facts.failed:  # what was begun is good for nothing
            self._path("log", self._number).unlink(missing_ok=True)
        else:
            logger.info("data_dir: %s can be written again; the state is kept (it was: %s)", self._folder, why)

    # --- the snapshot -----------------------------------------------------------------------------------------------

    async def _snapshot(self) -> None:
        """Begin a new log, and write the whole state beside it; then what came before is not needed any more."""
        try:
            await self._flush(sync=True)
            if self._log is not None:
                self._log.close()
                self._number += 1
                self._begin_log()
                await self._snapshot_now()
        except OSError as problem:
            self._fail(problem.strerror or str(problem))

    async def _snapshot_now(self) -> None:
        number, pipeline, writer = self._number, self._pipeline, Writer()
        path = self._path("snapshot", number)
        draft = path.with_suffix(".draft")
        file = _File(draft)
        try:
            await self._on_disk(lambda: file.write(writer.begin(), sync_s=None))
            flushed = time.monotonic()
            for now_ns, entries in save(pipeline.tracker, pipeline.clock):
                frame = writer.frame(entries, now_ns=now_ns, wall_ns=self._wall())
                await self._on_disk(lambda frame=frame: file.write(frame, sync_s=None))  # type: ignore[misc]
                if time.monotonic() - flushed >= FLUSH_S:
                    await self._flush()
                    flushed = time.monotonic()
            await self._flush(sync=True)
            if self.facts.failed:
                return
            await self._on_disk(lambda: file.write(b"", sync_s=0.0))
            os.replace(draft, path)
            _sync_folder(self._folder)
        finally:
            file.close()
            draft.unlink(missing_ok=True)
        self._snapshot_bytes, self._log_bytes = path.stat().st_size, 0
        self._forget_before(number)

    def _forget_before(self, number: int) -> None:
        for kind, numbers in self._files().items():
            for old in numbers:
                if old < number:
                    self._path(kind, old).unlink(missing_ok=True)


class _File:
    """A file that is appended to."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._synced = time.monotonic()
        self.is_unsynced = False

    def write(self, data: bytes, *, sync_s: float | None) -> int:
        """Append, and have it on the disk if the last time was so long ago; None: not now. OSError if it cannot be."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
            self.is_unsynced = True
        if sync_s is not None and self.is_unsynced and time.monotonic() - self._synced >= sync_s:
            os.fdatasync(self._fd)
            self._synced, self.is_unsynced = time.monotonic(), False
        return len(data)

    def close(self) -> None:
        """Let go of it; harmless twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _lock(folder: Path) -> int:
    """Return the descriptor that holds the folder. ConfigError: it cannot be used, or another collector uses it."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise ConfigError(f"data_dir: {folder} cannot be used: {problem.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(descriptor, 20).decode(errors="replace").strip()
        os.close(descriptor)
        raise ConfigError(f"data_dir: {folder} is in use by another collector (process {owner or '?'})") from None
    with contextlib.suppress(OSError):  # whose it is, is told for people only
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
