"""The objects that an expression names in a frame of another thread, read without running anybody's code.

No code of a property, no `__getattr__`, no `__eq__`, no metaclass: what cannot be read that way is `MISSING`.
"""

from __future__ import annotations

import ast
import dis
import inspect
import sys
import threading
import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from enum import EnumMeta
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple

MISSING: Final = object()
"""There is no such thing, or it cannot be read without running somebody's code."""

_KEYS_MAX: Final = 10_000
_NUMBER_MAX: Final = 1 << 32


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
        for value in (_entry(frame.f_globals, name), MISSING if owner is MISSING else attribute(owner, name)):
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


def evaluate(node: ast.AST, frame: FrameType) -> object:
    """Return the object that an expression names in a frame, without running anybody's code; else `MISSING`."""
    try:
        return _evaluate(node, frame)
    except Exception:  # a guest never raises
        return MISSING


def _evaluate(node: ast.AST, frame: FrameType) -> object:
    match node:
        case ast.Name(id=name):
            return variable(frame, mangled(name, frame.f_code))
        case ast.Attribute(value=value, attr=name):
            owner = _evaluate(value, frame)
            return MISSING if owner is MISSING else attribute(owner, mangled(name, frame.f_code))
        case ast.Subscript(value=value, slice=key):
            return element(_evaluate(value, frame), _evaluate(key, frame))
        case ast.Constant(value=constant):
            return constant
        case ast.BinOp(left=left, op=operator, right=right):
            return _computed(operator, _evaluate(left, frame), _evaluate(right, frame))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            number = _evaluate(operand, frame)
            return -number if is_exactly(number, int, float) else MISSING  # type: ignore[operator]
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
        if not is_exactly(value, str, int):
            return MISSING
        found.append(str(value))
    return "".join(found)


def _called(function: ast.expr, first: ast.expr, rest: list[ast.expr], frame: FrameType) -> object:
    """Return what a call of the interpreter's own would return, of those that a key or a lock is looked up by."""
    match function:
        case ast.Attribute(value=owner, attr="get" | "setdefault"):
            found = _evaluate(owner, frame)
            return element(found, _evaluate(first, frame)) if is_exactly(found, *_DICTS) else MISSING
        case ast.Name(id="getattr") if variable(frame, "getattr") is getattr:
            owned, name = _evaluate(first, frame), _evaluate(rest[0], frame) if rest else MISSING
            return attribute(owned, name) if owned is not MISSING and type(name) is str else MISSING
        case ast.Name(id="len") if variable(frame, "len") is len and not rest:
            sized = _evaluate(first, frame)
            return len(sized) if is_exactly(sized, *_DICTS, list, tuple) else MISSING  # type: ignore[arg-type]
        case ast.Name(id="hash") if variable(frame, "hash") is hash and not rest:
            hashed = _evaluate(first, frame)
            return hash(hashed) if is_exactly(hashed, str, int) else MISSING
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


_DICTS: Final = (dict, defaultdict, OrderedDict)


def element(owner: object, key: object) -> object:
    """Return an element of one of the interpreter's own dictionaries, a list or a tuple.

    By a plain key, or in a dictionary by the very object that is the key.
    """
    if is_exactly(owner, *_DICTS):
        if len(owner) > _KEYS_MAX:  # type: ignore[arg-type]
            return MISSING
        items: list[tuple[object, object]] = list(dict.items(owner))  # type: ignore[arg-type]
        if (found := next((value for one, value in items if one is key), MISSING)) is not MISSING:
            return found
        if not _is_plain_key(key) or not all(_is_plain_key(one) for one, _ in items):
            return MISSING  # another key of the same hash would be asked whether it is equal
        return dict.get(owner, key, MISSING)  # type: ignore[call-overload]  # without __missing__
    if type(owner) is list and type(key) is int:
        return owner[key] if -len(owner) <= key < len(owner) else MISSING
    if type(owner) is tuple and type(key) is int:
        return owner[key] if -len(owner) <= key < len(owner) else MISSING
    return MISSING


def _is_plain_key(key: object) -> bool:
    """Say whether nobody's code is asked for the hash of a key, nor whether it equals another one."""
    if type(key) is tuple:
        return all(is_exactly(part, str, int) for part in key)
    return is_exactly(key, str, int)


_mro: Final[Callable[[type], tuple[type, ...]]] = type.__dict__["__mro__"].__get__
_namespace: Final[Callable[[type], types.MappingProxyType[str, Any]]] = type.__dict__["__dict__"].__get__
_own_name: Final[Callable[[type], str]] = type.__dict__["__name__"].__get__
_own_module: Final[Callable[[type], object]] = type.__dict__["__module__"].__get__
_PLAIN_LOOKUPS: Final[tuple[object, ...]] = (
    object.__getattribute__,
    type.__getattribute__,
    BaseException.__getattribute__,
    types.ModuleType.__getattribute__,
    types.SimpleNamespace.__getattribute__,
    tuple.__getattribute__,
    list.__getattribute__,
    dict.__getattribute__,
)


def kinds(value: object) -> tuple[type, ...]:
    """Return the classes of an object as they are, whatever its `__class__` says."""
    return _mro(type(value))


def bases(kind: type) -> tuple[type, ...]:
    """Return a class and its bases as they are."""
    return _mro(kind)


def is_kind(value: object, kind: type) -> bool:
    """Say whether an object is of a class; unlike `isinstance`, without asking either."""
    return any(base is kind for base in kinds(value))


def is_exactly(value: object, *wanted: type) -> bool:
    """Say whether an object is of one of the classes itself. Not `in`: a metaclass may have its own `==` and `hash`."""
    kind = type(value)
    return any(kind is one for one in wanted)


def class_name(kind: type) -> str:
    """Return module and name of a class, whatever its metaclass says."""
    return f"{_own_module(kind)}.{_own_name(kind)}" if type(_own_module(kind)) is str else _own_name(kind)


def package(kind: type) -> str:
    """Return the top-level package of a class."""
    module = _own_module(kind)
    return module.partition(".")[0] if type(module) is str else ""


def class_attribute(kind: type, name: str) -> object:
    """Return what a class or one of its bases has under a name, without binding it."""
    for base in _mro(kind):
        if (found := _namespace(base).get(name, MISSING)) is not MISSING:
            return found
    return MISSING


def own_attribute(kind: type, name: str) -> object:
    """Return what a class itself has under a name, without binding it."""
    return _namespace(kind).get(name, MISSING)


def module_name(frame: FrameType) -> str:
    """Return the name of the module that a frame's function is of."""
    name = _entry(frame.f_globals, "__name__")
    return name if type(name) is str else ""


def attribute(owner: object, name: str, depth: int = 0) -> object:
    """Return an attribute that is plainly stored: in the instance, in a slot, in the class or the module.

    Or one by another name, which is all that a property gives out.
    """
    kind = type(owner)
    if not any(class_attribute(kind, "__getattribute__") is plain for plain in _PLAIN_LOOKUPS):
        return MISSING
    of_class = class_attribute(kind, name)
    if of_class is not MISSING:
        if type(of_class) is types.MemberDescriptorType:
            return _slot(of_class, owner)
        if type(of_class) is _NAMED_ELEMENT:
            return _named_element(of_class, owner)
        if type(of_class) is property and depth < _GETTERS_MAX:
            return _returned(of_class.fget, owner, depth + 1)
        if class_attribute(type(of_class), "__set__") is not MISSING:
            return MISSING  # something like a property
    if is_kind(owner, type):
        if is_kind(owner, EnumMeta):
            members = class_attribute(owner, "_member_map_")  # type: ignore[arg-type]
            if type(members) is dict and (member := members.get(name, MISSING)) is not MISSING:
                return member
        found = class_attribute(owner, name)  # type: ignore[arg-type]
        return MISSING if found is not MISSING and _is_descriptor(found) else found
    if of_class is MISSING and class_attribute(kind, "__dict__") is MISSING:
        return _kept(owner, name)
    stored = _stored(owner)
    if stored is not None and (found := _stored_entry(stored, name)) is not MISSING:
        return found
    return MISSING if of_class is not MISSING and _is_descriptor(of_class) else of_class


_NAMED_ELEMENT: Final[Any] = type(NamedTuple("_Named", [("one", int)]).one)  # type: ignore[attr-defined]


def _named_element(of_class: Any, owner: object) -> object:
    """Return the element of a named tuple by its name; its class keeps which one it is."""
    index = of_class.__reduce__()[1][0] if type(of_class) is not property else MISSING
    is_one = type(index) is int and is_kind(owner, tuple) and index < tuple.__len__(owner)  # type: ignore[arg-type]
    return tuple.__getitem__(owner, index) if is_one else MISSING  # type: ignore[call-overload]


def _returned(getter: object, owner: object, depth: int) -> object:
    """Return what a property gives out whose function only names an attribute: `return self._lock`."""
    if type(getter) is not types.FunctionType or len(getter.__code__.co_code) > _GETTER_MAX:
        return MISSING
    found: object = MISSING
    for step in dis.get_instructions(getter.__code__):
        if step.opname.startswith("LOAD_FAST") and step.argval == getter.__code__.co_varnames[0]:
            found = owner
        elif step.opname == "LOAD_ATTR" and found is not MISSING:
            found = attribute(found, step.argval, depth)
        elif step.opname == "RETURN_VALUE":
            return found
        elif step.opname not in ("RESUME", "CACHE", "NOP"):
            return MISSING
    return MISSING


_GETTER_MAX: Final = 128
"""Bytes of its code."""
_GETTERS_MAX: Final = 3
"""Properties that give out what another one does."""


def _is_descriptor(value: object) -> bool:
    return class_attribute(type(value), "__get__") is not MISSING


def _slot(slot: types.MemberDescriptorType, owner: object) -> object:
    try:
        return slot.__get__(owner, type(owner))
    except (AttributeError, TypeError):  # nothing in it
        return MISSING


def _kept(owner: object, name: str) -> object:
    """Read an instance whose class, in C, gives out no dictionary; the class itself has nothing of the name."""
    try:
        return object.__getattribute__(owner, name)
    except AttributeError:
        return MISSING


def _stored(owner: object) -> dict[str, object] | None:
    """Return an instance's own dictionary; None if its class gives out something else under that name."""
    descriptor = class_attribute(type(owner), "__dict__")
    if type(descriptor) not in (types.GetSetDescriptorType, types.MemberDescriptorType):
        return None
    found = descriptor.__get__(owner, type(owner))  # type: ignore[attr-defined]
    return found if type(found) is dict else None


def _stored_entry(stored: dict[str, object], name: str) -> object:
    if len(stored) > _KEYS_MAX or not all(type(one) is str for one in list(stored)):
        return MISSING
    return stored.get(name, MISSING)


def mangled(name: str, code: CodeType) -> str:
    """Return the name that the compiler made of `__name` inside a class."""
    if not name.startswith("__") or name.endswith("__"):
        return name
    return next((known for known in code.co_names if known.startswith("_") and known.endswith(name)), name)
