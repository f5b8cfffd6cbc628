"""Which lock a blocked thread or task waits for, who holds it, and whether they wait for each other.

Nothing is patched and nothing is remembered beforehand: all is read from frames, code positions and source when a span
is late. Who holds a lock: an `RLock` says so itself; a thread inside a `with` block of the very object holds it for
certain; one past an `acquire()` and before the `release()` likely does.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import gc
import os
import re
import sys
import threading
import time
import types
from _thread import get_ident
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final, NamedTuple, TypeAlias, TypeGuard

from ..spans import Where
from . import source
from .frames import _can_read_frames, _current_frames, is_application, qualname
from .source import MISSING, Expr

Node: TypeAlias = "int | asyncio.Task[Any] | Any"
"""Who waits or holds: a thread by its ident, a task, a greenlet. A task that runs stands for its thread too."""

_SLICE_NS: Final = 3_000_000
_DEPTH_MAX: Final = 128
_TASKS_MAX: Final = 10_000
_CYCLE_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock that somebody waits for."""

    thread: str
    """Name of the thread or task."""
    ident: int | None
    task: bool
    code: str
    """Where it stands now: function, file:line."""
    certainty: str
    """`certain`, `likely`, `nobody` (no running code holds it: it was never released) or `unknown`."""
    key: object
    """Thread ident or task, for the caller to find its job."""


@dataclass(frozen=True, slots=True)
class WaitedLock:
    """What a thread or task waits for."""

    name: str
    """As the source calls it, and where: `self._lock in billing/pool.py:41`."""
    kind: str
    """Its class: `threading.Lock`; `unknown` where the object cannot be seen."""
    wait: str
    """One of `vocabulary.WAITS`."""
    timeout: float | None
    identity: int
    """`id()` of the object that blocks: equal for all who wait for it."""
    holder: Holder | None
    cycle: tuple[str, ...]
    """Who waits for whom, in a circle at the end of the waiting; this thread or task need not be part of it."""


def find(where: Where, describe: Callable[[int | asyncio.Task[Any]], str]) -> Generator[None, None, WaitedLock | None]:
    """Find what the code at *where* waits for. Yields between slices of a few milliseconds; keeps no frame meanwhile.

    *describe* names the job that a thread or a task runs, or returns an empty string.
    """
    if not _can_read_frames():
        return None
    start: Node = where.task if where.task is not None else where.thread
    if where.greenlet is not None and not where.greenlet.dead and where.greenlet.gr_frame is not None:
        start = where.greenlet
    stack = _stack_of(start)
    if _wait_of(stack) is None and (not isinstance(start, asyncio.Task) or _task_wait(start, stack) is None):
        return None
    stack.clear()
    yield from _learn()
    graph = _Graph()
    yield from graph.look(start)
    wait = graph.waits.get(start)
    if wait is None:
        return None
    circle = graph.circle(start)
    if circle:
        yield
        again = _Graph()
        yield from again.look(start)
        circle = circle if again.circle(start) == circle else ()  # one sample proves nothing
    return WaitedLock(
        wait.name,
        wait.kind,
        wait.word,
        wait.timeout,
        wait.identity,
        graph.holder(start, wait),
        tuple(graph.sentence(circle, at, describe) for at in range(len(circle))),
    )


# --- what is waited for -----------------------------------------------------------------------------------------------


class _Wait(NamedTuple):
    identity: int
    kind: str
    word: str
    short: str
    place: str
    timeout: float | None
    owner: int | None = None
    """The thread that holds it, if the object itself knows; 0: none."""
    nodes: tuple[Node, ...] = ()
    """Threads or tasks whose end is waited for."""

    @property
    def name(self) -> str:
        return f"{self.short or self.word} in {self.place}"


_LOCK: Final = type(threading.Lock())
_RLOCK: Final = type(threading.RLock())
_HELD: Final = frozenset({"lock", "semaphore"})
"""Waits for something that somebody holds."""

_KINDS: Final[dict[str, tuple[str, str]]] = {
    "_thread.lock": ("threading.Lock", "lock"),
    "_thread.RLock": ("threading.RLock", "lock"),
    "threading.Condition": ("threading.Condition", "lock"),
    "threading.BoundedSemaphore": ("threading.BoundedSemaphore", "semaphore"),
    "threading.Semaphore": ("threading.Semaphore", "semaphore"),
    "asyncio.locks.Lock": ("asyncio.Lock", "lock"),
    "asyncio.locks.Condition": ("asyncio.Condition", "lock"),
    "asyncio.locks.BoundedSemaphore": ("asyncio.BoundedSemaphore", "semaphore"),
    "asyncio.locks.Semaphore": ("asyncio.Semaphore", "semaphore"),
    **{
        f"{package}.synchronize.{name}": (f"multiprocessing.{name}", word)
        for package in ("multiprocessing", "billiard")  # billiard: Celery's copy
        for name, word in {
            "Lock": "lock",
            "RLock": "lock",
            "Condition": "lock",
            "BoundedSemaphore": "semaphore",
            "Semaphore": "semaphore",
        }.items()
    },
    "_queue.SimpleQueue": ("queue.SimpleQueue", "queue"),
}
"""What a `with` statement or a call of `acquire` may wait for, by class."""

_PRIMITIVES: Final[dict[tuple[str, str], str]] = {
    ("threading", "wait"): "",
    ("threading", "wait_for"): "condition",
    ("threading", "acquire"): "",
    ("threading", "__enter__"): "",
    ("threading", "join"): "thread",
    ("contextlib", "enter_context"): "",
    ("contextlib", "enter_async_context"): "",
    ("queue", "get"): "queue",
    ("queue", "put"): "queue",
    ("queue", "join"): "queue",
    ("asyncio.locks", "acquire"): "",
    ("asyncio.locks", "__aenter__"): "",
    ("asyncio.locks", "wait"): "",
    ("asyncio.locks", "wait_for"): "condition",
    ("asyncio.queues", "get"): "queue",
    ("asyncio.queues", "put"): "queue",
    ("asyncio.queues", "join"): "queue",
    ("concurrent.futures._base", "result"): "future",
    ("concurrent.futures._base", "exception"): "future",
    ("multiprocessing.synchronize", "__enter__"): "",
    ("multiprocessing.synchronize", "wait"): "",
    ("multiprocessing.synchronize", "wait_for"): "condition",
    ("multiprocessing.queues", "get"): "queue",
    ("multiprocessing.queues", "put"): "queue",
    ("billiard.synchronize", "__enter__"): "",
    ("billiard.synchronize", "wait"): "",
    ("billiard.queues", "get"): "queue",
}
"""Functions of the standard library that wait, by module and name: for what; empty: the class of `self` says it."""

_MODULES: Final = frozenset(module for module, _ in _PRIMITIVES)
_WORDS: Final = {"Event": "event", "Barrier": "barrier", "Condition": "condition"}
_SHOWN: Final = {
    "asyncio.locks": "asyncio",
    "asyncio.queues": "asyncio",
    "concurrent.futures._base": "concurrent.futures",
}
_METHODS: Final = frozenset({"acquire", "get", "put", "__enter__", "enter_context"})


def _wait_of(stack: list[FrameType]) -> _Wait | None:
    """Say what the innermost frames of a stack wait for; the primitive nearest to the application counts."""
    found = -1
    for depth, frame in enumerate(stack):
        module = _module(frame)
        if module not in _MODULES:
            break
        if (module, frame.f_code.co_name) in _PRIMITIVES:
            found = depth
    if found >= 0:
        return _known_wait(stack, found)
    return _native_wait(stack[0]) if stack else None


def _known_wait(stack: list[FrameType], depth: int) -> _Wait | None:
    """A function of the standard library waits: its `self` is the object, its caller has the name."""
    frame = stack[depth]
    module = _module(frame)
    word = _PRIMITIVES[module, frame.f_code.co_name]
    owner = source.variable(frame, "cm" if module == "contextlib" else "self")
    if owner is MISSING or (module == "contextlib" and kind_of(owner) is None):
        return None
    base = _class_in(owner, module)
    kind = f"{_SHOWN.get(module, module)}.{base.__name__}" if base is not None else "unknown"
    if not word:
        wanted = kind_of(owner) if frame.f_code.co_name != "wait" else None
        kind, word = wanted or (kind, _WORDS.get(base.__name__ if base else "", "lock"))
    blocking = core(owner) if word == "lock" else owner
    if word in _HELD and _is_free(blocking):
        return None
    caller = _caller(stack[depth + 1 :]) or frame
    expr = source.expression(caller)
    return _Wait(
        id(blocking),
        kind,
        word,
        source_name(expr),
        short_place(caller.f_code.co_filename, expr.line if expr else caller.f_lineno or 0),
        _seconds(source.variable(frame, "timeout")),
        _owner(blocking),
        _waited_nodes(owner, word),
    )


def _native_wait(frame: FrameType) -> _Wait | None:
    """The frame itself waits, in a function written in C."""
    expr = source.expression(frame)
    place = short_place(frame.f_code.co_filename, expr.line if expr else frame.f_lineno or 0)
    if expr is None:
        return _Wait(0, "unknown", "lock", "", place, None) if source.is_entering(frame) else None
    node = expr.node.value if isinstance(expr.node, ast.Await) else expr.node
    timeout: object = None
    method = "__enter__"
    if not expr.entering:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return None
        method = node.func.attr
        if method not in _METHODS:
            return None
        timeout = _timeout(node, frame)
        node = node.args[0] if method == "enter_context" and node.args else node.func.value
    found = source.evaluate(node, frame)
    known = kind_of(found)
    if known is None:
        if found is not MISSING or method not in ("__enter__", "acquire"):
            return None
        return _Wait(0, "unknown", "lock", source_name(expr), place, _seconds(timeout))
    blocking = core(found)
    if _is_free(blocking):
        return None
    return _Wait(id(blocking), *known, source_name(expr), place, _seconds(timeout), _owner(blocking))


def kind_of(value: object) -> tuple[str, str] | None:
    """Return class and word of a lock; None for anything else."""
    if value is MISSING:
        return None
    found = (_KINDS.get(source.class_name(kind)) for kind in source.kinds(value))
    return next((one for one in found if one is not None), None)


def core(value: object) -> object:
    """Return the lock that blocks: a condition's own."""
    known = kind_of(value)
    if known is None or not known[0].endswith(".Condition"):
        return value
    inner = source.attribute(value, "_lock")
    return value if inner is MISSING else inner


def _is_free(lock: object) -> bool:
    """Say whether nobody holds the lock: then whoever seems to wait for it has just got it."""
    if type(lock) is _LOCK:
        return not lock.locked()
    if asyncio.Lock in source.kinds(lock):
        return source.attribute(lock, "_locked") is False
    return _owner(lock) == 0


_OWNER: Final = re.compile(r"owner=(\d+)")


def _owner(lock: object) -> int | None:
    """Return the thread that owns an `RLock`, which only its text tells; 0: none; None: it is another kind of lock."""
    if _RLOCK not in source.kinds(lock):
        return None
    found = _OWNER.search(_RLOCK.__repr__(lock))
    return int(found[1]) if found else None


def _class_in(value: object, module: str) -> type | None:
    """Return the class of the module that the object is of, whatever was derived from it."""
    for kind in source.kinds(value):
        if source.class_attribute(kind, "__module__") == module:
            return kind
    return None


def _task_wait(task: asyncio.Task[Any], stack: list[FrameType]) -> _Wait | None:
    """Say which tasks a task waits for: one that it awaits, or those of a `gather`."""
    awaited = _native(task, "_fut_waiter")
    children = source.attribute(awaited, "_children") if awaited is not None else MISSING
    tasks = tuple(
        one for one in (list(children) if type(children) is list else [awaited]) if _is_task(one) and not one.done()
    )
    if not tasks or not stack:
        return None
    caller = _caller(stack) or stack[0]
    expr = source.expression(caller)
    place = short_place(caller.f_code.co_filename, expr.line if expr else caller.f_lineno or 0)
    names = ", ".join(f"task {one.get_name()}" for one in tasks[:3])
    return _Wait(id(awaited), "asyncio.Task", "task", names, place, None, None, tasks)


def _is_task(value: object) -> TypeGuard[asyncio.Task[Any]]:
    return asyncio.Task in source.kinds(value)  # isinstance() would ask its `__class__`


def _native(owner: object, name: str) -> object:
    """Read an attribute that is written in C; a class in Python has it stored."""
    descriptor = source.class_attribute(type(owner), name)
    if type(descriptor) is types.GetSetDescriptorType:
        return descriptor.__get__(owner, type(owner))
    found = source.attribute(owner, name)
    return None if found is MISSING else found


def _module(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    return name if type(name) is str else ""


def _waited_nodes(owner: object, word: str) -> tuple[Node, ...]:
    if word == "thread":
        ident = source.attribute(owner, "_ident")
        return (ident,) if type(ident) is int else ()
    return ()


def _caller(callers: list[FrameType]) -> FrameType | None:
    """Return the frame that called the standard library, whose source has the name."""
    outside = (frame for frame in callers if not _module(frame).startswith(("asyncio.", *_MODULES)))
    return next(outside, None)


def source_name(expr: Expr | None) -> str:
    """Return what the source calls the object that an expression waits for."""
    if expr is None:
        return ""
    return expr.text if expr.entering else _unwrapped(expr.node)


def _unwrapped(node: ast.expr) -> str:
    match node:
        case ast.Await(value=value):
            return _unwrapped(value)
        case ast.Call(func=ast.Attribute(attr="enter_context"), args=[first, *_]):
            return ast.unparse(first)
        case ast.Call(func=ast.Attribute(attr="wait_for" | "shield") | ast.Name(), args=[ast.Call() as inner, *_]):
            return _unwrapped(inner)
        case ast.Call(func=ast.Attribute(value=value)):
            return " ".join(ast.unparse(value).split())[:120]
        case _:
            return " ".join(ast.unparse(node).split())[:120]


def short_place(filename: str, line: int) -> str:
    """Return the last two parts of a path, and the line."""
    return f"{'/'.join(filename.split(os.sep)[-2:])}:{line}"


def _timeout(call: ast.Call, frame: FrameType) -> object:
    for keyword in call.keywords:
        if keyword.arg == "timeout":
            return source.evaluate(keyword.value, frame)
    return source.evaluate(call.args[1], frame) if len(call.args) > 1 else None


def _seconds(value: object) -> float | None:
    return float(value) if type(value) in (int, float) and value >= 0 else None  # type: ignore[operator, arg-type]


# --- what is held -----------------------------------------------------------------------------------------------------


class _Hold(NamedTuple):
    identity: int
    certainty: str
    short: str
    place: str


def _holds_of(stack: list[FrameType]) -> tuple[list[_Hold], bool]:
    """Return the locks that a stack's frames hold; and whether there may be others, behind what cannot be read."""
    found: list[_Hold] = []
    given_back: set[int] = set()
    hidden = False
    for frame in stack:
        if frame.f_code.co_name == "wait" and _module(frame) in ("threading", "asyncio.locks"):
            waited = source.variable(frame, "self")
            if waited is not MISSING and core(waited) is not waited:
                given_back.add(id(core(waited)))  # wait() lets go of the condition's lock meanwhile
        for expr in source.entered(frame):
            locks = _managed(expr, frame)
            hidden = hidden or not locks
            found.extend(_hold(lock, "certain", expr, frame) for lock in locks if expr is not None)
        if "acquire" in frame.f_code.co_names:
            found.extend(_acquired(frame))
    return [hold for hold in found if hold.identity not in given_back], hidden


def _hold(lock: object, certainty: str, expr: Expr, frame: FrameType) -> _Hold:
    place = f"{qualname(frame.f_code)}, {short_place(expr.file, expr.line)}"
    return _Hold(id(core(lock)), certainty, expr.text, place)


def _managed(expr: Expr | None, frame: FrameType) -> list[object]:
    """Return the locks that a context manager stands for."""
    if expr is None:
        return []
    manager = source.evaluate(expr.node, frame)
    if manager is MISSING and expr.alias:
        manager = source.variable(frame, expr.alias)
    return list(_locks_in(manager, 0))


def _locks_in(manager: object, depth: int) -> Iterator[object]:
    if manager is MISSING or depth > 4:
        return
    if kind_of(manager) is not None:
        yield manager
    elif contextlib._BaseExitStack in source.kinds(manager):
        callbacks = source.attribute(manager, "_exit_callbacks")
        for callback in list(callbacks) if type(callbacks) is deque else ():
            if type(callback) is tuple and len(callback) == 2 and type(callback[1]) is types.MethodType:
                yield from _locks_in(callback[1].__self__, depth + 1)
    elif contextlib._GeneratorContextManagerBase in source.kinds(manager):
        generator = source.attribute(manager, "gen")
        if type(generator) is types.GeneratorType:
            for entered in _managers_of(generator):
                yield from _locks_in(entered, depth + 1)


def _managers_of(suspended: object) -> Iterator[object]:
    """Yield the context managers that a suspended generator or coroutine is inside: their exits lie on its stack."""
    frame = getattr(suspended, "gi_frame", None) or getattr(suspended, "cr_frame", None)
    for held in gc.get_referents(frame if sys.version_info < (3, 11) else suspended):
        if type(held) is types.MethodType and type(held.__func__) is types.FunctionType:
            if held.__func__.__name__ in ("__exit__", "__aexit__"):
                yield held.__self__
        elif type(held) is types.BuiltinMethodType and held.__name__ == "__exit__":
            yield held.__self__


def _acquired(frame: FrameType) -> Iterator[_Hold]:
    """Yield the locks that were acquired above the current line and not released between."""
    here = source.position(frame)
    last: dict[int, _Hold | None] = {}
    for end, method, expr in source.calls(frame.f_code):
        if end > here:
            break
        lock = source.evaluate(expr.node, frame)
        if kind_of(lock) is not None:
            hold = _hold(lock, "likely", expr, frame)
            last[hold.identity] = hold if method == "acquire" and not _is_free(core(lock)) else None
    yield from (hold for hold in last.values() if hold is not None)


# --- who is there -----------------------------------------------------------------------------------------------------


def _stack_of(node: Node) -> list[FrameType]:
    """Return the frames of a thread, task or greenlet, innermost first."""
    if isinstance(node, asyncio.Task):
        return _task_stack(node)
    return _frames(_current_frames().get(node) if isinstance(node, int) else node.gr_frame)


def _frames(frame: FrameType | None) -> list[FrameType]:
    found: list[FrameType] = []
    while frame is not None and len(found) < _DEPTH_MAX:
        found.append(frame)
        frame = frame.f_back
    return found


_AWAITS: Final = {
    types.CoroutineType: ("cr_frame", "cr_await"),
    types.GeneratorType: ("gi_frame", "gi_yieldfrom"),
    types.AsyncGeneratorType: ("ag_frame", "ag_await"),
}


def _task_stack(task: asyncio.Task[Any]) -> list[FrameType]:
    """Return the frames of a task that does not run, innermost first; of one that runs, its thread's."""
    found: list[FrameType] = []
    awaited: Any = task.get_coro()
    while len(found) < _DEPTH_MAX:
        names = _AWAITS.get(type(awaited))
        if names is None:
            inner = gc.get_referents(awaited) if type(awaited).__name__ in _WRAPPERS else []
            awaited = next((one for one in inner if type(one) in _AWAITS), None)
            if awaited is None:
                break
            continue
        frame = getattr(awaited, names[0])
        if frame is None:
            break
        found.append(frame)
        awaited = getattr(awaited, names[1])
    found.reverse()
    if found and found[-1].f_back is not None:  # it runs
        innermost = next((frame for frame in _current_frames().values() if _has(frame, found[-1])), None)
        return _frames(innermost)
    return _inner_task_stack(found) + found


_WRAPPERS: Final = frozenset({"coroutine_wrapper", "async_generator_asend", "async_generator_athrow"})


def _inner_task_stack(stack: list[FrameType]) -> list[FrameType]:
    """Up to Python 3.11 `wait_for` runs what it waits for in a task of its own."""
    if not stack or stack[0].f_code is not asyncio.wait_for.__code__:
        return []
    inner = source.variable(stack[0], "fut")
    return _task_stack(inner) if _is_task(inner) else []


def _has(frame: FrameType | None, wanted: FrameType) -> bool:
    while frame is not None:
        if frame is wanted:
            return True
        frame = frame.f_back
    return False


def _tasks() -> list[asyncio.Task[Any]]:
    """Return all tasks of all loops; without them where asyncio keeps them elsewhere."""
    known: list[asyncio.Task[Any]] = []
    for name in ("_scheduled_tasks", "_eager_tasks", "_all_tasks"):
        kept = getattr(asyncio.tasks, name, None)
        for _ in range(10):
            try:
                known.extend(kept or ())
                break
            except RuntimeError:  # one was added meanwhile
                continue
    return [task for task in known[:_TASKS_MAX] if not task.done()]


def _learn() -> Iterator[None]:
    """Read the sources that the next look needs, in slices."""
    unknown: dict[tuple[str, int, int], types.CodeType] = {}
    for innermost in [_frames(frame) for frame in _current_frames().values()] + [
        _task_stack(task) for task in _tasks()
    ]:
        for frame in innermost:
            if not source.is_known(frame.f_code, frame.f_lasti):
                unknown[frame.f_code.co_filename, id(frame.f_code), frame.f_lasti] = frame.f_code
    innermost = []
    del frame
    began = time.thread_time_ns()
    for (_, _, place), code in sorted(unknown.items(), key=lambda one: one[0]):
        if time.thread_time_ns() - began > _SLICE_NS:
            yield
            began = time.thread_time_ns()
        source.learn(code, place)


@dataclass(slots=True)
class _Graph:
    """Who waits for what, who holds what: facts without frames."""

    waits: dict[Node, _Wait] = field(default_factory=dict)
    holds: dict[int, list[tuple[Node, _Hold]]] = field(default_factory=dict)
    stands: dict[Node, str] = field(default_factory=dict)
    running: dict[int, asyncio.Task[Any]] = field(default_factory=dict)
    """By thread: the task that runs there."""
    blocked_loops: dict[int, Node] = field(default_factory=dict)
    """By identity of an event loop: the task that keeps it from running."""
    busy: set[Node] = field(default_factory=set)
    """Those who run code of the application, or something that could hide a lock."""

    def look(self, start: Node) -> Iterator[None]:
        """Look at all threads and tasks, in slices."""
        began = time.thread_time_ns()
        threads = _current_frames()
        outermost = self._running_coroutines()
        for ident in list(threads):
            if time.thread_time_ns() - began > _SLICE_NS:
                threads.clear()
                outermost.clear()
                yield
                began, threads, outermost = time.thread_time_ns(), _current_frames(), self._running_coroutines()
            if ident == get_ident() or ident not in threads:
                continue
            stack = _frames(threads[ident])
            task = next((outermost[id(frame)] for frame in stack if id(frame) in outermost), None)
            if task is not None:
                self.running[ident] = task
                self.blocked_loops[id(task.get_loop())] = task
            self._add(ident if task is None else task, stack)
            stack.clear()
        threads.clear()
        outermost.clear()
        for task in _tasks():
            if time.thread_time_ns() - began > _SLICE_NS:
                yield
                began = time.thread_time_ns()
            if task not in self.waits and task not in self.stands:
                self._add(task, _task_stack(task))
        if not isinstance(start, (int, asyncio.Task)):
            self._add(start, _stack_of(start))

    @staticmethod
    def _running_coroutines() -> dict[int, asyncio.Task[Any]]:
        """Return the tasks that run now, by the identity of their outermost frame."""
        found = {}
        for task in list(getattr(asyncio.tasks, "_current_tasks", {}).values()):
            coroutine = task.get_coro() if task is not None else None
            if type(coroutine) is types.CoroutineType and coroutine.cr_frame is not None:
                found[id(coroutine.cr_frame)] = task
        return found

    def _add(self, node: Node, stack: list[FrameType]) -> None:
        if not stack:
            return
        wait = _wait_of(stack) or (_task_wait(node, stack) if isinstance(node, asyncio.Task) else None)
        if wait is not None:
            self.waits[node] = wait
        holds, hidden = _holds_of(stack)
        for hold in holds:
            self.holds.setdefault(hold.identity, []).append((node, hold))
        place = next((frame for frame in stack if is_application(frame.f_code.co_filename)), None)
        if hidden or place is not None:
            self.busy.add(node)
        place = place or stack[0]
        self.stands[node] = f"{qualname(place.f_code)}, {short_place(place.f_code.co_filename, place.f_lineno or 0)}"

    def holders(self, wait: _Wait) -> list[tuple[Node, _Hold]]:
        """Return who holds what is waited for, the most certain first."""
        if wait.owner:
            owner = self.running.get(wait.owner, wait.owner)
            if owner not in self.stands:
                return []
            told = [hold for node, hold in self.holds.get(wait.identity, ()) if node == owner]
            return [(owner, told[0] if told else _Hold(wait.identity, "certain", wait.short, self.stands[owner]))]
        if wait.word not in _HELD:
            return []
        return sorted(self.holds.get(wait.identity, ()), key=lambda one: one[1].certainty != "certain")

    def holder(self, start: Node, wait: _Wait) -> Holder | None:
        """Return who holds what *start* waits for."""
        if wait.nodes:
            node = self.running.get(wait.nodes[0], wait.nodes[0]) if isinstance(wait.nodes[0], int) else wait.nodes[0]
            return self._holder_is(node, "certain") if node in self.stands else None
        if wait.word not in _HELD:
            return None
        found = self.holders(wait)
        if found:
            node, hold = next((one for one in found if one[0] != start), found[0])
            return self._holder_is(node, "certain" if wait.owner else hold.certainty)
        is_leaked = wait.owner is not None or (
            wait.kind.startswith(("threading.", "asyncio.")) and wait.kind.endswith("Lock") and not self.busy - {start}
        )
        return Holder("", None, False, "", "nobody" if is_leaked else "unknown", None)

    def _holder_is(self, node: Node, certainty: str) -> Holder:
        is_task = isinstance(node, asyncio.Task)
        return Holder(
            self._name(node), node if isinstance(node, int) else None, is_task, self.stands[node], certainty, node
        )

    @staticmethod
    def _name(node: Node) -> str:
        if isinstance(node, asyncio.Task):
            return str(node.get_name())
        thread = threading._active.get(node) if isinstance(node, int) else None  # type: ignore[attr-defined]
        name = source.attribute(thread, "_name")
        return name if type(name) is str else ""

    # --- circles ---

    def _next(self, node: Node) -> list[Node]:
        """Return for whom a thread or task waits."""
        wait = self.waits.get(node)
        if wait is None:
            blocker = self.blocked_loops.get(id(node.get_loop())) if isinstance(node, asyncio.Task) else None
            return [blocker] if blocker is not None and blocker is not node else []
        if wait.nodes:
            return [self.running.get(one, one) if isinstance(one, int) else one for one in wait.nodes]
        found = [holder for holder, _ in self.holders(wait)]
        if wait.word == "semaphore" and not all(holder in self.waits for holder in found):
            return []  # one of them will give its share back
        return found

    def circle(self, start: Node) -> tuple[Node, ...]:
        """Return the circle that the waiting of *start* leads into; empty without one."""
        path: list[Node] = []
        done: set[Node] = set()

        def follow(node: Node) -> tuple[Node, ...]:
            if node in path:
                return tuple(path[path.index(node) :])
            if node in done or len(path) >= _CYCLE_MAX:
                return ()
            path.append(node)
            for other in self._next(node):
                if found := follow(other):
                    return found
            done.add(path.pop())
            return ()

        return follow(start)

    def sentence(self, circle: tuple[Node, ...], at: int, describe: Callable[[Any], str]) -> str:
        """Say what one of the circle holds and what it waits for."""
        node, before = circle[at], self.waits.get(circle[at - 1])
        held = next((hold for one, hold in self.holders(before) if one == node), None) if before else None
        wait = self.waits.get(node)
        job = describe(node)
        who = (
            ("task " if isinstance(node, asyncio.Task) else "thread ")
            + self._name(node)
            + (f" (job {job})" if job else "")
        )
        holds = f" holds {held.short} at {held.place}," if held else ""
        waits = f" waits for {wait.short or 'a lock'}" if wait else " waits for its event loop"
        return who + holds + waits
