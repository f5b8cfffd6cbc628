"""The kernel's files about processes and threads (`man 5 proc`): what is not there, or not ours, reads as nothing.

Each call of the system lets go of the interpreter, which native code of the host may then keep: so few of them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

GONE: Final = "X"
"""Of a process that is no more; where the kernel's letter for its state would be."""

_PAGE: Final = 4096
_WHOLE_MAX: Final = 1 << 20


def read(path: str) -> bytes:
    """Return a small file, by one read."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(file, _PAGE)
    except OSError:  # its process or thread has just ended
        return b""
    finally:
        os.close(file)


def read_table(path: str) -> bytes:
    """Return a file of many lines, at most 1 MiB of it."""
    try:
        with open(path, "rb") as file:
            return file.read(_WHOLE_MAX)
    except OSError:
        return b""


def link(path: str) -> str:
    """Return where a link leads."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def numbers(folder: str) -> list[int]:
    """Return the entries of a folder that are numbers: processes, threads, descriptors."""
    try:
        return [int(name) for name in os.listdir(folder) if name.isdigit()]
    except OSError:
        return []


def after_name(stat: bytes) -> list[bytes]:
    """Return the fields of a `stat` file from the state on; the name before them, in brackets, may hold anything."""
    return stat.rpartition(b")")[2].split()


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """What `/proc/<pid>/stat` says of a process."""

    state: str
    cpu_ticks: int
    """User and system time of all its threads, in ticks of the kernel's clock."""
    started: int
    """When it started, in ticks since boot: a process id that is used again has another."""


def process_stat(pid: int) -> ProcessStat | None:
    """Return what the kernel says of a process; None: it is gone, or there is no `/proc`."""
    fields = after_name(read(f"/proc/{pid}/stat"))
    try:
        return ProcessStat(fields[0].decode("ascii", "replace"), int(fields[11]) + int(fields[12]), int(fields[19]))
    except (IndexError, ValueError):
        return None


def process_state(pid: int) -> str:
    """Return the kernel's letter for a process; X: gone."""
    stat = process_stat(pid)
    if stat is not None:
        return stat.state
    return GONE if os.path.isdir("/proc/self") else "?"
