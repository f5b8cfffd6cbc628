"""Which locks the frames of a thread or task hold: those of the `with` blocks around, and those acquired above."""

from __future__ import annotations

import contextlib
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FrameType
from typing import Final, NamedTuple

from .. import python
from ..objects import values
from ..objects.values import MISSING
from ..stack import source
from ..stack.expressions import evaluate
from ..stack.frames import qualname, short_place
from ..stack.source import Expr
from .blocked_on import MODULES, Entry, core, entry, is_free, kind_of, module_of

_NOTHING: Final[Mapping[FrameType, object]] = types.MappingProxyType({})


class LockHold(NamedTuple):
    """A lock that somebody holds."""

    identity: int | Entry
    certainty: str
    """`certain` or `likely`."""
    expr: Expr
    code: CodeType

    @property
    def place(self) -> str:
        """Where it was taken: function, file:line."""
        return f"{qualname(self.code)}, {short_place(self.expr.file, self.expr.line)}"


def holds_of(
    frames: Iterable[FrameType], *, suspended: Mapping[FrameType, object] = _NOTHING, with_entries: bool = False
) -> list[LockHold]:
    """Return what is held by the innermost frame of a thread and all around it; by all frames of a task that waits.

    *suspended*: of frames of a task, the coroutine, which knows what it is inside of, whatever its source calls it.
    With entries: also the calls that made what nobody can see (`with self.lock_for(key)`).
    """
    found: list[LockHold] = []
    given_back: set[int] = set()
    for holding in (one for frame in frames for one in source.holding(frame)):
        if holding.f_code.co_name == "wait" and module_of(holding) in ("threading", "asyncio.locks"):
            waited = python.variable(holding, "self")
            if waited is not MISSING and core(waited) is not waited:
                given_back.add(id(core(waited)))  # wait() lets go of the condition's lock meanwhile
        inside = source.entered(holding)
        for expr, manager in zip(inside, _stacked(suspended.get(holding), holding, len(inside)), strict=True):
            if expr is not None:
                found.extend(_managed(expr, holding, manager, with_entries=with_entries))
        if "acquire" in holding.f_code.co_names and module_of(holding) not in MODULES:
            found.extend(_acquired(holding))
    return [hold for hold in found if hold.identity not in given_back]


def _stacked(suspended: object, frame: FrameType, depth: int) -> list[object]:
    """Return the managers of the *depth* blocks that a coroutine is inside, innermost first; `MISSING`: not known."""
    managers = [] if suspended is None else list(python.managers_of(suspended))
    if len(managers) != depth + source.is_entering(frame):  # the one that it is about to enter lies there too
        return [MISSING] * depth
    return managers[:depth][::-1]


def _managed(expr: Expr, frame: FrameType, manager: object, *, with_entries: bool) -> Iterator[LockHold]:
    """Yield the locks that a context manager stands for; or else the call that made it."""
    if manager is MISSING:
        if expr.rebound:
            return  # what it is called now is not what was entered
        manager = evaluate(expr.node, frame)
        if manager is MISSING and expr.alias:
            manager = python.variable(frame, expr.alias)
    is_seen = False
    for lock, certainty in _locks_in(manager, 0):
        is_seen = True
        if not is_free(core(lock)):
            yield LockHold(id(core(lock)), certainty, expr, frame.f_code)
    if with_entries and not is_seen and (called := entry(expr.node, frame)) is not None:
        yield LockHold(called, "likely", expr, frame.f_code)


def _locks_in(manager: object, depth: int) -> Iterator[tuple[object, str]]:
    """Yield the locks that a context manager is, or holds, and with which certainty."""
    if manager is MISSING or depth > 4:
        return
    if kind_of(manager) is not None:
        yield manager, "certain"
    elif values.is_kind(manager, contextlib._BaseExitStack):
        callbacks = values.attribute(manager, "_exit_callbacks")
        for callback in list(callbacks) if type(callbacks) is deque else ():
            if type(callback) is tuple and len(callback) == 2:
                yield from _locks_in(python.exited_by(callback[1]), depth + 1)
    elif values.is_kind(manager, contextlib._GeneratorContextManagerBase):
        generator = values.attribute(manager, "gen")
        if type(generator) in (types.GeneratorType, types.AsyncGeneratorType):
            for inner in python.managers_of(generator):
                yield from _locks_in(inner, depth + 1)
    else:
        yield from ((lock, "likely") for lock in _taken_by(manager))


def _taken_by(manager: object) -> Iterator[object]:
    """Yield the locks of an object that its own `__enter__` names."""
    enter = values.class_attribute(type(manager), "__enter__")
    if type(enter) is not types.FunctionType or not {"acquire", "__enter__"} & {*enter.__code__.co_names}:
        return
    for name in enter.__code__.co_names[:_NAMES_MAX]:
        lock = values.attribute(manager, name)
        if kind_of(lock) is not None and not is_free(core(lock)):
            yield lock


_NAMES_MAX: Final = 16


def _acquired(frame: FrameType) -> Iterator[LockHold]:
    """Yield the locks that were acquired above the current line and not released between."""
    here = source.position(frame)
    last: dict[object, LockHold | None] = {}
    for end, method, expr in source.calls(frame.f_code):
        if end > here:
            break
        lock = evaluate(expr.node, frame)
        if kind_of(lock) is not None:
            hold = LockHold(id(core(lock)), "likely", expr, frame.f_code)
            last[hold.identity] = hold if method == "acquire" and not is_free(core(lock)) else None
    yield from (hold for hold in last.values() if hold is not None)
