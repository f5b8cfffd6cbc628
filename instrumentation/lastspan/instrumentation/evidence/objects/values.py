"""What lies in objects, read without running anybody's code: attributes, elements, classes.

No code of a property, no `__getattr__`, no `__eq__`, no metaclass: what cannot be read that way is `MISSING`.
"""

from __future__ import annotations

import dis
import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from enum import EnumMeta
from typing import Any, Final, NamedTuple

MISSING: Final = object()
"""There is no such thing, or it cannot be read without running somebody's code."""

_KEYS_MAX: Final = 10_000


DICTS: Final = (dict, defaultdict, OrderedDict)
"""The interpreter's own dictionaries."""


def element(owner: object, key: object) -> object:
    """Return an element of one of the interpreter's own dictionaries, a list or a tuple.

    By a plain key, or in a dictionary by the very object that is the key.
    """
    if is_exactly(owner, *DICTS):
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
