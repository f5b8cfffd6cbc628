"""Functions of a library that we wrap once the host has imported it, and give back when asked.

A library that the host does not use is not imported by us. One that has other functions than we know stays as it is.
Plain functions in the place of plain functions, made with `functools.wraps`: they cost a quarter of what wrapt's cost,
and look, bind and pickle as the library's own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import wrapt

from . import log

_log = log.Log(__name__)

Make: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Makes the function that replaces another and calls it."""


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
            except Exception as error:  # a guest never raises, least of all out of somebody's import
                _log.fault(f"lastspan: {module} is not instrumented", error)

        self._awaited.add(module)
        wrapt.register_post_import_hook(on_import, module)

    def wrap(self, owner: Any, makes: Mapping[str, Make]) -> None:
        """Wrap functions of a class or a module, by name, where they are defined; all of them or none (LookupError)."""
        homes = {name: _home(owner, name) for name in makes}
        missing = sorted(name for name, home in homes.items() if home is None)
        if missing:
            raise LookupError(f"{owner} has no {missing}")
        for name, make in makes.items():
            home = homes[name]
            if (id(home), name) not in self._undo:
                original = vars(home)[name]
                ours = make(original)
                setattr(home, name, ours)
                self._undo[id(home), name] = _restoring(home, name, ours, original)

    def restore(self) -> None:
        """Give everything back."""
        self._is_on = False
        for undo in self._undo.values():
            undo()
        self._undo.clear()


def _home(owner: Any, name: str) -> Any:
    """Return the module, or of a class and its bases the one, that has a function of this name; None: none has."""
    owners = owner.__mro__ if isinstance(owner, type) else (owner,)
    return next((one for one in owners if name in vars(one)), None)


def _restoring(owner: Any, name: str, ours: Any, original: Any) -> Callable[[], None]:
    def restore() -> None:
        if vars(owner).get(name) is ours:  # else somebody has wrapped us since: ours stays below it
            setattr(owner, name, original)

    return restore
