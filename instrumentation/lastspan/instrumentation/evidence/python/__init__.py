"""What differs between versions of the interpreter, behind names that say what is asked.

`bytecode`: which `with` blocks a place in code is inside. `running`: tasks, executors, suspended code, threads that may
be read. `variables`: of a frame. `known`: whether this interpreter is one whose answers are to be trusted: of a part
that is not understood, nothing is told here.
"""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType
from typing import Any

from ..objects import futures
from . import bytecode, running
from .bytecode import Span, gets_next, has_columns, line_at, method_called, span_of, stored
from .known import EXECUTORS, TASKS, WITH, understands, unknown
from .running import HAS_QUALNAMES, current_frames, exited_by, is_executor, unreadable
from .variables import in_reach, module_name, read, variable

__all__ = [
    "HAS_QUALNAMES",
    "Span",
    "all_tasks",
    "blocks",
    "current_frames",
    "current_task",
    "entering",
    "enters",
    "exited_by",
    "gets_next",
    "has_blocks",
    "has_columns",
    "in_reach",
    "is_executor",
    "is_running",
    "is_work_item",
    "line_at",
    "managers_of",
    "method_called",
    "module_name",
    "read",
    "running_task",
    "span_of",
    "stored",
    "understands",
    "unknown",
    "unreadable",
    "variable",
]

ast.unparse(ast.Pass())
"""Since 3.14 its first call imports a module: let that be now, not while a job is looked at."""


def has_blocks(code: CodeType) -> bool:
    """Say whether there is a `with` block in a function."""
    return understands(WITH) and bytecode.has_blocks(code)


def enters(code: CodeType) -> list[int]:
    """Return where `with` blocks are entered, in the order of the code."""
    return bytecode.enters(code) if understands(WITH) else []


def entering(code: CodeType, place: int) -> int | None:
    """Return where the `with` statement is entered whose `__enter__` (or the await of it) runs at *place*."""
    return bytecode.entering(code, place) if understands(WITH) else None


def blocks(code: CodeType, place: int) -> Iterator[tuple[int, int]]:
    """Yield where the `with` blocks around *place* were entered (-1: unknown), and where they end; innermost first."""
    return bytecode.blocks(code, place) if understands(WITH) else iter(())


def managers_of(suspended: object) -> Iterator[object]:
    """Yield the context managers that a suspended generator or coroutine is inside, outermost first."""
    return running.managers_of(suspended) if understands(WITH) else iter(())


def all_tasks(frames: Iterable[FrameType]) -> list[asyncio.Task[Any]]:
    """Return the tasks that are not done of the loops that threads with these *frames* run."""
    return running.all_tasks(frames) if understands(TASKS) else []


def current_task(loop: Any) -> asyncio.Task[Any] | None:
    """Return the task that a loop runs now."""
    return running.current_task(loop) if understands(TASKS) else None


def is_running(task: asyncio.Task[Any]) -> bool:
    """Say whether a task is the one that its loop runs now; its coroutine knows too, if it is one in Python."""
    if understands(TASKS):
        return current_task(futures.loop_of(task)) is task
    return running.is_executing(futures.coroutine_of(task))


def running_task(frame: FrameType) -> asyncio.Task[Any] | None:
    """Return the task that the thread with this frame runs now."""
    return running.running_task(frame) if understands(TASKS) else None


def is_work_item(code: CodeType) -> bool:
    """Say whether it is the function of an executor's thread that has the work, and its future, in `self`."""
    return understands(EXECUTORS) and running.is_work_item(code)
