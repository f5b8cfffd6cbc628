"""What runs in the interpreter: asyncio's tasks, work of executors, suspended code, threads that may be read.

Found by what there is, not by a version. Nothing of the application is called, and nothing that may wait.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import gc
import inspect
import sys
import types
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType
from typing import Any, Final

from ...guest.native import native_ident
from ..objects import futures, values
from .variables import in_reach, variable

_DEPTH_MAX: Final = 4096
_LOOPS_MAX: Final = 64


# --- asyncio ----------------------------------------------------------------------------------------------------------

_IN_SETS: Final = ("_scheduled_tasks", "_eager_tasks", "_all_tasks")
"""Where `asyncio.tasks` keeps tasks of all loops, until 3.13; later those of classes that are not its own."""
_is_by_loop: Final = isinstance(asyncio.all_tasks, types.BuiltinFunctionType)
"""Since 3.14 each thread has its tasks, and only a loop's can be asked for. Both questions are functions in C, for any
thread: they go through the lists of all threads, under the lock of these lists, and make no object meanwhile at which a
collection could begin. Of a task they ask whether it is `done`: asyncio's own, unless a subclass has another."""
_all_tasks_of: Final = asyncio.all_tasks
_current_task_of: Final = asyncio.current_task
RUN: Final = frozenset({"run_forever", "run_until_complete"})
"""What runs a loop, of whatever library; uvloop's has no frame, but its caller has."""


def all_tasks(frames: Iterable[FrameType]) -> list[asyncio.Task[Any]]:
    """Return the tasks that are not done, of the loops that threads with these *frames* run (until 3.13: of all)."""
    known: dict[int, asyncio.Task[Any]] = {}
    for name in _IN_SETS:
        for task in _copy(getattr(asyncio.tasks, name, ())):
            known[id(task)] = task
    for loop in loops(frames) if _is_by_loop else ():
        for task in _all_tasks_of(loop):
            known[id(task)] = task
    return [task for task in known.values() if not futures.is_done(task)]


def _copy(tasks: Iterable[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    for _ in range(10):
        try:
            return list(tasks)
        except RuntimeError:  # one was added meanwhile
            continue
    return []


def current_task(loop: Any) -> asyncio.Task[Any] | None:
    """Return the task that a loop runs now."""
    return _current_task_of(loop) if loop is not None and futures.is_known(loop) else None


def running_task(frame: FrameType) -> asyncio.Task[Any] | None:
    """Return the task that the thread with this frame runs now."""
    current = list(getattr(asyncio.tasks, "_current_tasks", {}).values())
    if _is_by_loop:
        current += map(current_task, loops([frame]))
    outermost = {}
    for task in current:
        coroutine = futures.coroutine_of(task)
        if type(coroutine) is types.CoroutineType:
            outermost[id(coroutine.cr_frame)] = task
    found = (outermost[id(one)] for one in (_stack(frame) if outermost else ()) if id(one) in outermost)
    return next(found, None)


def is_executing(coroutine: object) -> bool:
    """Say whether a coroutine runs, or one that it awaits."""
    return type(coroutine) is types.CoroutineType and coroutine.cr_running


def loops(frames: Iterable[FrameType]) -> list[asyncio.AbstractEventLoop]:
    """Return the event loops that threads run, by the functions that run them."""
    found: dict[int, asyncio.AbstractEventLoop] = {}
    for frame in frames:
        for one in _stack(frame):
            if one.f_code.co_name not in RUN and RUN.isdisjoint(one.f_code.co_names):
                continue
            for value in _at_hand(one):
                if values.is_kind(value, asyncio.AbstractEventLoop) and len(found) < _LOOPS_MAX:
                    found[id(value)] = value  # type: ignore[assignment]
    return list(found.values())


def _at_hand(frame: FrameType) -> list[object]:
    is_function = frame.f_code.co_flags & inspect.CO_OPTIMIZED
    return in_reach(frame) if is_function else [variable(frame, name) for name in frame.f_code.co_names]


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    for _ in range(_DEPTH_MAX):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


# --- executors --------------------------------------------------------------------------------------------------------


def _code_of(name: str) -> CodeType | None:
    function = getattr(getattr(concurrent.futures.thread, name, None), "run", None)
    return getattr(function, "__code__", None)


_WORK_ITEM: Final = _code_of("_WorkItem")
_CONTEXT: Final = _code_of("WorkerContext")
"""Since 3.14 this one calls the work, on behalf of the item."""


def is_work_item(code: CodeType) -> bool:
    """Say whether it is the function of an executor's thread that has the work, and its future, in `self`."""
    return code is _WORK_ITEM


def is_executor(code: CodeType) -> bool:
    """Say whether it is a function of an executor's thread, between it and the work."""
    return code is _WORK_ITEM or code is _CONTEXT


# --- suspended code ---------------------------------------------------------------------------------------------------

_EXITS: Final = frozenset({"__exit__", "__aexit__"})


def exited_by(callback: object) -> object:
    """Return the context manager whose `__exit__` a bound method is; `MISSING`: it is something else."""
    if type(callback) is types.MethodType:
        name = getattr(callback.__func__, "__name__", "") if _is_function(callback.__func__) else ""
        return callback.__self__ if name in _EXITS else values.MISSING
    if type(callback) is types.BuiltinMethodType and callback.__name__ in _EXITS:
        return callback.__self__
    return values.MISSING


def _is_function(value: object) -> bool:
    is_known = values.is_exactly(value, types.FunctionType, types.MethodDescriptorType, types.BuiltinFunctionType)
    return is_known or values.class_name(type(value)).endswith("cython_function_or_method")


def managers_of(suspended: object) -> Iterator[object]:
    """Yield the context managers that a suspended generator or coroutine is inside: their exits lie on its stack.

    Outermost first. Bound to its manager, or (3.14) as the function of its class, below the manager.
    """
    names = ("gi_frame", "cr_frame", "ag_frame")
    frame = next((one for name in names if (one := getattr(suspended, name, None)) is not None), None)
    before: object = values.MISSING
    for held in gc.get_referents(suspended if HAS_QUALNAMES else frame):
        if (manager := exited_by(held)) is not values.MISSING:
            yield manager
        elif before is not values.MISSING and _is_exit_of(before, held):
            yield held
        before = held


def _is_exit_of(function: object, manager: object) -> bool:
    if not _is_function(function) or (name := getattr(function, "__name__", "")) not in _EXITS:
        return False
    return values.class_attribute(type(manager), name) is function


HAS_QUALNAMES: Final = hasattr(CodeType, "co_qualname")
"""Since 3.11 code knows the class that it is of; and a generator has the stack of its frame itself."""


# --- threads ----------------------------------------------------------------------------------------------------------


def unreadable() -> str:
    """Say why the frames of other threads cannot be read; empty: they can."""
    if not getattr(sys, "_is_gil_enabled", _yes)():
        return "free-threaded Python: frames of other threads cannot be read safely"
    if _has_parallel_interpreters():
        return "other interpreters run in this process at the same time: frames cannot be read safely"
    return ""


_COLLECTS_ANYWHERE: Final = sys.version_info < (3, 12)
"""A collection may run wherever an object is made."""


def current_frames() -> dict[int, FrameType]:
    """Return the frames of all other threads, before Python 3.12 with the garbage collector held off meanwhile.

    Our own is taken out at once: it would hold the dictionary that holds it, and with it every frame of the host, until
    the garbage collector comes by; on CPython 3.12.1 some of these (with a view of a `BytesIO`) crash it then.

    The call holds an interpreter-wide lock while it makes objects. A collection then may end a `threading.local`, which
    wants the same lock: the whole process stands still for ever (python/cpython#106883). From 3.12 on no collection
    runs within a call in C, so there the host's collector is not touched: it may be switched by the host meanwhile.
    """
    found = _guarded_frames() if _COLLECTS_ANYWHERE else sys._current_frames()
    found.pop(native_ident(), None)
    return found


def _guarded_frames() -> dict[int, FrameType]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        if was_enabled:
            gc.enable()


def _yes() -> bool:
    return True


def _has_parallel_interpreters() -> bool:
    """Say whether there are interpreters with a lock of their own: the frames of all are listed together.

    Who has made one has imported this module. That of 3.12 cannot be asked without keeping an interpreter alive.
    """
    module = sys.modules.get("_interpreters")
    if module is None:
        return "_xxsubinterpreters" in sys.modules and hasattr(sys, "monitoring")
    try:
        others = [one[0] for one in module.list_all() if one[0] != module.get_current()[0]]
        return any(module.get_config(one).gil != "default" and module.get_config(one).gil != "shared" for one in others)
    except Exception:  # it has just ended; or this version answers in another way
        return True
