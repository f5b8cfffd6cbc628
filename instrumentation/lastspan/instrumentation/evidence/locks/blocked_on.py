"""What the innermost frames of a thread or task wait for: the lock itself, and its name in the source.

Which calls wait is said in `clients`, as for every wait; here it is asked which object they wait for.
"""

from __future__ import annotations

import ast
import asyncio
import re
import sys
import threading
from inspect import CO_ASYNC_GENERATOR, CO_GENERATOR
from types import FrameType
from typing import Any, Final, NamedTuple, TypeAlias

from .. import python
from ..objects import futures, values
from ..objects.reads import read
from ..objects.values import MISSING
from ..stack import source, tasks
from ..stack.expressions import evaluate
from ..stack.frames import line_of, short_place
from ..stack.source import Expr
from ..waits.known_calls import row_of

Node: TypeAlias = "int | asyncio.Task[Any] | Any"
"""Who waits or holds: a thread by its ident, a task, a greenlet. A task that runs stands for its thread too."""


def is_same(one: Node, other: Node) -> bool:
    """Say whether two are one thread, task or greenlet; not `==`, which a class of the host's may have its own way."""
    return one is other or (type(one) is int and type(other) is int and one == other)


def key_of(node: Node) -> object:
    """Return what a dictionary may know a thread, task or greenlet by, while that is alive."""
    return node if type(node) is int else (id(node),)


Entry: TypeAlias = "tuple[object, ...]"
"""A call, and its arguments: two frames with equal ones enter the same thing, though nobody can see what it is."""


class BlockedOn(NamedTuple):
    """What somebody waits for."""

    identity: int
    kind: str
    word: str
    short: str
    """As the source calls it; empty: it has no name there."""
    place: tuple[str, int]
    """File and line."""
    owner: int | None = None
    """The thread that holds it, if the object itself knows; 0: it was just let go."""
    nodes: tuple[Node, ...] = ()
    """Threads or tasks whose end is waited for."""
    entry: Entry | None = None
    """What the `with` statement calls whose entry waits."""

    @classmethod
    def of_task(cls, node: Node, stack: list[FrameType]) -> BlockedOn:
        """Return the wait for another task, or for a thread that works for it, to end."""
        name = f"task {futures.name_of(node)}" if futures.is_task(node) else "a thread"
        caller = _caller(stack) or stack[0]
        return cls(id(node), "asyncio.Task", "task", name, _place(caller, None), nodes=(node,))

    @property
    def name(self) -> str:
        """As the source calls it, and where."""
        return f"{self.short or self.word} in {short_place(*self.place)}"


HELD: Final = frozenset({"lock", "semaphore"})
"""Waits for something that somebody holds."""

_KINDS: Final[dict[str, tuple[str, str]]] = {
    "_thread.lock": ("threading.Lock", "lock"),
    "_thread.RLock": ("threading.RLock", "lock"),
    "threading._RLock": ("threading.RLock", "lock"),  # the one in Python: gevent's
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
    "gevent.thread.LockType": ("threading.Lock", "lock"),
    "gevent.lock.RLock": ("threading.RLock", "lock"),
    "gevent._gevent_c_semaphore.BoundedSemaphore": ("gevent.lock.BoundedSemaphore", "semaphore"),
    "gevent._gevent_c_semaphore.Semaphore": ("gevent.lock.Semaphore", "semaphore"),
    "_queue.SimpleQueue": ("queue.SimpleQueue", "queue"),
}
"""What a `with` statement or a call of `acquire` may wait for, by class."""

MODULES: Final = frozenset(
    {
        *("threading", "gevent.thread", "gevent.lock", "queue", "asyncio.locks", "asyncio.queues"),
        *("multiprocessing.synchronize", "multiprocessing.queues", "billiard.synchronize", "billiard.queues"),
        *("concurrent.futures._base", "contextlib", "importlib._bootstrap"),
    }
)
"""Where functions wait for the object whose methods they are."""
_TAKERS: Final = {
    ("contextlib", "enter_context"): "cm",
    ("contextlib", "enter_async_context"): "cm",
    ("importlib._bootstrap", "acquire"): "self",
}
"""Functions that take a lock on behalf of others, by module and name: the variable that holds it."""
_SHOWN: Final = {
    "asyncio.locks": "asyncio",
    "asyncio.queues": "asyncio",
    "concurrent.futures._base": "concurrent.futures",
}
_METHODS: Final = frozenset({"acquire", "get", "put", "__enter__", "enter_context"})


def wait_of(stack: list[FrameType]) -> BlockedOn | None:
    """Say what the innermost frames of a stack wait for; the primitive nearest to the application counts."""
    found = -1
    kind = ""
    for depth, frame in enumerate(stack):
        if module_of(frame) not in MODULES:
            break
        if waits_for := _waits_for(frame):
            found, kind = depth, waits_for
    if found >= 0:
        return _known_wait(stack, found, kind)
    return _native_wait(stack) if stack else None


def _waits_for(frame: FrameType) -> str:
    """Return the kind of object that a function waits for; empty: it does not wait, or for no one object."""
    if (module_of(frame), frame.f_code.co_name) in _TAKERS:
        return "lock"
    known = row_of(frame) if "self" in frame.f_code.co_varnames else None
    return "" if known is None else known[1].kind


def _known_wait(stack: list[FrameType], depth: int, word: str) -> BlockedOn | None:
    """A function of the standard library waits: its `self` is the object, its caller has the name."""
    frame = stack[depth]
    module = module_of(frame)
    owner = python.variable(frame, _TAKERS.get((module, frame.f_code.co_name), "self"))
    if owner is MISSING or (module == "contextlib" and kind_of(owner) is None):
        return None
    base = _class_in(owner, module)
    kind = f"{_SHOWN.get(module, module)}.{_name(base)}" if base is not None else "unknown"
    if word in HELD:
        kind, word = kind_of(owner) or (kind, "lock")
    elif _takes_back(frame, owner):
        word = "lock"
    blocking = core(owner) if word == "lock" else owner
    if word in HELD and is_free(blocking):
        return None
    caller = _caller(stack[depth + 1 :])
    expr = source.expression(caller) if caller is not None else None
    return BlockedOn(
        id(blocking),
        kind,
        word,
        _import_name(owner) if module.startswith("importlib") else source_name(expr),
        _place(caller or frame, expr),
        _owner(blocking),
        _waited_nodes(owner, word),
        _entry_of(stack[depth + 1 :]),
    )


def _import_name(lock: object) -> str:
    """What is imported by somebody else: the lock of a module knows its name."""
    name = values.attribute(lock, "name")
    return f"import of {name}" if type(name) is str else ""


def _takes_back(frame: FrameType, owner: object) -> bool:
    """Say whether a condition's wait is at its end: it was notified, and wants its lock again."""
    if frame.f_code.co_name != "wait" or kind_of(owner) is None:
        return False
    expr = source.expression(frame)
    return expr is not None and expr.text.startswith(_TAKES_BACK)


_TAKES_BACK: Final = ("self._acquire_restore(", "await self.acquire(", "self.acquire(")


def _place(frame: FrameType, expr: Expr | None) -> tuple[str, int]:
    return frame.f_code.co_filename, expr.line if expr is not None else line_of(frame)


def _native_wait(stack: list[FrameType]) -> BlockedOn | None:
    """The frame itself waits, in a function written in C."""
    frame = stack[0]
    expr = source.expression(frame)
    place = _place(frame, expr)
    if expr is None:
        return BlockedOn(0, "unknown", "lock", "", place) if source.is_entering(frame) else None
    node = expr.node.value if isinstance(expr.node, ast.Await) else expr.node
    method = "__enter__"
    if not expr.entering:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return None
        method = node.func.attr
        if method not in _METHODS:
            return None
        node = node.args[0] if method == "enter_context" and node.args else node.func.value
    found = evaluate(node, frame)
    known = kind_of(found)
    if known is None:
        if found is not MISSING or method not in ("__enter__", "acquire"):
            return None
        called = _entry_of(stack)
        identity = hash(called) & sys.maxsize if called is not None else 0
        return BlockedOn(identity, "unknown", "lock", source_name(expr), place, entry=called)
    blocking = core(found)
    if is_free(blocking):
        return None
    return BlockedOn(
        id(blocking),
        *known,
        source_name(expr),
        place,
        _owner(blocking),
        entry=_entry_of(stack),
    )


def _entry_of(stack: list[FrameType]) -> Entry | None:
    """Return the call of the `with` statement whose entry waits: in C, in `__enter__`, in a context's generator."""
    for frame in stack[:_ENTRY_DEPTH]:
        code = frame.f_code
        if code.co_name in ("__enter__", "__aenter__") or code.co_flags & (CO_GENERATOR | CO_ASYNC_GENERATOR):
            continue
        expr = source.expression(frame)
        return entry(expr.node, frame) if expr is not None and expr.entering else None
    return None


_ENTRY_DEPTH: Final = 5


def entry(node: ast.expr, frame: FrameType) -> Entry | None:
    """Return what is called, and with what; None where a part of it cannot be seen."""
    if not isinstance(node, ast.Call) or any(keyword.arg is None for keyword in node.keywords):
        return None
    function = node.func
    called = evaluate(function, frame)
    name = ""
    if called is MISSING and isinstance(function, ast.Attribute):  # a method: it and its object stand for it
        called, name = evaluate(function.value, frame), function.attr
    given = [evaluate(one, frame) for one in (*node.args, *(keyword.value for keyword in node.keywords))]
    if called is MISSING or any(value is MISSING for value in given):
        return None
    # Plain values are equal or not without anybody's code; of all others the identity counts.
    arguments = tuple((type(value), value) if values.is_exactly(value, *_PLAIN) else id(value) for value in given)
    return (id(called), name, tuple(keyword.arg for keyword in node.keywords), arguments)


_PLAIN: Final = (str, int, bytes, bool, type(None))


def kind_of(value: object) -> tuple[str, str] | None:
    """Return class and word of a lock; None for anything else."""
    if value is MISSING:
        return None
    found = (_KINDS.get(values.class_name(kind)) for kind in values.kinds(value))
    return next((one for one in found if one is not None), None)


def core(value: object) -> object:
    """Return the lock that blocks: a condition's own."""
    known = kind_of(value)
    if known is None or not known[0].endswith(".Condition"):
        return value
    inner = values.attribute(value, "_lock")
    return value if inner is MISSING else inner


def is_free(lock: object) -> bool:
    """Say whether nobody holds the lock: then whoever seems to wait for it has just got it."""
    if _is_native(type(lock), "lock"):
        return read(lock, "locked") is False
    if values.is_kind(lock, asyncio.Lock):
        return values.attribute(lock, "_locked") is False
    return _owner(lock) == 0


def _is_native(kind: type, name: str) -> bool:
    """Say whether a class is the interpreter's; by name: who patches `threading` takes the class itself away."""
    return values.class_name(kind) == f"_thread.{name}"


_OWNER: Final = re.compile(r"owner=(\d+)")


def _owner(lock: object) -> int | None:
    """Return the thread that owns an `RLock`, which only its text tells; 0: none; None: it is another kind of lock."""
    if _name(type(lock)) == "_ModuleLock":
        owner = values.attribute(lock, "owner")
        return owner if type(owner) is int else None
    text = read(lock, "__repr__")
    found = _OWNER.search(text) if type(text) is str else None
    return int(found[1]) if found else None


def _class_in(value: object, module: str) -> type | None:
    """Return the class of the module that the object is of, whatever was derived from it."""
    for kind in values.kinds(value):
        if values.class_attribute(kind, "__module__") == module:
            return kind
    return None


def task_wait(task: asyncio.Task[Any], stack: list[FrameType]) -> BlockedOn | None:
    """Say for whom a task waits: for another task, or for a thread that works for it."""
    awaited = tasks._awaited_by(task, stack[1::-1])
    if awaited is not None and not futures.is_task(awaited) and not values.is_kind(awaited, threading.Thread):
        awaited = tasks._behind(awaited)
    node: Node = awaited
    if values.is_kind(awaited, threading.Thread):
        node = tasks._plain(awaited, "_ident")
    elif not futures.is_task(awaited):
        node = tasks.executor_thread(awaited, python.current_frames()) if awaited is not None else None
    return None if node is None or not stack else BlockedOn.of_task(node, stack)


def _name(kind: type) -> str:
    return values.class_name(kind).rpartition(".")[2]


def module_of(frame: FrameType) -> str:
    """Return the name of the module that a frame's function is of."""
    return python.module_name(frame)


def _waited_nodes(owner: object, word: str) -> tuple[Node, ...]:
    """Return the thread that is waited for, or that works for a future."""
    ident: object = None
    if word == "thread":
        ident = values.attribute(owner, "_ident")
    elif word == "future":
        ident = tasks.executor_thread(owner, python.current_frames())  # type: ignore[arg-type]
    return (ident,) if type(ident) is int else ()


def _caller(callers: list[FrameType]) -> FrameType | None:
    """Return the frame that called the standard library, whose source has the name."""
    outside = (frame for frame in callers if not module_of(frame).startswith(("asyncio.", *MODULES)))
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
