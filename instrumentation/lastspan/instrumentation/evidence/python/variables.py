"""The variables of a frame of another thread, read without running anybody's code."""

from __future__ import annotations

import inspect
import sys
import threading
from types import FrameType
from typing import Final

from ..objects import paths, values
from ..objects.values import MISSING


def variable(frame: FrameType, name: str) -> object:
    """Return the value of one name as the frame sees it: local, of a closure, global or built in."""
    code = frame.f_code
    if code.co_flags & inspect.CO_OPTIMIZED:
        if name in code.co_varnames or name in code.co_cellvars or name in code.co_freevars:
            return _local(frame, name)
    elif (found := _entry(frame.f_locals, name)) is not MISSING:
        return found
    found = _entry(frame.f_globals, name)
    return found if found is not MISSING else _entry(frame.f_builtins, name)


def _entry(namespace: object, name: str) -> object:
    try:
        return dict.get(namespace, name, MISSING)  # type: ignore[call-overload]
    except TypeError:  # a class body may have a mapping of its own: not ours to call
        return MISSING


_OWN_SNAPSHOT: Final = frozenset({"locals", "vars", "eval", "exec", "dir"})


def _local(frame: FrameType, name: str) -> object:
    if sys.version_info >= (3, 13):
        return frame.f_locals.get(name, MISSING)
    # Before PEP 667 reading leaves a dictionary in the frame, which keeps the values alive: it is emptied again, unless
    # the function (or somebody who looked into it) has it too. A tracer would write it back into the frame.
    if not _may_snapshot(frame):
        return MISSING
    snapshot = frame.f_locals
    value = snapshot.get(name, MISSING)
    if sys.getrefcount(snapshot) <= 3:  # the frame's, ours, and the argument's
        snapshot.clear()
    return value


def _may_snapshot(frame: FrameType) -> bool:
    if not _OWN_SNAPSHOT.isdisjoint(frame.f_code.co_names) or frame.f_trace is not None:
        return False
    return threading.gettrace() is None and threading.getprofile() is None


def in_reach(frame: FrameType) -> list[object]:
    """Return what a function has at hand: its locals, and the globals and attributes of `self` that its code names."""
    code = frame.f_code
    if not code.co_flags & inspect.CO_OPTIMIZED:
        return []
    found = _locals(frame)
    owner = found[0] if found and code.co_argcount and code.co_varnames[0] == "self" else MISSING
    for name in code.co_names:
        for value in (_entry(frame.f_globals, name), MISSING if owner is MISSING else values.attribute(owner, name)):
            if value is not MISSING:
                found.append(value)
    return found


def _locals(frame: FrameType) -> list[object]:
    if sys.version_info >= (3, 13):
        return list(frame.f_locals.values())
    if not _may_snapshot(frame):
        return []
    snapshot = frame.f_locals
    found = list(snapshot.values())
    if sys.getrefcount(snapshot) <= 3:
        snapshot.clear()
    return found


def module_name(frame: FrameType) -> str:
    """Return the name of the module that a frame's function is of."""
    name = _entry(frame.f_globals, "__name__")
    return name if type(name) is str else ""


def read(frame: FrameType, path: str) -> object:
    """Return what a path from a variable of a function on leads to: `self.name`, `address.0`; `MISSING`: to nothing."""
    name, _, rest = path.partition(".")
    code = frame.f_code
    if name not in code.co_varnames and name not in code.co_freevars + code.co_cellvars:
        return MISSING
    return paths.follow(variable(frame, name), rest)
