"""The child processes for which a job waits: which they are, what they do, and who has the other end of a pipe.

By name and state alone: arguments and environment of a process may hold secrets.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from typing import Final

from ...registry.children import process_state

_LOOKED_AT_MAX: Final = 64
"""Processes; each costs a list of its descriptors."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process, as its parent may see it."""

    pid: int
    name: str
    """Of its program, 15 characters of it; empty: it is gone."""
    state: str
    """The kernel's letter; X: gone."""


def process(pid: int, proc: str = "/proc") -> Process:
    """Return what a process is and does."""
    return Process(pid, _read(f"{proc}/{pid}/comm").decode("utf-8", "replace").strip(), process_state(pid))


def descendants(pid: int | None = None, proc: str = "/proc") -> list[int]:
    """Return the children of a process, of this one unless told, then theirs; the first 64 of them."""
    found: list[int] = []
    waiting = deque([os.getpid() if pid is None else pid])
    while waiting and len(found) < _LOOKED_AT_MAX:
        children = _children(waiting.popleft(), proc)
        found += children
        waiting += children
    return found[:_LOOKED_AT_MAX]


def at_other_end(inode: int, proc: str = "/proc") -> list[int]:
    """Return the descendants of this process that have a pipe (`Descriptor.inode`) open: who is to write, or read."""
    wanted = f"pipe:[{inode}]"
    return [pid for pid in descendants(proc=proc) if _has(pid, wanted, proc)]


def _has(pid: int, wanted: str, proc: str) -> bool:
    try:
        names = os.listdir(f"{proc}/{pid}/fd")
    except OSError:  # gone, or another user's
        return False
    return any(_link(f"{proc}/{pid}/fd/{name}") == wanted for name in names)


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _children(pid: int, proc: str) -> list[int]:
    """The kernel lists them by the thread that started each (`man 5 proc_tid_children`)."""
    try:
        threads = os.listdir(f"{proc}/{pid}/task")
    except OSError:
        return []
    lists = (_read(f"{proc}/{pid}/task/{thread}/children") for thread in threads)
    return [int(word) for words in lists for word in words.split() if word.isdigit()]


def _read(path: str) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(file, 4096)
    except OSError:
        return b""
    finally:
        os.close(file)
