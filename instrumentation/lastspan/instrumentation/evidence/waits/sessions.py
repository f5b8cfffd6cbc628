"""The database session of a stack, a connection or a cursor: its id at the server, and both addresses.

All of it is in the process's memory: a driver's own fields (`clients` says which), and what `reads` lists of those that
keep theirs in C. No query is made and no lock is taken, so it can be read of a connection that is blocked, from another
thread.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from types import FrameType, GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final

from ...guest.errors import or_none
from ...registry.session import Session
from .. import python
from ..clients.table import SESSIONS, WRAPS
from ..objects import values
from ..stack import source
from ..stack.expressions import evaluate
from ..stack.frames import is_application

_FRAMES_MAX: Final = 40
_DEPTH_MAX: Final = 6
_SESSIONS_MAX: Final = 4


@or_none
def session(frames: tuple[FrameType, ...], package: str = "") -> Session | None:
    """Return the session that a stack waits for: from the driver's frames, or the application's line that calls it."""
    for depth, frame in enumerate(reversed(frames)):
        if depth >= _FRAMES_MAX:
            return None
        is_ours = is_application(frame.f_code.co_filename, package)
        if is_ours or depth == 0:
            for named in _named_by_line(frame):
                if (found := session_of(named)) is not None:
                    return found
        if is_ours:
            return None
        if (found := _of_driver_frame(frame)) is not None:
            return found
    return None


def sessions_in_reach(frames: tuple[FrameType, ...], package: str = "") -> tuple[Session, ...]:
    """Return the sessions that the application's code on a stack has at hand: who keeps a lock mostly asks nothing."""
    found: dict[tuple[str, str, str], Session] = {}
    for frame in frames[-_FRAMES_MAX:]:
        if not is_application(frame.f_code.co_filename, package):
            continue
        for thing in python.in_reach(frame):
            if (one := session_of(thing)) is not None:
                found.setdefault((one.server, one.id, one.local), one)
            if len(found) >= _SESSIONS_MAX:
                break
    return tuple(found.values())


@or_none  # closed meanwhile, or a driver of another make
def session_of(thing: object, depth: int = _DEPTH_MAX) -> Session | None:
    """Return the session of a connection or a cursor, or of what wraps one; None: it is none, or it is closed."""
    if thing is None or thing is values.MISSING or not depth:
        return None
    for kind in values.kinds(thing):
        package = values.package(kind)
        if (read := SESSIONS.get(package)) is not None and (found := read(thing)) is not None:
            return found
        if (inner := WRAPS.get(package)) is not None:
            for name in inner:
                if (found := session_of(_inner(thing, name), depth - 1)) is not None:
                    return found
            return None
    return None


def _inner(thing: object, name: str) -> object:
    if name == "__wrapped__":
        return _wrapped(thing)
    found = values.attribute(thing, name)
    if name == "_connections" and type(found) is dict:  # of SQLAlchemy's transaction: by engine, first the connection
        return values.element(next(iter(list(found.values())), None), 0)
    return found


def _wrapped(proxy: object) -> object:
    """Return what a proxy of wrapt's stands for, which it keeps in C or in a slot; all else it answers for that."""
    for kind in values.kinds(proxy):
        found: Any = (
            values.own_attribute(kind, "__wrapped__")
            if "__wrapped__" in WRAPS.get(values.package(kind), ())
            else values.MISSING
        )
        if type(found) in (GetSetDescriptorType, MemberDescriptorType):
            return found.__get__(proxy, kind)
    return values.MISSING


# --- from frames ------------------------------------------------------------------------------------------------------

_VARIABLES: Final = ("cursor", "self", "conn", "connection", "dbapi_connection", "con", "instance")


def _of_driver_frame(frame: FrameType) -> Session | None:
    module = python.module_name(frame)
    package = module.partition(".")[0]
    if package not in SESSIONS and package not in WRAPS and not module.startswith("opentelemetry.instrumentation."):
        return None
    for name in _VARIABLES:
        if name in frame.f_code.co_varnames and (found := session_of(python.variable(frame, name))) is not None:
            return found
    return None


def _named_by_line(frame: FrameType) -> Iterator[object]:
    """Yield the objects that the line calls a method of: the cursor, and the connection that it was made of."""
    expression = source.expression(frame)
    node: ast.AST | None = expression.node if expression is not None else None
    if expression is not None and expression.entering:
        yield evaluate(expression.node, frame)
    while isinstance(node, ast.Await | ast.Call | ast.Attribute):
        if isinstance(node, ast.Await):
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            node = node.value
            yield evaluate(node, frame)
