"""What a late job waits for, read from its frames: the known call nearest to the application, and what that awaits.

Which calls are known is said in `clients`. Nothing of the host runs here: variables and attributes are read where they
are stored, and only text and numbers are taken.
"""

from __future__ import annotations

import ast
import functools
import inspect
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import islice
from types import (
    BuiltinFunctionType,
    BuiltinMethodType,
    FrameType,
    GetSetDescriptorType,
    MemberDescriptorType,
    ModuleType,
)
from typing import Any, Final, NamedTuple, TypeAlias

from ...guest import redact
from ...guest.errors import or_none
from .. import python
from ..clients import table
from ..clients.page import NONE, KnownCall
from ..objects import values
from ..objects.paths import number, plain
from ..stack import source, tasks
from ..stack.expressions import evaluate
from ..stack.frames import _thread, is_application, qualname

_Row: TypeAlias = "tuple[str, KnownCall, str]"
"""Qualified name, what it waits for, how it is called."""

_PENDING_MAX: Final = 8
_PIECE: Final = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class WaitingCall:
    """What a thread or task waits for."""

    kind: str
    """A word of `semconv.vocabulary.WAITS`."""
    call: str
    """As the library names it: `Queue.get`; of a client `requests.post`."""
    timeout: float | None = None
    """Seconds."""
    is_unbounded: bool | None = None
    """None: not known here; the system call or the client may tell."""
    target: str = ""
    """The thread, process, queue, channel or file that it waits for, by name."""
    job_id: str = ""
    """The job whose end it waits for."""
    job_system: str = ""
    peer: str = ""
    """host:port or path."""
    pid: int | None = None
    """Of the process that it waits for."""
    job_ids: tuple[str, ...] = ()
    """Of several jobs that it waits for: the first few that have not ended."""
    purpose: str = ""
    """A word of `semconv.vocabulary.PURPOSES`; empty: its kind says it."""


@or_none
def wait(frames: tuple[FrameType, ...], package: str = "") -> WaitingCall | None:
    """Return what the innermost known call on a stack waits for; None: no known call waits."""
    found: _WaitingFrame | None = None
    inside: _WaitingFrame | None = None
    for index in range(len(frames) - 1, -1, -1):
        if is_application(frames[index].f_code.co_filename, package):
            break
        known = _known(frames[index])
        if known is None or (found is not None and not _goes_before(known, found, frames[:index])):
            continue
        if known.row.kind == "pool" and inside is not None and inside.row.kind not in _QUEUES:
            continue  # it makes a new connection, and waits for the server
        found = known
        if known.is_row or inside is None:  # a package's name does not say how it waits
            inside = known
        if known.row.is_final:
            break
    if found is None:
        return _native(frames[-1]) if frames else None
    return _bounded(_described(found), frames)


def waiting_frame(frames: tuple[FrameType, ...], kind: str, package: str = "") -> FrameType | None:
    """Return the frame of the known call of this kind that is nearest to the application; None: there is none."""
    found = None
    for frame in reversed(frames):
        if is_application(frame.f_code.co_filename, package):
            break
        if (known := _known(frame)) is not None and known.row.kind == kind:
            found = frame
    return found


_QUEUES: Final = frozenset({"queue", "condition", "lock", "semaphore", "event", "future", "sleep"})
"""How a pool waits for a connection that somebody gives back."""


class _WaitingFrame(NamedTuple):
    """A frame that is known to wait."""

    frame: FrameType
    call: str
    row: KnownCall
    package: str
    is_row: bool
    """A row of the table knows it; False: its package alone."""
    is_guess: bool = False
    """Its name alone says that it is a lock."""


def _goes_before(outer: _WaitingFrame, inner: _WaitingFrame, around: tuple[FrameType, ...]) -> bool:
    """Say whether a call is what the application means, rather than the one inside of it."""
    if outer.row.is_weak:
        return False
    if outer.is_guess:
        return inner.row.kind in _MEANS
    if inner.package == outer.package and not outer.is_row:  # a row says more, and a name more than `__call__`
        return not (inner.is_row or outer.frame.f_code.co_name.startswith("__"))
    # A queue may be but the one that `asyncio.as_completed` takes its results from.
    return not around or around[-1].f_code.co_name != "_wait_for_one"


def _known(frame: FrameType) -> _WaitingFrame | None:
    """Return how a call is named, and what it waits for."""
    if not (module := python.module_name(frame)):
        return None
    if module in _BY_NAME and (row := row_of(frame)) is not None:
        return _WaitingFrame(frame, *row, module.partition(".")[0], is_row=True)
    if (lock := _lock_of_others(frame)) is not None:
        return lock
    if not (kind := _package_kind(module)):
        return None
    package = module.partition(".")[0]
    return _WaitingFrame(
        frame, f"{package}.{frame.f_code.co_name.lstrip('_')}", _of_package(kind), package, is_row=False
    )


def _lock_of_others(frame: FrameType) -> _WaitingFrame | None:
    """A library's lock that no row knows, whatever it does to get it: mostly it tries again and sleeps."""
    if frame.f_code.co_name not in _ACQUIRES or "self" not in frame.f_code.co_varnames:
        return None
    owner = python.variable(frame, "self")
    name = next((name for kind in values.kinds(owner) if _LOCK_LIKE.search(name := _type_name(kind)[1])), "")
    module = python.module_name(frame)
    if not name or module.startswith(_OWN_ROWS):
        return None
    path = next((f"{{self.{one}}}" for one in _PATHS if os.sep in plain(values.attribute(owner, one))), "")
    kind = "file_lock" if path else "semaphore" if "emaphore" in name else "lock"
    row = KnownCall(kind, "timeout" if "timeout" in frame.f_code.co_varnames else "", path, path)
    call = f"{name}.{frame.f_code.co_name}"
    return _WaitingFrame(frame, call, row, module.partition(".")[0], is_row=True, is_guess=True)


_MEANS: Final = frozenset({"sleep", "event", "condition", "db", "socket", "http", "future"})
"""What a library's lock may do while it is not had."""
_ACQUIRES: Final = frozenset({"acquire", "__enter__", "__aenter__", "lock", "acquire_lock", "acquire_read_lock"})
_LOCK_LIKE: Final = re.compile(r"Lock(?!ed|er)|Mutex|Semaphore")
_PATHS: Final = ("path", "filename", "lock_file", "lockfile", "_path", "_filename", "_lock_file", "_lockfile")
_OWN_ROWS: Final = ("threading", "asyncio", "multiprocessing", "billiard", "gevent", "anyio", "_thread", "sqlalchemy")
"""Where what looks like a lock is told apart by rows, or is a wrapper of another one."""


def _called(module: str, qualname: str) -> str:
    """A method with its class, a function with its library."""
    name = qualname.partition(".<locals>")[0]
    if "." in name:
        return name
    return f"futures.{name}" if module.startswith("concurrent.") else f"{module.partition('.')[0]}.{name}"


def _by_name() -> dict[str, dict[str, list[_Row]]]:
    found: dict[str, dict[str, list[_Row]]] = {}
    for module, rows in table.CALLS.items():
        names = found[module] = {}
        for name, row in rows.items():
            names.setdefault(name.rpartition(".")[2], []).append((name, row, _called(module, name)))
    return found


_BY_NAME: Final = _by_name()


def row_of(frame: FrameType) -> tuple[str, KnownCall] | None:
    """Return how a function that is known to wait is called, and its row."""
    code = frame.f_code
    candidates = _BY_NAME.get(python.module_name(frame), {}).get(code.co_name)
    if candidates is None:
        return None
    if not python.HAS_QUALNAMES:
        return _row_of_self(candidates, frame)
    return next(((called, row) for name, row, called in candidates if name == qualname(code)), None)


def _row_of_self(candidates: list[_Row], frame: FrameType) -> tuple[str, KnownCall] | None:
    """The same before 3.11, where code does not know of its class: by the class of `self`."""
    owner = python.variable(frame, "self") if "self" in frame.f_code.co_varnames else values.MISSING
    classes = {_type_name(kind)[1] for kind in values.kinds(owner)}
    for name, row, called in candidates:
        of_class = name.rpartition(".")[0]
        is_alone = len(candidates) == 1 or not of_class or of_class.endswith("<locals>")
        if of_class in classes or (owner is values.MISSING and is_alone):
            return called, row
    return None


@functools.lru_cache(4096)
def _package_kind(module: str) -> str:
    """Return what functions of a package wait for; empty: anything."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if (kind := table.PACKAGES.get(".".join(parts[:length]))) is not None:
            return kind
    return ""


@functools.cache
def _of_package(kind: str) -> KnownCall:
    return KnownCall(kind)


# --- what it awaits ---------------------------------------------------------------------------------------------------


def _described(found: _WaitingFrame) -> WaitingCall:
    frame, row = found.frame, found.row
    timeout, is_unbounded = _timeout(frame, row)
    return WaitingCall(
        kind=row.kind,
        call=found.call,
        timeout=timeout,
        is_unbounded=is_unbounded,
        target=fill(frame, row.target),
        job_id=fill(frame, row.job),
        job_system=row.system,
        peer=fill(frame, row.peer),
        pid=_integer(python.read(frame, row.pid)) if row.pid else None,
        job_ids=tuple(islice(_pending(python.read(frame, row.jobs)), _PENDING_MAX)) if row.jobs else (),
        purpose=row.purpose or _PURPOSES.get(frame.f_code.co_name, ""),
    )


_PURPOSES: Final[Mapping[str, str]] = {"do_handshake": "tls_handshake", "notifies": "notification"}
"""By the name of a function, whatever its library: psycopg has a generator of notifications."""


def _integer(value: object) -> int | None:
    return value if type(value) is int else None


def _timeout(frame: FrameType, row: KnownCall) -> tuple[float | None, bool | None]:
    if row.timeout in ("", NONE):
        return None, (True if row.timeout else None)
    value = python.read(frame, row.timeout)
    if value is None or value is values.MISSING:
        return None, True
    seconds = number(value)
    if seconds is None:
        return None, None
    if seconds < 0 or (seconds == 0 and row.is_zero_never) or math.isinf(seconds):
        return None, True
    return seconds * row.unit, False


def _bounded(found: WaitingCall, frames: tuple[FrameType, ...]) -> WaitingCall:
    """Let a wait without a limit of its own have that of an `asyncio.wait_for` around it."""
    if found.timeout is not None or not any(frame.f_code.co_name == "wait_for" for frame in frames):
        return found
    limits = [number(python.read(frame, "timeout")) for frame in frames if _is_wait_for(frame)]
    least = min((limit for limit in limits if limit is not None), default=None)
    return found if least is None else replace(found, timeout=least, is_unbounded=False)


def _is_wait_for(frame: FrameType) -> bool:
    return frame.f_code.co_name == "wait_for" and python.module_name(frame) == "asyncio.tasks"


def fill(frame: FrameType, template: str) -> str:
    """Fill in a template; empty where a part of it is not to be had."""
    if not template:
        return ""
    parts = {piece: _piece(frame, piece) for piece in _PIECE.findall(template)}
    if not all(parts.values()):
        return ""
    return redact.text(_PIECE.sub(lambda match: parts[match[1]], template))


def _piece(frame: FrameType, piece: str) -> str:
    word, of, path = piece.partition(" of ")
    if of:
        return WORDS[word](python.read(frame, path))
    return next((found for one in piece.split("|") if (found := plain(python.read(frame, one)))), "")


def _thread_of(future: object) -> str:
    """The thread that runs the work of a future."""
    if not any(kind is Future for kind in values.kinds(future)):
        return ""
    ident = tasks.executor_thread(future, python.current_frames())  # type: ignore[arg-type]
    return _thread(ident)[1] if ident is not None else ""


def _next_of(results: object) -> str:
    return next(_pending(results), "")


def _pending(results: object) -> Iterator[str]:
    """The Celery tasks of a set that have not ended."""
    children = values.attribute(results, "results")
    for child in list(children) if type(children) is list else ():
        if values.attribute(child, "_cache") is None and (name := plain(values.attribute(child, "id"))):
            yield name


WORDS: Final[dict[str, Callable[[object], str]]] = {
    "thread": _thread_of,
    "next": _next_of,
}
"""Words of a template that read more than a variable: `{thread of self}`."""


# --- calls whose frames are not seen ----------------------------------------------------------------------------------


def _native(frame: FrameType) -> WaitingCall | None:
    """Return what a call without a frame waits for, by the line that makes it.

    It is native or compiled, or a coroutine awaits the bare future that it has returned.
    """
    expression = source.expression(frame)
    calls = () if expression is None else _calls(expression.node, frame, is_entering=expression.entering)
    for call in calls:
        if (known := _native_row(call)) is not None:
            return WaitingCall(known.kind, _native_name(call))
    is_suspended = frame.f_code.co_flags & _SUSPENDABLE and frame.f_back is None
    return WaitingCall("future", "await") if is_suspended else None


@or_none
def named(frame: FrameType) -> WaitingCall | None:
    """Return what a call waits for by its name alone: of a frame that is known to wait, as that of a greenlet."""
    expression = source.expression(frame)
    node = expression.node if expression is not None else None
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    kind = _BY_METHOD.get(node.func.attr)
    return None if kind is None else WaitingCall(kind, node.func.attr)


_BY_METHOD: Final[Mapping[str, str]] = {
    "acquire": "lock",
    "join": "task",
    "joinall": "task",
    "wait": "event",
    "get": "queue",
    "put": "queue",
    "sleep": "sleep",
}


def _native_name(call: str) -> str:
    """A function with its library, a method with its class."""
    call = call.removeprefix("builtins.")
    module, _, name = call.rpartition(".")
    return f"{module.partition('.')[0]}.{name}" if module in sys.modules else ".".join(call.split(".")[-2:])


_SUSPENDABLE: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def _native_row(call: str) -> KnownCall | None:
    if (row := table.NATIVE.get(call)) is not None:
        return row
    module, _, name = call.rpartition(".")
    while module:
        if (row := table.CALLS.get(_public(module), {}).get(name)) is not None:
            return row
        module, _, outer = module.rpartition(".")
        name = f"{outer}.{name}"
    kind = _package_kind(call)
    return _of_package(kind) if kind else None


def _public(module: str) -> str:
    """Compiled modules of gevent name themselves after the compiled file."""
    return module.replace("gevent._gevent_c", "gevent.", 1)


def _calls(node: ast.expr, frame: FrameType, *, is_entering: bool) -> Iterator[str]:
    """Name the function that an expression calls, by each class of its object."""
    if isinstance(node, ast.Await):
        node = node.value
    if is_entering:
        entered = evaluate(node, frame)
        yield from _methods(entered, "__enter__")
        yield from _methods(entered, "acquire")  # which is what it does, where it is not said
        return
    if not isinstance(node, ast.Call):  # what a `for` statement goes over
        yield from _methods(evaluate(node, frame), "__next__")
        return
    function = evaluate(node.func, frame)
    if type(function) in (BuiltinFunctionType, BuiltinMethodType):
        yield _function_name(function)
    elif _type_name(type(function))[1] == "cython_function_or_method":
        module, name = (_of_compiled(function, name) for name in ("__module__", "__qualname__"))
        yield f"{_public(module)}.{name}"
    if isinstance(node.func, ast.Attribute):
        yield from _named(_classes(node.func.value, frame), node.func.attr)


def _of_compiled(function: object, name: str) -> str:
    """Read an attribute of a function of Cython's, which its type keeps in C."""
    found: Any = values.class_attribute(type(function), name)
    is_field = type(found) in (GetSetDescriptorType, MemberDescriptorType)
    value = found.__get__(function, type(function)) if is_field else None
    return value if type(value) is str else ""


def _classes(node: ast.expr, frame: FrameType) -> tuple[type, ...]:
    """Return the classes of the object whose method is called.

    Of `Client().fetch` the class that is called stands for it, of `connection.cursor().execute` the connection.
    """
    value = evaluate(node, frame)
    if value is values.MISSING and isinstance(node, ast.Call):
        made = evaluate(node.func, frame)
        if values.is_kind(made, type):
            return values.bases(made)  # type: ignore[arg-type]
        if isinstance(node.func, ast.Attribute):
            value = evaluate(node.func.value, frame)
    return () if value is values.MISSING or type(value) is ModuleType else values.kinds(value)


def _methods(owner: object, method: str) -> Iterable[str]:
    return [] if owner is values.MISSING or type(owner) is ModuleType else _named(values.kinds(owner), method)


def _named(kinds: tuple[type, ...], method: str) -> list[str]:
    return [f"{module}.{name}.{method}" for module, name in map(_type_name, kinds) if name != "object"]


def _type_name(kind: type) -> tuple[str, str]:
    return _module_of(kind), _qualname_of(kind)


_module_of: Final[Callable[[type], Any]] = type.__dict__["__module__"].__get__
_qualname_of: Final[Callable[[type], str]] = type.__dict__["__qualname__"].__get__


def _function_name(function: Any) -> str:
    owner = function.__self__
    if owner is None or type(owner) is ModuleType:
        return f"{function.__module__}.{function.__name__}"
    return next(iter(_methods(owner, function.__name__)), "")
