"""What a library's modules are made of, to be compared: classes, functions, lists; by identity."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any


def seen(modules: Iterable[ModuleType]) -> dict[str, object]:
    """Return each name of the modules, and of their own classes and objects, and what it stands for now."""
    found: dict[str, object] = {}
    for module in modules:
        for name, value in vars(module).items():
            path = f"{module.__name__}.{name}"
            found[path] = _of(value)
            if getattr(value, "__module__", None) == module.__name__ or not isinstance(value, type | ModuleType):
                found.update({f"{path}.{key}": _of(part) for key, part in _parts(value).items()})
    return found


def _parts(value: Any) -> dict[str, Any]:
    if isinstance(value, ModuleType) or (callable(value) and not isinstance(value, type)):
        return {}
    return dict(getattr(value, "__dict__", {}))


def _of(value: object) -> object:
    return [id(one) for one in value] if isinstance(value, list | tuple) else id(value)
