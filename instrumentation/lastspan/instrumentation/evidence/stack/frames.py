"""Where a span's code is: the stack of its thread, asyncio task or greenlet, and the innermost application line.

Read from another thread, only for spans that are late; no frame is kept between two looks.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import sys
import threading
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple, TypeAlias

from ...registry.spans import ExecutionContext
from .. import python
from ..objects import futures, values
from ..objects.reads import read
from . import tasks
from .installed import is_application as is_application

Step: TypeAlias = "tuple[CodeType, int]"
"""One frame: its code and its current line."""

_DEPTH_MAX: Final = 128
"""Of a deeper stack both ends are kept: who called a recursion, and where it is now."""
_WALKED_MAX: Final = 4096
_FOLLOWED_MAX: Final = 4
"""Executors whose work waits for work of an executor."""
_STACK_TEXT_MAX: Final = 8192


class CodeLine(NamedTuple):
    """A place in the code, that keeps none of it alive."""

    function: str
    file: str
    line: int

    @classmethod
    def of(cls, step: Step) -> CodeLine:
        """Return the place where a frame stands."""
        code, line = step
        return cls(qualname(code), code.co_filename, line)

    def __str__(self) -> str:
        """Write it for people: function, file:line."""
        return f"{self.function}, {short_place(self.file, self.line)}"


@dataclass(frozen=True, slots=True)
class StackSample:
    """One stack sample: the stack, outermost first, and whose it is."""

    steps: tuple[Step, ...]
    thread_id: int | None
    thread_name: str
    unseen: str = ""
    """Why there is no stack."""
    is_on_thread: bool = True
    """The innermost frame runs on that thread; False: a task that waits is on none."""
    awaits: object = None
    """Of a task that waits: stands for the very future, equal as long as it is the same."""

    def place(self, package: str = "") -> Step | None:
        """Return the innermost application frame; without one, the innermost frame."""
        if not self.steps:
            return None
        index = application_index(self.steps, package)
        return self.steps[-1 if index is None else index]


def sample_stack(where: ExecutionContext) -> StackSample:
    """Sample the stack of the code that a span runs.

    The thread is the one that runs the innermost frame: of a task that waits for an executor, that one's.
    """
    frames, thread, unseen = _seen(where)
    native_id, name = _thread(thread or where.thread)
    steps = tuple((frame.f_code, frame.f_lineno or line_of(frame)) for frame in frames)
    awaits = tasks.awaited(where.task) if where.task is not None and thread is None else None
    return StackSample(steps, native_id, name, unseen, is_on_thread=thread is not None, awaits=awaits)


def line_of(frame: FrameType) -> int:
    """Return the current line of a frame.

    An instruction may have none of its own, as the jump from the end of an inner loop: it is of the one before it.
    """
    line: int | None = frame.f_lineno
    if line is None:
        before = [row[2] for row in frame.f_code.co_lines() if row[0] <= frame.f_lasti and row[2] is not None]
        line = before[-1] if before else frame.f_code.co_firstlineno
    return line


def live(where: ExecutionContext) -> tuple[FrameType, ...]:
    """Return the frames that `sample_stack` walks, outermost first; none where nothing can be read.

    A frame keeps alive what its function uses: the caller lets go of them before it does anything else.
    """
    return tuple(_seen(where)[0])


def worker_of(where: ExecutionContext) -> int | None:
    """Return the thread that does what a span's code waits for, or runs that code; None: nobody runs."""
    return _seen(where)[1]


def _seen(where: ExecutionContext) -> tuple[list[FrameType], int | None, str]:
    """Return the frames of what a span runs, outermost first; the thread that runs the innermost; or why none."""
    if unreadable := python.unreadable():
        return [], where.thread, unreadable
    if where.task is not None and not python.is_running(where.task):
        if futures.is_done(where.task):
            return [], where.thread, "its asyncio task has ended"
        return *_task_frames(where.task, where.thread), ""
    frame = None
    if where.greenlet is not None:
        if read(where.greenlet, "dead") is not False:
            return [], where.thread, "its greenlet has ended"
        frame = tasks.greenlet_frame(where.greenlet)  # None: it is the one that runs on its thread now
    current = python.current_frames()
    frame = frame or current.get(where.thread)
    if frame is None:
        return [], where.thread, "its thread has ended"
    frames = _thread_frames(frame)
    if (main := tasks.main_task(frames)) is not None:
        awaited, thread = _task_frames(main, where.thread)
        return _both_ends([*frames, *awaited]), thread, ""
    return *_followed(frames, where.thread, current), ""


def _followed(
    frames: list[FrameType], thread: int, current: dict[int, FrameType]
) -> tuple[list[FrameType], int | None]:
    """Follow a thread that waits for a thread, or for work of an executor or of a loop, to whoever does that work."""
    followed = {thread}
    for _ in range(_FOLLOWED_MAX):
        work = tasks.work_waited_for(frames)
        if (task := tasks.task_behind(work)) is not None:
            own, runs = _task_frames(task, tasks.loop_thread(task))
            return _both_ends([*frames, *own]), runs
        ident = tasks.joined_thread(frames) if work is None else tasks.executor_thread(work, current)
        if ident is None or ident in followed or ident not in current:  # a greenlet has no frames of a thread
            break
        frames, thread = [*frames, *tasks.within(_thread_frames(current.get(ident)), work)], ident
        followed.add(ident)
    return _both_ends(frames), thread


def _task_frames(task: asyncio.Task[Any], loop_thread: int) -> tuple[list[FrameType], int | None]:
    """Return the frames of a task that waits; and the thread that runs what it waits for, if one does."""
    frames, work = tasks.chain(task)
    if work is None:
        return _both_ends(frames), None
    current = python.current_frames()
    thread: int | None = loop_thread
    if values.is_kind(work, threading.Thread):
        ident = values.attribute(work, "_ident")
        thread = ident if type(ident) is int else None
    elif values.is_kind(work, concurrent.futures.Future):
        thread = tasks.executor_thread(work, current)  # type: ignore[arg-type]
    if thread is None:
        return frames, None
    running = _thread_frames(current.get(thread))
    return _both_ends([*frames, *tasks.within(running, work)]), thread


def has_ended(where: ExecutionContext) -> bool:
    """Say whether the thread, task or greenlet is over that a span began in: others may still work for it."""
    if where.task is not None:
        return futures.is_done(where.task)
    if where.greenlet is not None:
        return read(where.greenlet, "dead") is not False
    is_known = where.thread in threading._active  # type: ignore[attr-defined]  # native ones are not
    return not is_known and not python.unreadable() and where.thread not in python.current_frames()


def application_index(steps: tuple[Step, ...], package: str = "") -> int | None:
    """Return which step is the innermost of the application; None: none is.

    Where a framework runs a job whose own code is over, it is what the framework does for it: who started the worker,
    as the script of that name, is not the job.
    """
    innermost_first = range(len(steps) - 1, -1, -1)
    for index in innermost_first:
        code = steps[index][0]
        if is_application(code.co_filename, package):
            return index
        if code.co_name in _ENTRIES and code.co_filename.endswith(_ENTRIES[code.co_name]):
            return min(index + 1, len(steps) - 1)
    return next((index for index in innermost_first if steps[index][0].co_filename.startswith(_TYPED)), None)


_ENTRIES: Final = {"trace_task": os.path.join("celery", "app", "trace.py")}
"""Functions that run a job, from its first line to the storing of its result: by name, their files."""
_TYPED: Final = ("<string>", "<stdin>", "<python-input-", "<ipython-input-", "<command-")
"""`python -c`, what is typed, cells of notebooks; libraries name generated code alike, so files go before."""


def stack_text(steps: tuple[Step, ...]) -> str:
    """Write a stack like a traceback, innermost last; what does not fit is left out at the outer end."""
    lines: list[str] = []
    size = 0
    for code, line in reversed(steps):
        text = f'File "{code.co_filename}", line {line}, in {qualname(code)}'
        size += len(text) + 1
        if size > _STACK_TEXT_MAX:
            lines.append("…")
            break
        lines.append(text)
    return "\n".join(reversed(lines))


def qualname(code: CodeType) -> str:
    """The function's name; qualified from Python 3.11 on."""
    return getattr(code, "co_qualname", code.co_name)


def short_place(filename: str, line: int) -> str:
    """Return the last two parts of a path, and the line."""
    return f"{'/'.join(filename.split(os.sep)[-2:])}:{line}"


def _thread(ident: int) -> tuple[int | None, str]:
    thread = threading._active.get(ident)  # type: ignore[attr-defined]  # enumerate() takes a lock
    if thread is None:
        return None, ""
    # After fork the main thread keeps its parent's native id; on Linux its own is the process id.
    is_main = sys.platform == "linux" and thread is threading.main_thread()
    native_id, name = (
        values.attribute(thread, "_native_id"),
        values.attribute(thread, "_name"),
    )  # its own may be anybody's
    native_id = os.getpid() if is_main else native_id
    return native_id if type(native_id) is int else None, name if type(name) is str else ""


def _thread_frames(frame: FrameType | None) -> list[FrameType]:
    frames: list[FrameType] = []
    while frame is not None and len(frames) < _WALKED_MAX:
        frames.append(frame)
        frame = frame.f_back
    frames.reverse()
    return _both_ends(frames)


def _both_ends(frames: list[FrameType]) -> list[FrameType]:
    half = _DEPTH_MAX // 2
    return frames if len(frames) <= _DEPTH_MAX else [*frames[:half], *frames[-half:]]
