"""The object that an expression names in a frame of another thread, found without running anybody's code.

What cannot be found that way is `MISSING`.
"""

from __future__ import annotations

import ast
from types import CodeType, FrameType
from typing import Final

from .. import python
from ..objects import values
from ..objects.values import MISSING

_NUMBER_MAX: Final = 1 << 32


def evaluate(node: ast.AST, frame: FrameType) -> object:
    """Return the object that an expression names in a frame, without running anybody's code; else `MISSING`."""
    try:
        return _evaluate(node, frame)
    except Exception:  # a guest never raises
        return MISSING


def _evaluate(node: ast.AST, frame: FrameType) -> object:
    match node:
        case ast.Name(id=name):
            return python.variable(frame, mangled(name, frame.f_code))
        case ast.Attribute(value=value, attr=name):
            owner = _evaluate(value, frame)
            return MISSING if owner is MISSING else values.attribute(owner, mangled(name, frame.f_code))
        case ast.Subscript(value=value, slice=key):
            return values.element(_evaluate(value, frame), _evaluate(key, frame))
        case ast.Constant(value=constant):
            return constant
        case ast.BinOp(left=left, op=operator, right=right):
            return _computed(operator, _evaluate(left, frame), _evaluate(right, frame))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            number = _evaluate(operand, frame)
            return -number if values.is_exactly(number, int, float) else MISSING  # type: ignore[operator]
        case ast.NamedExpr(target=target):
            return _evaluate(target, frame)
        case ast.Tuple(elts=parts):
            found = tuple(_evaluate(part, frame) for part in parts)
            return MISSING if any(one is MISSING for one in found) else found
        case ast.JoinedStr(values=parts):
            return _joined(parts, frame)
        case ast.Call(func=function, args=[first, *_], keywords=[]):
            return _called(function, first, node.args[1:], frame)
        case _:
            return MISSING


def _joined(parts: list[ast.expr], frame: FrameType) -> object:
    """Return an f-string of plain text and numbers."""
    found = []
    for part in parts:
        is_plain = not isinstance(part, ast.FormattedValue) or (part.conversion == -1 and part.format_spec is None)
        value = _evaluate(part.value if isinstance(part, ast.FormattedValue) else part, frame) if is_plain else MISSING
        if not values.is_exactly(value, str, int):
            return MISSING
        found.append(str(value))
    return "".join(found)


def _called(function: ast.expr, first: ast.expr, rest: list[ast.expr], frame: FrameType) -> object:
    """Return what a call of the interpreter's own would return, of those that a key or a lock is looked up by."""
    match function:
        case ast.Attribute(value=owner, attr="get" | "setdefault"):
            found = _evaluate(owner, frame)
            return (
                values.element(found, _evaluate(first, frame)) if values.is_exactly(found, *values.DICTS) else MISSING
            )
        case ast.Name(id="getattr") if python.variable(frame, "getattr") is getattr:
            owned, name = _evaluate(first, frame), _evaluate(rest[0], frame) if rest else MISSING
            return values.attribute(owned, name) if owned is not MISSING and type(name) is str else MISSING
        case ast.Name(id="len") if python.variable(frame, "len") is len and not rest:
            sized = _evaluate(first, frame)
            return len(sized) if values.is_exactly(sized, *values.DICTS, list, tuple) else MISSING  # type: ignore[arg-type]
        case ast.Name(id="hash") if python.variable(frame, "hash") is hash and not rest:
            hashed = _evaluate(first, frame)
            return hash(hashed) if values.is_exactly(hashed, str, int) else MISSING
        case _:
            return MISSING


def _computed(operator: ast.operator, left: object, right: object) -> object:
    if type(left) is not int or type(right) is not int or abs(left) > _NUMBER_MAX or abs(right) > _NUMBER_MAX:
        return MISSING
    match operator:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Mod() | ast.FloorDiv() if right == 0:
            return MISSING
        case ast.Mod():
            return left % right
        case ast.FloorDiv():
            return left // right
        case _:
            return MISSING


def mangled(name: str, code: CodeType) -> str:
    """Return the name that the compiler made of `__name` inside a class."""
    if not name.startswith("__") or name.endswith("__"):
        return name
    return next((known for known in code.co_names if known.startswith("_") and known.endswith(name)), name)
