"""The child processes for which a job waits: which they are, what they do, and who has the other end of a pipe.

By name and state alone: arguments and environment of a process may hold secrets.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from typing import Final

from ...guest import procfs

_LOOKED_AT_MAX: Final = 64
"""Processes; each costs a list of its descriptors."""


@dataclass(frozen=True, slots=True)
class ChildProcess:
    """A process, as its parent may see it."""

    pid: int
    name: str
    """Of its program, 15 characters of it; empty: it is gone."""
    state: str
    """The kernel's letter; X: gone."""


def process(pid: int, proc: str = "/proc") -> ChildProcess:
    """Return what a process is and does."""
    name = procfs.read(f"{proc}/{pid}/comm").decode("utf-8", "replace").strip()
    return ChildProcess(pid, name, procfs.process_state(pid))


def descendants(pid: int | None = None, proc: str = "/proc") -> list[int]:
    """Return the children of a process, by default of this one, then theirs; the first 64 of them."""
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
    folder = f"{proc}/{pid}/fd"
    return any(procfs.link(f"{folder}/{number}") == wanted for number in procfs.numbers(folder))


def _children(pid: int, proc: str) -> list[int]:
    """The kernel lists them by the thread that started each (`man 5 proc_tid_children`)."""
    folder = f"{proc}/{pid}/task"
    lists = (procfs.read(f"{folder}/{thread}/children") for thread in procfs.numbers(folder))
    return [int(word) for words in lists for word in words.split() if word.isdigit()]
