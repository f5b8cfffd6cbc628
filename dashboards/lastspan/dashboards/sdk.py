"""A YAML mapping drives a builder of grafana-foundation-sdk: each key is one of its methods.

The SDK checks types under mypy only; here each value is checked against the method's own hints, so that a mistake in a
descriptor is an error and not a panel that stays empty.
"""

from __future__ import annotations

import collections.abc
import difflib
import enum
import inspect
import json
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from .mistakes import MistakeError, Path


class Built(Builder[Any]):
    """A model that is built already: the SDK's builders take builders only."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def build(self) -> Any:
        """Return the model."""
        return self._model


def as_json(model: Any) -> Any:
    """Return a model as plain JSON values."""
    return json.loads(JSONEncoder().encode(model))


def apply(builder: Any, spec: Mapping[str, Any], path: Path = ()) -> Any:
    """Call the method of each key of *spec*; return the builder. What does not fit is a `MistakeError`."""
    kind: Any = type(builder)
    for key, value in spec.items():
        hints = _parameters(kind, key)
        if hints is None:
            raise MistakeError(f"{_name(builder)} has no option {key!r}{_nearest(key, kind)}", (*path, key))
        _call(getattr(builder, key), hints, value, (*path, key))
    return builder


def options(builder: type) -> list[str]:
    """Return the names of a builder's options."""
    return [name for name in vars(builder) if not name.startswith("_") and name != "build"]


def _nearest(key: str, builder: type) -> str:
    near = difflib.get_close_matches(str(key), options(builder), n=3)
    return f"; is it {' or '.join(near)}?" if near else ""


def _call(method: Any, hints: Mapping[str, Any], value: Any, path: Path) -> None:
    try:
        if not hints:  # a switch
            if coerce(value, bool, path):
                method()
        elif len(hints) == 1:
            method(coerce(value, next(iter(hints.values())), path))
        else:  # such as override_by_name(name, properties): one mapping, or a list of them
            rows = value if isinstance(value, list) else [value]
            for index, row in enumerate(rows):
                _call_with(method, hints, row, (*path, index) if isinstance(value, list) else path)
    except ValueError as error:  # some methods check ranges
        raise MistakeError(str(error), path) from None


def _call_with(method: Any, hints: Mapping[str, Any], row: Any, path: Path) -> None:
    if not isinstance(row, dict) or set(row) != set(hints):
        raise MistakeError(f"{', '.join(hints)} are needed, no more and no less", path)
    method(**{name: coerce(row[name], hint, (*path, name)) for name, hint in hints.items()})


@cache
def _parameters(builder: Any, key: str) -> dict[str, Any] | None:
    if key not in options(builder):
        return None
    # Some hints are unions of names that the SDK's module of builders does not import.
    hints = typing.get_type_hints(getattr(builder, key), localns=vars(models))
    hints.pop("return", None)
    return hints


def coerce(value: Any, hint: Any, path: Path) -> Any:
    """Return *value* as what *hint* wants: enums, models and builders too; raise `MistakeError`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is typing.Any or hint is object:
        return value
    if origin in (typing.Union, types.UnionType):
        return _first(value, arguments, path)
    if origin is typing.Literal:
        return _one_of(value, arguments, path)
    if origin in (list, collections.abc.Sequence):
        return _list(value, arguments[0], path)
    if origin is dict:
        return {key: coerce(item, arguments[1], (*path, key)) for key, item in _dict(value, path).items()}
    if origin is Builder:
        return Built(coerce(value, arguments[0], path))
    return _scalar(value, hint, path)


def _scalar(value: Any, hint: Any, path: Path) -> Any:
    is_class = inspect.isclass(hint)
    if is_class and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    if is_class and issubclass(hint, enum.Enum):
        return hint(_one_of(value, [member.value for member in hint], path))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hasattr(hint, "from_json") and isinstance(value, dict):
        return decode(hint, value, path)
    raise MistakeError(f"{getattr(hint, '__name__', hint)} is wanted, not {value!r}", path)


def _first(value: Any, hints: tuple[Any, ...], path: Path) -> Any:
    reasons = []
    for hint in hints:
        try:
            return coerce(value, hint, path)
        except MistakeError as mistake:
            reasons.append(mistake.reason)
    raise MistakeError("; or ".join(reasons), path)


def _one_of(value: Any, known: typing.Iterable[Any], path: Path) -> Any:
    known = list(known)
    if isinstance(value, bool) or value not in known:
        raise MistakeError(f"{value!r} is not one of {', '.join(map(repr, known))}", path)
    return value


def _list(value: Any, hint: Any, path: Path) -> list[Any]:
    if not isinstance(value, list):
        raise MistakeError(f"a list is wanted, not {value!r}", path)
    return [coerce(item, hint, (*path, index)) for index, item in enumerate(value)]


def _dict(value: Any, path: Path) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise MistakeError(f"a mapping is wanted, not {value!r}", path)
    return value


def decode(model: Any, data: Mapping[str, Any], path: Path = ()) -> Any:
    """Return *data* as a model of the SDK; what it does not know or changes is a `MistakeError`, not dropped."""
    try:
        decoded = model.from_json(data)
    except (AttributeError, KeyError, TypeError, ValueError):  # it looks into what it expects to be there
        raise MistakeError(f"this is no {model.__name__}", path) from None
    changed = _changed(data, as_json(decoded), path)
    if changed is not None:
        raise MistakeError(f"{model.__name__} does not know {changed[-1]!r}, or not this value of it", changed)
    _check(decoded, model, path)
    return decoded


def _check(value: Any, hint: Any, path: Path) -> None:
    """Refuse a value of another type than the model says: the SDK takes whatever it is given."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if value is None or hint in (typing.Any, object):
        return
    if origin in (typing.Union, types.UnionType):
        _check_any(value, arguments, path)
    elif origin is list and isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, arguments[0], (*path, index))
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            _check(item, arguments[1], (*path, key))
    elif origin is typing.Literal:
        _one_of(value, arguments, path)
    elif inspect.isclass(hint) and hasattr(hint, "from_json") and isinstance(value, hint):
        model: Any = hint
        for name, below in _fields(model).items():
            _check(getattr(value, name, None), below, (*path, name))
    else:
        _scalar(value, hint, path)


def _check_any(value: Any, hints: tuple[Any, ...], path: Path) -> None:
    reasons = []
    for hint in hints:
        try:
            return _check(value, hint, path)
        except MistakeError as mistake:
            reasons.append(mistake)
    raise reasons[0]


@cache
def _fields(model: Any) -> dict[str, Any]:
    return typing.get_type_hints(model, localns=vars(models))


def _changed(given: Any, kept: Any, path: Path) -> Path | None:
    """Return the way to the first thing that *given* has and *kept* has not, or has otherwise."""
    if isinstance(given, dict) and isinstance(kept, dict):
        steps: Any = [(key, item, kept.get(key)) for key, item in given.items()]
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        steps = [(index, one, other) for index, (one, other) in enumerate(zip(given, kept, strict=True))]
    else:
        return None if given == kept else path
    return next((way for key, one, other in steps if (way := _changed(one, other, (*path, key))) is not None), None)


def _name(builder: Any) -> str:
    return f"{type(builder).__module__.rsplit('.', 1)[-1]}.{type(builder).__name__}"
