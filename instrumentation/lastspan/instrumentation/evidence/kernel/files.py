"""Who holds a lock on a file that this process waits for, as the kernel lists them (`man 5 proc_locks`).

No file is opened: whoever closes a file again drops the locks that its process has on it (`man 2 fcntl_locking`), and
SQLite's are of that kind. What is to be read of one is read through the application's own descriptor.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ...guest import procfs
from .descriptors import numbers, path_text

_FILES_MAX: Final = 256
_SQLITE: Final = b"SQLite format 3\0"
_NOT_FILES: Final = ("/dev/", "/proc/", "/sys/", "/memfd:")
_WAL_LOCKS: Final = range(120, 128)
"""Bytes of a `-shm` file that SQLite locks, the writer's first (its `wal.c`); each open connection has one beyond."""
_PENDING: Final = 0x40000000
"""The byte that who wants to write has while others still read (its `os.h`)."""


@dataclass(frozen=True, slots=True)
class FileLock:
    """A lock on a file, or on a part of it; held, or waited for."""

    pid: int | None
    """The process; of a `flock`, the one that took it. None: the lock belongs to no one process, or it is not known."""
    kind: str
    """POSIX (`fcntl`), FLOCK, OFDLCK (of an open file description), LEASE."""
    mode: str
    """READ or WRITE."""
    is_waiting: bool
    start: int = 0
    end: int | None = None
    """Its last byte; None: to the end of the file, however long that gets."""


def holders(file: int | os.stat_result, proc: str = "/proc") -> list[FileLock]:
    """Return the locks on a file, of a descriptor of ours or of a stat: those that are held first, then who waits.

    Locks of processes in other pid namespaces (containers) and, mostly, of other machines are not in the kernel's
    list: that nobody is found does not mean that nobody holds it. See `unseen_holder`.
    """
    name = file_name(file, f"{proc}/self")
    found = _table(proc).get(name, []) if name else []
    return sorted(found, key=lambda lock: lock.is_waiting)


def unseen_holder(locks: list[FileLock], proc: str = "/proc") -> str:
    """Say why the process that holds a lock is not known; empty: it is."""
    held = [lock for lock in locks if not lock.is_waiting]
    if not held:
        return "no process of this pid namespace holds it: one in another container does, or on another machine"
    known = [lock.pid for lock in held if lock.pid is not None]
    if not known:
        return "the lock belongs to an open file, not to a process"
    if not any(os.path.isdir(f"{proc}/{pid}") for pid in known):
        return f"process {known[0]} took it and has ended: one that inherited the file from it holds it"
    return ""


def sqlite_databases(proc: str = "/proc") -> list[tuple[str, list[FileLock]]]:
    """Return the path of each SQLite database that this process has open and somebody locks, and its locks.

    A wait for such a lock is a sleep to the kernel: SQLite tries again from time to time. Locks to write come first.
    """
    table = _table(proc)
    files = dict(_open_files(proc))
    found = []
    for path, number in files.items():
        locks = table.get(file_name(number, f"{proc}/self"), [])
        if path.endswith("-shm"):  # of a database with a write-ahead log: all of its locks are here
            path = path.removesuffix("-shm")
            locks = [lock for lock in locks if lock.start in _WAL_LOCKS]
        elif f"{path}-shm" in files:
            continue
        if locks and path in files and _is_sqlite(files[path]):
            found.append((path_text(path), sorted(locks, key=lambda lock: lock.mode != "WRITE")))
    return found


def in_the_way(locks: list[FileLock], own: int) -> list[FileLock]:
    """Return the locks on a SQLite database that keep a process (*own*) from writing; its own too, for other threads.

    Who reads is in the way only of one that has all it needs but the last reader's going, and says so.
    """
    others = [lock for lock in locks if lock.pid != own]
    wants_readers_out = any(lock.pid == own and lock.mode == "WRITE" and _has(lock, _PENDING) for lock in locks)
    return others if others and wants_readers_out else [lock for lock in locks if lock.mode == "WRITE"]


def _has(lock: FileLock, byte: int) -> bool:
    return lock.start <= byte and (lock.end is None or byte <= lock.end)


def number_of(path: str, proc: str = "/proc") -> int | None:
    """Return a descriptor of this process that has a file open; never opened for it: closing would drop its locks."""
    return dict(_open_files(proc)).get(path)


def file_name(file: int | os.stat_result, own: str = "/proc/self") -> str:
    """Return the name of a file in the kernel's list, device and inode as 08:01:1234; empty: not known.

    The kernel's own device number is asked for first: where a file system has several (btrfs, overlays), `stat` tells
    another. It also answers at once, where `stat` waits for a server that is gone.
    """
    if isinstance(file, os.stat_result):
        return f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    facts = _facts(file, own)
    device = _device(facts.get("mnt_id", ""), own)
    if device and "ino" in facts:  # since Linux 5.14
        return f"{device}:{facts['ino']}"
    try:
        return file_name(os.fstat(file))
    except OSError:
        return ""


def _facts(number: int, own: str) -> dict[str, str]:
    """What the kernel says of a descriptor, by name."""
    lines = procfs.read(f"{own}/fdinfo/{number}").decode("utf-8", "replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _device(mount: str, own: str) -> str:
    """The device of a mount (`man 5 proc_pid_mountinfo`), as the list of locks writes it."""
    for line in procfs.read_table(f"{own}/mountinfo").splitlines():
        words = line.split(None, 3)
        if len(words) == 4 and words[0].decode("ascii", "replace") == mount:
            major, _, minor = words[2].decode("ascii", "replace").partition(":")
            return f"{int(major):02x}:{int(minor):02x}" if major.isdecimal() and minor.isdecimal() else ""
    return ""


def _open_files(proc: str) -> Iterator[tuple[str, int]]:
    count = 0
    for number in numbers(f"{proc}/self"):
        path = procfs.link(f"{proc}/self/fd/{number}")
        if not path.startswith("/") or path.startswith(_NOT_FILES):
            continue
        yield path, number
        count += 1
        if count == _FILES_MAX:
            return


def _is_sqlite(number: int) -> bool:
    try:
        return os.pread(number, len(_SQLITE), 0) == _SQLITE
    except OSError:
        return False


# --- pure: the kernel's list ----------------------------------------------------------------------------------------


def parse_locks(table: bytes) -> dict[str, list[FileLock]]:
    """Return the locks in `/proc/locks` by device and inode; a line that cannot be read is passed over."""
    found: dict[str, list[FileLock]] = {}
    for line in table.decode("ascii", "replace").splitlines():
        if (row := _row(line.split()[1:])) is not None:
            found.setdefault(row[0], []).append(row[1])
    return found


def _row(words: list[str]) -> tuple[str, FileLock] | None:
    """Read `[->] POSIX ADVISORY WRITE pid device:inode start end`."""
    is_waiting = words[:1] == ["->"]
    words = words[is_waiting:]
    try:
        kind, _, mode, pid, name, start, end = words[:7]
        last = None if end == "EOF" else int(end)
        return name, FileLock(int(pid) if int(pid) > 0 else None, kind, mode, is_waiting, int(start), last)
    except ValueError:
        return None


def _table(proc: str) -> dict[str, list[FileLock]]:
    return parse_locks(procfs.read_table(f"{proc}/locks"))
