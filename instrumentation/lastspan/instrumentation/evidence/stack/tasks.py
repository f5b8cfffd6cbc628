"""An asyncio task that waits: its coroutines down to the innermost await, and on into the task that this one waits for.

Read from another thread while the loop runs. Tasks that wait for tasks know of each other in fields of asyncio's own
that are no promise: where a version has them no more, the chain ends there, and nothing else happens.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import concurrent.futures.thread
import gc
import os
import selectors
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator
from types import (
    AsyncGeneratorType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    GetSetDescriptorType,
    MemberDescriptorType,
)
from typing import Any, Final, TypeAlias

from .. import python
from ..clients.table import THREADS
from ..objects import futures, values
from ..objects.reads import read

Work: TypeAlias = "asyncio.Task[Any] | concurrent.futures.Future[Any] | threading.Thread | None"
"""Where a chain ends: a task that runs now, work of an executor, a thread; or None: nothing that has frames."""

_TASKS_MAX: Final = 32
_FRAMES_MAX: Final = 128
_AWAITS_MAX: Final = 1000
_CHILDREN_MAX: Final = 1000
_DIGITS_MAX: Final = 19
_OPAQUE: Final = frozenset({"async_generator_asend", "async_generator_athrow", "anext_awaitable", "coroutine_wrapper"})
"""What the interpreter wraps around a coroutine or generator, with no attribute that leads to it."""
_Gathering: Final = getattr(asyncio.tasks, "_GatheringFuture", None)
_worker: Final = getattr(concurrent.futures.thread, "_worker", None)
# As their code says it: in a frozen program `__file__` names a folder, and code has none.
_FUTURES: Final = concurrent.futures.Future.__repr__.__code__.co_filename
_OPEN: Final = frozenset({"PENDING", "RUNNING"})
"""`Future._state`; `done()` takes a lock."""
_THREADING: Final = threading.Thread.__repr__.__code__.co_filename
_ASYNCIO: Final = os.path.dirname(asyncio.run.__code__.co_filename) + os.sep
_LOOP: Final = (_ASYNCIO, selectors.SelectSelector.select.__code__.co_filename)


def chain(task: asyncio.Task[Any]) -> tuple[list[FrameType], Work]:
    """Return the frames of a waiting task and of the tasks that it waits for, outermost first, and where they end."""
    frames: list[FrameType] = []
    passed: set[int] = set()
    awaited: Any = task
    while awaited is not None and id(awaited) not in passed and len(passed) < _TASKS_MAX:
        passed.add(id(awaited))
        if futures.is_task(awaited):
            if python.is_running(awaited) and awaited is not task:
                return frames[-_FRAMES_MAX:], awaited
            own = list(coroutine_frames(futures.coroutine_of(awaited)))
            frames += own
            awaited = _awaited_by(awaited, own)
        elif values.is_kind(awaited, concurrent.futures.Future) or values.is_kind(awaited, threading.Thread):
            return frames[-_FRAMES_MAX:], awaited
        else:
            awaited = _behind(awaited)
    return frames[-_FRAMES_MAX:], None


def awaited(task: asyncio.Task[Any]) -> weakref.ref[asyncio.Future[Any]] | None:
    """Return the future that a task waits for, kept alive by nobody here; a future has one such reference only."""
    future = futures.awaited_by(task)
    return weakref.ref(future) if futures.is_future(future) else None


def main_task(frames: list[FrameType]) -> asyncio.Task[Any] | None:
    """Return the task that a thread runs an event loop for, if the loop has nothing to do: plain code that awaits.

    The loop's own frames, which say nothing, are taken off.
    """
    for index in range(len(frames) - 1, -1, -1):
        code = frames[index].f_code
        if not code.co_filename.startswith(_LOOP):
            return None
        if (name := _RUNS.get(code.co_name)) is None:
            continue
        task = variable(frames[index], name)
        if futures.is_task(task) and not futures.is_done(task) and not python.is_running(task):
            del frames[index + 1 :]
            return task
    return None


_RUNS: Final = {"run_until_complete": "future", "run": "task"}
"""By function of asyncio that runs a loop: the variable that holds the task."""


def coroutine_frames(awaited: Any) -> Iterator[FrameType]:
    """Walk from a coroutine down to its innermost await, through generators of both kinds, and through greenlets."""
    return (frame for frame, _ in coroutines(awaited))


def coroutines(awaited: Any) -> Iterator[tuple[FrameType, object]]:
    """Do the same; yield the coroutine or generator beside its frame."""
    for _ in range(_AWAITS_MAX):
        if _is_opaque(awaited):
            awaited = _wrapped(awaited)
        frame, inner = _parts(awaited)
        if frame is None:
            return
        yield frame, awaited
        yield from ((inside, awaited) for inside in _bridged(frame))
        awaited = inner


def _bridged(frame: FrameType) -> list[FrameType]:
    """Return the frames of plain code that a coroutine runs in a greenlet, which waits for what that one awaits.

    So SQLAlchemy runs its own code, and the application's (`run_sync`), for asyncio.
    """
    if frame.f_code.co_name != "greenlet_spawn" or "context" not in frame.f_code.co_varnames:
        return []
    context = python.variable(frame, "context")
    if not any(values.class_name(kind) == "greenlet.greenlet" for kind in values.kinds(context)):
        return []
    found: list[FrameType] = []
    inner = greenlet_frame(context)
    while inner is not None and len(found) < _FRAMES_MAX:
        found.append(inner)
        inner = inner.f_back
    return found[::-1]


def executor_thread(future: concurrent.futures.Future[Any], frames: dict[int, FrameType]) -> int | None:
    """Return the thread, of those with these *frames*, that runs the work of a future now."""
    for ident, thread in list(threading._active.items()):  # type: ignore[attr-defined]  # enumerate() takes a lock
        if _plain(thread, "_target") is not _worker or (item := _work_item(frames.get(ident))) is None:
            continue
        if _plain(variable(item, "self"), "future") is future:
            return int(ident)
    return None


def work_waited_for(frames: list[FrameType]) -> concurrent.futures.Future[Any] | None:
    """Return the work of an executor that a thread waits for: one future's, or of many one that is under way."""
    for frame in frames[:-_WAITING_MAX:-1]:
        code = frame.f_code
        if code.co_filename != _FUTURES or (name := _WAITS.get(code.co_name)) is None:
            continue
        found = variable(frame, name)
        works = tuple(found) if values.is_exactly(found, list, tuple, set, frozenset) else (found,)
        of_executors = [one for one in works if values.is_kind(one, concurrent.futures.Future)]
        left = [one for one in of_executors if _plain(one, "_state") in _OPEN]
        return next((one for one in left if _plain(one, "_state") == "RUNNING"), next(iter(left), None))
    return None


def task_behind(work: Work) -> asyncio.Task[Any] | None:
    """Return the task that a thread waits for by `run_coroutine_threadsafe`; None: its work is no task's."""
    callbacks = _plain(work, "_done_callbacks")
    for callback in list(callbacks) if type(callbacks) is list else ():
        if type(callback) is FunctionType and callback.__code__.co_name == "_call_check_cancel":
            source = _enclosed(callback, "source")
            return source if futures.is_task(source) and not futures.is_done(source) else None
    return None


def loop_thread(task: asyncio.Task[Any]) -> int:
    """Return the thread that runs a task's loop; 0: none does."""
    return futures.thread_of(futures.loop_of(task))


def joined_thread(frames: list[FrameType]) -> int | None:
    """Return the thread whose end a thread waits for."""
    for frame in frames[:-_WAITING_MAX:-1]:
        if frame.f_code.co_name == "join" and frame.f_code.co_filename == _THREADING:
            ident = _plain(variable(frame, "self"), "_ident")
            return ident if type(ident) is int else None
    return None


_WAITING_MAX: Final = 8
"""How deep below the call for a result its own wait may be, in frames."""
_WAITS: Final = {"result": "self", "exception": "self", "wait": "fs", "as_completed": "pending"}
"""By function of concurrent.futures that waits: the variable that holds what for."""


def within(frames: list[FrameType], work: Work) -> list[FrameType]:
    """Return, of a thread's frames, those of the work that it runs: not the executor's or the loop's around them."""
    if work is None or values.is_kind(work, threading.Thread):
        own = (index for index, frame in enumerate(frames) if frame.f_code.co_filename != _THREADING)
        return frames[next(own, 0) :]
    outermost = None
    if futures.is_task(work):
        outermost = _parts(futures.coroutine_of(work))[0]
    for index, frame in enumerate(frames):
        if frame is outermost:
            return frames[index:]
        if outermost is None and python.is_work_item(frame.f_code):
            own = (at for at in range(index, len(frames)) if not python.is_executor(frames[at].f_code))
            return frames[next(own, len(frames)) :]
    return frames


# --- what a task waits for --------------------------------------------------------------------------------------------


def _awaited_by(task: asyncio.Task[Any], frames: list[FrameType]) -> Any:
    """Return the child, or the future, that a task with these frames waits for."""
    if frames and (thread := _thread_of_library(frames[-1])) is not None:
        return thread
    for frame in reversed(frames[-2:]):  # `as_completed` itself waits in a queue's function
        if (children := _children(frame, task)) is not None:
            return first(children)
    return futures.awaited_by(task)


def _children(frame: FrameType, task: asyncio.Task[Any]) -> Iterable[Any] | None:
    """Return what a waiting function of asyncio was given; None: it is none of these."""
    code = frame.f_code
    if not code.co_filename.startswith(_ASYNCIO) and code.co_name != "__aexit__":
        return None
    match code.co_name:
        case "wait_for":  # a coroutine from 3.12 on: then it is awaited by this very task
            future = variable(frame, "fut")
            return [future] if futures.is_future(future) else None
        case "_wait":
            return _some(variable(frame, "fs"))
        case "__aexit__" | "_aexit":
            group = variable(frame, "self")
            return _some(_plain(group, "_tasks")) if _is_group(group) else None
        case "_wait_for_one" if "self" in code.co_varnames:
            return _some(_plain(variable(frame, "self"), "_todo"))
        case "_wait_for_one":
            return _completing(variable(frame, "done"), futures.loop_of(task))
        case _:
            return None


def greenlet_frame(greenlet: object) -> FrameType | None:
    """Return the frame where a greenlet waits; None: it runs now, or has ended."""
    found = None if greenlet is None else read(greenlet, "gr_frame")
    return found if type(found) is FrameType else None


def _thread_of_library(frame: FrameType) -> threading.Thread | None:
    """Return the thread of a library's own that a coroutine has given work."""
    names = THREADS.get((python.module_name(frame), frame.f_code.co_name), "")
    found = (python.read(frame, path) for path in names.split("|"))
    return next((one for one in found if values.is_kind(one, threading.Thread)), None)  # type: ignore[return-value]


def _is_group(group: object) -> bool:
    module, _, name = values.class_name(type(group)).rpartition(".")
    return name == "TaskGroup" and module.partition(".")[0] in {"asyncio", "anyio"}


def _completing(queue: object, loop: object) -> list[asyncio.Task[Any]]:
    """Return the tasks that `as_completed` waits for, before Python 3.13: those that will go into its queue."""
    open_ones = [task for task in python.all_tasks(()) if futures.loop_of(task) is loop]
    found = [task for task in open_ones if any(_puts_into(one, queue) for one in _callbacks(task))]
    return sorted(found, key=_number)


def _puts_into(callback: FunctionType, queue: object) -> bool:
    return callback.__code__.co_name == "_on_completion" and _enclosed(callback, "done") is queue


def _behind(future: Any) -> Any:
    """Return what a plain future stands for: the first of a gathering, what a shield protects, work of an executor."""
    if not futures.is_future(future):
        return None
    if type(future) is _Gathering:
        return first(_some(_plain(future, "_children")) or ())
    for callback in _callbacks(future):
        if (name := _BEHIND.get(callback.__code__.co_name)) is not None:
            return _enclosed(callback, name)
    return None


_BEHIND: Final = {"_outer_done_callback": "inner", "_call_check_cancel": "source"}
"""By callback on a future: the variable of its closure that holds the other future."""


def _callbacks(future: asyncio.Future[Any]) -> Iterator[FunctionType]:
    """Return asyncio's own functions that are called when a future is done."""
    for callback, _ in futures.callbacks_of(future):
        if type(callback) is FunctionType and callback.__code__.co_filename.startswith(_ASYNCIO):
            yield callback


def first(several: Iterable[Any]) -> Any:
    """Return the one that runs now, for it keeps the others waiting; else the oldest that is not done."""
    left = [future for future in several if futures.is_future(future) and not futures.is_done(future)]
    if type(several) is not list:
        left.sort(key=_number)
    return next((one for one in left if futures.is_task(one) and python.is_running(one)), next(iter(left), None))


def _number(future: asyncio.Future[Any]) -> int:
    """Tasks are numbered in their default names; a set of them knows no other order."""
    digits = futures.name_of(future).rpartition("-")[2] if futures.is_task(future) else ""
    return int(digits) if digits.isdecimal() and len(digits) < _DIGITS_MAX else sys.maxsize


def _some(several: object) -> list[Any] | tuple[Any, ...] | None:
    """Return futures of a list, or a copy of a set of them: it may change while it is read."""
    if type(several) is list:
        return several[:_CHILDREN_MAX]
    if (type(several) is set or type(several) is frozenset) and len(several) <= _CHILDREN_MAX:
        return tuple(several)
    return None


# --- of the interpreter -----------------------------------------------------------------------------------------------


def _parts(awaited: Any) -> tuple[FrameType | None, Any]:
    """Return the frame of a coroutine or generator, and what it awaits."""
    kind = type(awaited)
    if kind is CoroutineType:
        return awaited.cr_frame, awaited.cr_await
    if kind is GeneratorType:
        return awaited.gi_frame, awaited.gi_yieldfrom
    if kind is AsyncGeneratorType:
        return awaited.ag_frame, awaited.ag_await
    frame, inner = (values.class_attribute(kind, name) for name in ("cr_frame", "cr_await"))
    if type(frame) is GetSetDescriptorType and type(inner) in (GetSetDescriptorType, MemberDescriptorType):  # Cython's
        return frame.__get__(awaited, kind), inner.__get__(awaited, kind)  # type: ignore[attr-defined]
    return None, None


def _wrapped(awaited: Any) -> Any:
    """Return the coroutine or generator inside one of the interpreter's own wrappers."""
    for _ in range(3):
        if not _is_opaque(awaited):
            return awaited
        inner = gc.get_referents(awaited)
        awaited = next((one for one in inner if _is_awaitable(one)), None)
    return awaited


def _is_awaitable(candidate: object) -> bool:
    return values.is_exactly(candidate, CoroutineType, AsyncGeneratorType, GeneratorType) or _is_opaque(candidate)


def _is_opaque(candidate: object) -> bool:
    module, _, name = values.class_name(type(candidate)).rpartition(".")
    return name in _OPAQUE and module == "builtins"


def _work_item(frame: FrameType | None) -> FrameType | None:
    while frame is not None:
        if python.is_work_item(frame.f_code):
            return frame
        frame = frame.f_back
    return None


def _enclosed(function: FunctionType, name: str) -> Any:
    """Read a variable of a function's closure."""
    try:
        return (function.__closure__ or ())[function.__code__.co_freevars.index(name)].cell_contents
    except (ValueError, IndexError):  # none of that name, or empty
        return None


def _plain(thing: object, name: str) -> Any:
    """Read an attribute that is kept in the object itself: nothing of the application's runs."""
    found = values.attribute(thing, name)
    return None if found is values.MISSING else found


def variable(frame: FrameType, name: str) -> Any:
    """Read one variable of a function; None: it has none of that name, or it cannot be read."""
    code = frame.f_code
    if name not in code.co_varnames and name not in code.co_freevars and name not in code.co_cellvars:
        return None
    value = python.variable(frame, name)
    return None if value is values.MISSING else value
