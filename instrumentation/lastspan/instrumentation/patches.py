"""Functions of a library that we wrap once the host has imported it, and give back when asked.

A library that the host does not use is not imported by us. One that has other functions than we know stays as it is.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import wrapt
from opentelemetry.instrumentation.utils import unwrap

_logger = logging.getLogger(__name__)

Wrapper: TypeAlias = Callable[[Callable[..., Any], Any, "tuple[Any, ...]", "dict[str, Any]"], Any]
"""wrapt's: the wrapped function, the object that it is called on, arguments."""


class Patches:
    """What one instrumentor wraps."""

    def __init__(self) -> None:
        self._is_on = False
        self._awaited: set[str] = set()
        self._undo: dict[tuple[int, str], Callable[[], None]] = {}

    def when_imported(self, module: str, patch: Callable[[Any], None]) -> None:
        """Call *patch* with the module: now if it is imported, else when the host imports it."""
        self._is_on = True
        if module in self._awaited and module not in sys.modules:
            return  # since the first time

        def on_import(imported: Any) -> None:
            if not self._is_on:
                return
            try:
                patch(imported)
            except Exception:  # a guest never raises, least of all out of somebody's import
                _logger.debug("lastspan: %s stays as it is", module, exc_info=True)

        self._awaited.add(module)
        wrapt.register_post_import_hook(on_import, module)

    def wrap(self, owner: Any, wrappers: Mapping[str, Wrapper]) -> None:
        """Wrap functions of a class, by name; all of them or none (LookupError)."""
        missing = wrappers.keys() - vars(owner).keys()
        if missing:
            raise LookupError(f"{owner} has no {sorted(missing)}")
        for name, wrapper in wrappers.items():
            if (id(owner), name) not in self._undo:
                wrapt.wrap_function_wrapper(owner, name, wrapper)
                self._undo[id(owner), name] = _unwrapping(owner, name)

    def replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Put `make(original)` in a function's place: a third of what wrapt costs, for what is called often."""
        original = vars(owner)[name]
        if (id(owner), name) not in self._undo:
            ours = make(original)
            setattr(owner, name, ours)
            self._undo[id(owner), name] = _restoring(owner, name, ours, original)

    def restore(self) -> None:
        """Give everything back."""
        self._is_on = False
        for undo in self._undo.values():
            undo()
        self._undo.clear()


def _unwrapping(owner: Any, name: str) -> Callable[[], None]:
    return lambda: unwrap(owner, name)


def _restoring(owner: Any, name: str, ours: Any, original: Any) -> Callable[[], None]:
    def restore() -> None:
        if vars(owner).get(name) is ours:  # else somebody has wrapped us since: ours stays below it
            setattr(owner, name, original)

    return restore
