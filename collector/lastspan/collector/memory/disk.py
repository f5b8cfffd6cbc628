"""The state on disk: what the collector knows survives a stop, a kill and a full disk.

In the folder: `lock`, held by the one collector that uses it; `snapshot-N`, the whole state at the beginning of
`log-N`; and the logs since, to which all that changes the state is appended. It is handed to the operating system ten
times a second, which survives our own death, and brought to the disk beside the work, once a second. While that takes
long, nothing is handed over: an ill disk stops nobody. Where the disk is full the collector goes on without memory,
says so, and begins a new snapshot as soon as there is room.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from lastspan.semconv import duration

from ..model.facts import MemoryFacts
from ..serve.config import ConfigError
from ..serve.pipeline import Pipeline
from ..track import replay, resume, save
from .journal import Entry, FormatError, Reader, Writer

logger = logging.getLogger(__name__)

FLUSH_S = 0.1
"""What was observed is in the hands of the operating system after so long, and survives our own death."""
_SLOW_S = 1.0
"""A disk that takes longer to sync would make us wait too if we wrote."""
_RETRY_S = 10.0
_BACKLOG = 64 << 20
"""Bytes that wait for the disk; beyond it the disk is taken for ill."""
_LOG_TIMES = 2
"""A new snapshot is due when the logs are bigger than so many times the last one, and than a minimum."""
_NAME = re.compile(r"(snapshot|log)-(\d{8})")


class Restored(msgspec.Struct):
    """What was found at the start."""

    entries: int = 0
    newest_wall_ns: int = 0
    cut: list[str] = []
    """Files that were torn or corrupt, and how much was lost."""


class Memory:
    """One folder, and one pipeline whose state is kept there."""

    def __init__(
        self,
        folder: Path,
        pipeline: Pipeline,
        *,
        sync_s: float,
        log_max: int,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        self.facts = pipeline.facts.memory = MemoryFacts()
        self._folder = folder
        self._pipeline = pipeline
        self._sync_s = sync_s
        self._log_max = log_max
        self._wall = wall
        self._writer = Writer()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._number = 0
        self._log: _File | None = None
        self._log_bytes = 0
        self._snapshot_bytes = 0
        self._retry_at = 0.0
        self._beside = ThreadPoolExecutor(2, thread_name_prefix="lastspan-disk")
        """What takes its time: syncs, and snapshots."""
        self._sync: asyncio.Task[None] | None = None
        self._sync_began = 0.0
        self._anew: asyncio.Task[None] | None = None
        self._lock = _lock(folder)

    # --- start ------------------------------------------------------------------------------------------------------

    def restore(self) -> Restored:
        """Bring back what is in the folder, and begin a new log. ConfigError: it cannot be read here."""
        try:
            return self._restore()
        except OSError as problem:
            where = problem.filename or self._folder
            raise ConfigError(f"data_dir: {where} cannot be used: {problem.strerror or problem}") from None

    def _restore(self) -> Restored:
        found, began = Restored(), time.perf_counter()
        for draft in self._folder.glob("snapshot-*.draft"):  # whoever wrote it was killed
            draft.unlink()
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
            if time.monotonic() >= self._retry_at and _is_idle(self._anew):
                self._anew = asyncio.create_task(self._recover())
        elif self._waiting_bytes > _BACKLOG:
            self._fail("the disk is too slow")
        else:
            self._flush()
            if self._log_bytes > max(self._log_max, _LOG_TIMES * self._snapshot_bytes) and _is_idle(self._anew):
                self._anew = asyncio.create_task(self._snapshot())

    async def close(self) -> None:
        """Write what is left, and let go of the folder."""
        for task in (self._anew, self._sync):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if not self.facts.failed:
            self._sync = None
            self._flush()
            if self._log is not None:
                await self._sync_log(self._log)
        self._beside.shutdown()
        if self._log is not None:
            self._log.close()
        os.close(self._lock)

    # --- the log ------------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Hand over what waits. That it reaches the disk too is not waited for."""
        log, frames = self._log, self._waiting
        is_idle = _is_idle(self._sync)
        if log is None or not (is_idle or time.monotonic() - self._sync_began < _SLOW_S):
            return
        self._waiting, self._waiting_bytes = [], 0
        is_well = not frames or self._write(log, frames)
        if is_well and is_idle and log.is_due(self._sync_s):
            self._sync_began = time.monotonic()
            self._sync = asyncio.get_running_loop().create_task(self._sync_log(log))

    def _write(self, log: _File, frames: list[bytes]) -> bool:
        try:
            size = log.write(b"".join(frames))
        except OSError as problem:
            self._fail(problem.strerror or str(problem))
            return False
        self._log_bytes += size
        self.facts.written_bytes += size
        return True

    async def _sync_log(self, log: _File) -> None:
        try:
            await self._on_disk(log.sync)
        except OSError as problem:
            self._fail(problem.strerror or str(problem))

    async def _on_disk(self, work: Callable[[], object]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._beside, work)

    def _begin_log(self) -> None:
        self._log = _File(self._path("log", self._number))
        self._waiting = [self._writer.begin()]
        self._waiting_bytes = len(self._waiting[0])

    def _path(self, kind: str, number: int) -> Path:
        return self._folder / f"{kind}-{number:08d}"

    # --- the disk is full -------------------------------------------------------------------------------------------

    def _fail(self, why: str) -> None:
        if self.facts.failed:
            return
        self.facts.failed = why
        self._waiting, self._waiting_bytes = [], 0
        self._retry_at = time.monotonic() + _RETRY_S
        log, self._log = self._log, None
        if log is not None:
            self._beside.submit(log.abandon)  # behind a sync that is under way
        logger.error("data_dir: %s cannot be written (%s); the state is not saved until it can", self._folder, why)

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
            logger.info("data_dir: %s can be written again; the state is saved (the error was: %s)", self._folder, why)

    # --- the snapshot -----------------------------------------------------------------------------------------------

    async def _snapshot(self) -> None:
        """Begin a new log, and write the whole state beside it; then what came before is not needed any more."""
        try:
            before, frames = self._log, self._waiting
            self._number += 1
            self._begin_log()  # at once: what happens from here on belongs to the new one
            if before is not None and self._write(before, frames):
                await self._on_disk(before.close)
                await self._snapshot_now()
        except OSError as problem:
            self._fail(problem.strerror or str(problem))

    async def _snapshot_now(self) -> None:
        number, pipeline, writer = self._number, self._pipeline, Writer()
        path = self._path("snapshot", number)
        draft = path.with_suffix(".draft")
        file = _File(draft)
        try:
            await self._on_disk(lambda: file.write(writer.begin()))
            for now_ns, entries in save(pipeline.tracker, pipeline.clock):
                frame = writer.frame(entries, now_ns=now_ns, wall_ns=self._wall())
                await self._on_disk(lambda frame=frame: file.write(frame))  # type: ignore[misc]
            await self._on_disk(file.sync)
            if self.facts.failed:  # meanwhile: then the log has a hole
                return
            os.replace(draft, path)
            await self._on_disk(lambda: _sync_folder(self._folder))
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
    """A file that is appended to. Its methods may be called by several threads, each by one at a time."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._guard = threading.Lock()
        self._synced = time.monotonic()
        self._is_unsynced = False

    def write(self, data: bytes) -> int:
        """Append. OSError if it cannot be."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self._is_unsynced = True
        return len(data)

    def is_due(self, sync_s: float) -> bool:
        """Whether what was written should be on the disk by now."""
        return self._is_unsynced and time.monotonic() - self._synced >= sync_s

    def sync(self) -> None:
        """Have what was written on the disk."""
        with self._guard:
            if self._fd >= 0 and self._is_unsynced:
                self._is_unsynced = False
                self._synced = time.monotonic()
                os.fdatasync(self._fd)

    def close(self) -> None:
        """Have all on the disk, and let go of it; harmless twice."""
        self.sync()
        self.abandon()

    def abandon(self) -> None:
        """Let go of it as it is."""
        with self._guard:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def _is_idle(task: asyncio.Task[None] | None) -> bool:
    return task is None or task.done()


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
