"""Whether this interpreter is one that the evidence understands: each part is tried once on code of our own.

A newer Python may keep things elsewhere. What is not understood then is not looked at, and the record says so: it makes
lastspan say less, never something wrong. Asked for by the watcher's thread; costs less than a millisecond.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import sys
from collections import deque
from collections.abc import Callable, Generator
from contextlib import ExitStack
from types import FrameType
from typing import Any, Final

from ..objects import values
from . import bytecode, running
from .variables import variable

WITH: Final = "with blocks"
TASKS: Final = "asyncio tasks"
EXECUTORS: Final = "executors"

_not_understood: tuple[str, ...] | None = None


def understands(part: str) -> bool:
    """Say whether a part of the interpreter is known."""
    return part not in _parts()


def unknown() -> str:
    """Say what of this interpreter is not known; empty: all is."""
    parts = _parts()
    return f"unknown: this Python is not known yet ({', '.join(parts)})" if parts else ""


def _parts() -> tuple[str, ...]:
    global _not_understood
    if _not_understood is None:
        _not_understood = tuple(part for part, check in _CHECKS.items() if not _holds(check))
    return _not_understood


def _holds(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except Exception:  # it is not what it was: that is the answer
        return False


# --- with blocks ------------------------------------------------------------------------------------------------------


class _Manager:
    """Sees, while it is entered, whether that is seen."""

    is_seen = False

    def __enter__(self) -> None:
        self.is_seen = _is_entering(sys._getframe(1))

    def __exit__(self, *error: object) -> None: ...

    async def __aenter__(self) -> None:
        await _Pause()

    async def __aexit__(self, *error: object) -> None: ...


class _Pause:
    def __await__(self) -> Generator[None, None, None]:
        yield


def _inside(one: _Manager, two: Any) -> Generator[None, None, None]:
    yield
    with one:
        with two as given:
            yield
            given = one  # noqa: F841
    yield


async def _inside_async(one: _Manager, two: _Manager) -> None:
    async with one:
        with two:
            await _Pause()


def _reads_with() -> bool:
    one, two = _Manager(), memoryview(b"")
    generator: Any = _inside(one, two)
    code = generator.gi_code
    seen = []
    for _ in generator:
        place = generator.gi_frame.f_lasti
        seen.append(
            ([bytecode.line_at(code, at) - code.co_firstlineno for at, _ in bytecode.blocks(code, place)], place)
        )
        if len(seen) == 2:
            inside = list(running.managers_of(generator))
            ends = [set(bytecode.stored(code, place, end)) for _, end in bytecode.blocks(code, place)]
    is_inside = [lines for lines, _ in seen] == [[], [3, 2], []] and inside == [one, two] and ends[0] == {"given"}
    is_told = one.is_seen and bytecode.has_blocks(code) and len(bytecode.enters(code)) == 2
    return is_inside and is_told and _reads_async_with() and _reads_stack()


def _reads_async_with() -> bool:
    one, two = _Manager(), _Manager()
    coroutine: Any = _inside_async(one, two)
    coroutine.send(None)
    entering = _is_entering(coroutine.cr_frame), list(running.managers_of(coroutine))
    coroutine.send(None)
    inside = _is_entering(coroutine.cr_frame), list(running.managers_of(coroutine))
    depth = len(list(bytecode.blocks(coroutine.cr_code, coroutine.cr_frame.f_lasti)))
    coroutine.close()
    return entering == (True, [one]) and inside == (False, [one, two]) and depth == 2 and two.is_seen


def _reads_stack() -> bool:
    """An `ExitStack` keeps the exits of what it has entered, of classes in Python and in C."""
    one, two = _Manager(), memoryview(b"")
    with ExitStack() as stack:
        stack.enter_context(one)
        stack.enter_context(two)
        callbacks = values.attribute(stack, "_exit_callbacks")
        return type(callbacks) is deque and [running.exited_by(row[1]) for row in callbacks] == [one, two]


def _is_entering(frame: FrameType) -> bool:
    return bytecode.entering(frame.f_code, frame.f_lasti) is not None


# --- asyncio ----------------------------------------------------------------------------------------------------------


_AnyLoop: Final[Any] = asyncio.AbstractEventLoop


class _Loop(_AnyLoop):
    """Runs one task of ours, by hand; it has no descriptor, and no other thread knows of it."""

    def __init__(self) -> None:
        self.calls: deque[Callable[[], object]] = deque()

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        self.calls.append(lambda: context.run(callback, *args) if context is not None else callback(*args))

    def call_exception_handler(self, context: dict[str, Any]) -> None: ...

    def run_forever(self) -> None:
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            while self.calls:
                self.calls.popleft()()
        finally:
            asyncio._set_running_loop(before)


def _reads_tasks() -> bool:
    loop = _Loop()
    future = asyncio.Future[None](loop=loop)
    found: list[bool] = []

    async def waits() -> None:
        found.append(running.running_task(sys._getframe()) is task)
        await future

    def look() -> None:
        found.append(task in running.all_tasks([sys._getframe()]) and running.running_task(sys._getframe()) is None)
        found.append(getattr(task, "_fut_waiter", None) is future)

    task = _Task(waits(), loop=loop, name="lastspan")  # without a name it would take a number of the application's
    loop.run_forever()
    loop.call_soon(look)
    loop.run_forever()
    future.set_result(None)
    loop.run_forever()
    return found == [True] * 3 and task.done() and task not in running.all_tasks([]) and _finds_loops()


_Task: Final[Callable[..., asyncio.Task[None]]] = asyncio.Task


def _finds_loops() -> bool:
    """Say whether the functions that run a loop are called as they were."""
    run_forever: Any = asyncio.BaseEventLoop.run_forever
    runner: Any = getattr(getattr(asyncio, "Runner", None), "run", asyncio.BaseEventLoop.run_until_complete)
    return run_forever.__code__.co_varnames[0] == "self" and not running.RUN.isdisjoint(runner.__code__.co_names)


# --- executors --------------------------------------------------------------------------------------------------------


def _reads_executors() -> bool:
    module: Any = concurrent.futures.thread
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    found: list[bool] = []

    def work() -> None:
        found.append(_works_for(sys._getframe(1), future))

    if hasattr(module, "WorkerContext"):
        create, resolve = module.ThreadPoolExecutor.prepare_context(None, ())
        module._WorkItem(future, resolve(work, (), {})).run(create())
    else:
        module._WorkItem(future, work, (), {}).run()
    return found == [True] and callable(module._worker)


def _works_for(frame: FrameType | None, future: object) -> bool:
    while frame is not None and not running.is_work_item(frame.f_code):
        frame = frame.f_back if running.is_executor(frame.f_code) else None
    return frame is not None and values.attribute(variable(frame, "self"), "future") is future


_CHECKS: Final[dict[str, Callable[[], bool]]] = {WITH: _reads_with, TASKS: _reads_tasks, EXECUTORS: _reads_executors}
