"""What is read of tasks, futures and event loops, which may be of classes of the host's own: never by their methods."""

from __future__ import annotations

import asyncio
import os
import types
from typing import Any, Final, TypeGuard

from . import values
from .reads import call, read
from .values import MISSING

_ASYNCIO: Final = os.path.dirname(asyncio.__file__) + os.sep


def is_task(value: object) -> TypeGuard[asyncio.Task[Any]]:
    """Say whether it is a task; `isinstance` would ask its `__class__`."""
    return values.is_kind(value, asyncio.Task) or values.is_kind(value, _PyTask)


def is_future(value: object) -> TypeGuard[asyncio.Future[Any]]:
    """Say whether it is a future of asyncio's, or a task."""
    return values.is_kind(value, asyncio.Future) or values.is_kind(value, _PyFuture)


_PyTask: Final[Any] = getattr(asyncio.tasks, "_PyTask", asyncio.Task)
_PyFuture: Final[Any] = getattr(asyncio.futures, "_PyFuture", asyncio.Future)
"""Those without C, which some applications take."""


def is_done(future: object) -> bool:
    """Say whether a task or future is over."""
    found = read(future, "done")
    return bool(found) if found is not MISSING else values.attribute(future, "_state") in ("CANCELLED", "FINISHED")


def loop_of(future: object) -> Any:
    """Return the event loop of a task or future; `MISSING` if it has none."""
    return _either(future, "_loop", "_loop")


def coroutine_of(task: object) -> Any:
    """Return a task's coroutine; `MISSING` if it has none."""
    return _either(task, "_coro", "_coro")


def name_of(task: object) -> str:
    """Return a task's name."""
    found = _either(task, "get_name", "_name")
    return found if type(found) is str else ""


def awaited_by(task: object) -> Any:
    """Return the future that a task waits for; None: it waits for none."""
    found = _either(task, "_fut_waiter", "_fut_waiter")
    return None if found is MISSING else found


def callbacks_of(future: object) -> list[Any]:
    """Return what is called when a future is done, each with its context."""
    found = _either(future, "_callbacks", "_callbacks")
    return [one for one in found if type(one) is tuple and len(one) == 2] if type(found) is list else []


def _either(owner: object, in_c: str, stored: str) -> Any:
    found = read(owner, in_c)
    return values.attribute(owner, stored) if found is MISSING else found


# --- loops ------------------------------------------------------------------------------------------------------------


def is_known(loop: object) -> bool:
    """Say whether a loop may be a key: its hash is the interpreter's own."""
    return values.class_attribute(type(loop), "__hash__") is object.__hash__


def is_closed(loop: object) -> bool:
    """Say whether a loop is closed, or none that we know."""
    found = read(loop, "is_closed")
    return bool(found) if found is not MISSING else values.attribute(loop, "_closed") is not False


def is_running(loop: object) -> bool:
    """Say whether a thread runs a loop."""
    found = read(loop, "is_running")
    return bool(found) if found is not MISSING else thread_of(loop) != 0


def thread_of(loop: object) -> int:
    """Return the thread that runs a loop; 0: none does, or it does not tell."""
    found = values.attribute(loop, "_thread_id")
    return found if type(found) is int else 0


def call_soon(loop: object, callback: object) -> bool:
    """Have a loop call *callback* soon, from this thread; False: it is closed, or not a loop whose way we know."""
    if values.is_kind(loop, asyncio.BaseEventLoop):
        if not all(_is_asyncios(loop, name) for name in _SOON):
            return False
        try:
            asyncio.BaseEventLoop.call_soon_threadsafe(loop, callback)  # type: ignore[arg-type]
        except RuntimeError:  # closed
            return False
        return True
    return call(loop, "call_soon_threadsafe", callback) is not MISSING


_SOON: Final = ("call_soon_threadsafe", "_call_soon", "_check_closed", "_write_to_self")


def _is_asyncios(loop: object, name: str) -> bool:
    found = values.attribute(loop, name)
    found = values.class_attribute(type(loop), name) if found is MISSING else found
    return type(found) is types.FunctionType and found.__code__.co_filename.startswith(_ASYNCIO)
