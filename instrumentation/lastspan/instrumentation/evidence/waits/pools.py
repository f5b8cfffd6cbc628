"""Who keeps the connections of a pool that a job waits for: those who have one at hand, or are in its `with` block."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from types import FrameType
from typing import Final

from .. import python
from ..clients.table import POOLED
from ..objects import paths, values
from ..stack import source
from ..stack.expressions import evaluate
from ..stack.frames import is_application
from .known_calls import waiting_frame

_FRAMES_MAX: Final = 40

_LENT: Final = ("_used",)
"""Where a pool keeps the connections that it has lent: aiomysql, aiopg."""


def waited_pool(frames: tuple[FrameType, ...], package: str = "") -> tuple[object, ...]:
    """Return the pool that a stack waits for, and what the application's line calls to get a connection of it."""
    waiting = waiting_frame(frames, "pool", package)
    if waiting is None:
        return ()
    pool = python.variable(waiting, "self")
    ours = next((one for one in reversed(frames) if is_application(one.f_code.co_filename, package)), None)
    called = None if ours is None else _receiver(ours)
    return tuple(one for one in (pool, called) if one is not None and one is not values.MISSING)


def keeps(frames: tuple[FrameType, ...], pools: tuple[object, ...], package: str = "") -> bool:
    """Say whether the application's code on a stack has a connection of one of these pools."""
    for frame in frames[-_FRAMES_MAX:]:
        if not is_application(frame.f_code.co_filename, package):
            continue
        for thing in python.in_reach(frame):
            if any(_is_of(thing, pool) for pool in pools):
                return True
        if any(_is_inside(expr.node, frame, pools) for expr in source.entered(frame) if expr is not None):
            return True
    return False


def _is_of(thing: object, pool: object) -> bool:
    for kind in values.kinds(thing):
        name = values.class_name(kind).rpartition(".")[2]
        path = POOLED.get(f"{values.package(kind)}.{name}")
        if path is not None and paths.follow(thing, path) is pool:
            return True
    lent = (values.attribute(pool, name) for name in _LENT)
    return any(type(some) is set and any(one is thing for one in list(some)) for some in lent)


def _is_inside(node: ast.expr, frame: FrameType, pools: tuple[object, ...]) -> bool:
    """Say whether a `with` block is one of a call of the pool's: `with pool.connection():`."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    owner = evaluate(node.func.value, frame)
    return any(owner is pool for pool in pools)


def _receiver(frame: FrameType) -> object:
    expression = source.expression(frame)
    nodes: Iterator[ast.AST] = iter(()) if expression is None else ast.walk(expression.node)
    call = next((node for node in nodes if isinstance(node, ast.Call)), None)
    if call is None or not isinstance(call.func, ast.Attribute):
        return values.MISSING
    return evaluate(call.func.value, frame)
