"""gevent's hubs, pinged like event loops: a greenlet blocks a hub whose callbacks do not run.

A hub belongs to a thread; every greenlet but the main one has it for a parent.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable
from typing import Any
from weakref import ref

from ..objects import values
from ..objects.reads import call, read


class Hub:
    """What `Loops` asks of an event loop, of a hub."""

    __slots__ = ("__weakref__", "_hub")

    def __init__(self, hub: Any) -> None:
        self._hub = ref(hub)

    @property
    def hub(self) -> Any:
        """The hub; None: it is gone."""
        return self._hub()

    def call_soon(self, callback: Callable[[], object]) -> bool:
        """Have the hub call *callback* soon; False: it is gone, or has a loop of another kind."""
        return _call_soon(_loop_of(self._hub()), callback)

    def is_closed(self) -> bool:
        """It serves no greenlet any more."""
        return _loop_of(self._hub()) is None


class Hubs:
    """The hubs of late jobs' greenlets, each known by one object for as long as it lives."""

    def __init__(self) -> None:
        self._known: dict[int, Hub] = {}

    def of(self, greenlet: Any, began_with: ref[Any] | None) -> Hub | None:
        """Return the hub of a greenlet, or of the thread it *began_with*; None: there is none that can be asked."""
        hub = read(greenlet, "parent")
        if (hub is None or hub is values.MISSING) and began_with is not None:
            hub = began_with()
        if not values.class_name(type(hub)).startswith("gevent.") or _loop_of(hub) is None:
            return None
        if (known := self._known.get(id(hub))) is None or known.hub is not hub:
            self._known = {key: one for key, one in self._known.items() if one.hub is not None}
            known = self._known[id(hub)] = Hub(hub)
        return known


def _loop_of(hub: object) -> Any:
    """Return the loop of a hub; None: it has none any more."""
    found = read(hub, "loop")
    found = values.attribute(hub, "loop") if found is values.MISSING else found
    return None if found is values.MISSING else found


def _call_soon(loop: object, callback: Callable[[], object]) -> bool:
    name = "run_callback_threadsafe"
    if call(loop, name, callback) is not values.MISSING:
        return True
    function = values.class_attribute(type(loop), name)  # gevent's own in Python, over libuv
    if type(function) is not types.FunctionType or not function.__code__.co_filename.startswith(_gevent()):
        return False
    function(loop, callback)
    return True


def _gevent() -> tuple[str, ...]:
    paths = getattr(sys.modules.get("gevent"), "__path__", ())
    return tuple(str(path) + os.sep for path in paths)
