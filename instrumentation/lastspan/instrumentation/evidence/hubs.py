"""gevent's hubs, asked like event loops: one whose callbacks do not run is kept busy by a greenlet.

A hub belongs to a thread; every greenlet but the main one has it for a parent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary, ref


class Hub:
    """What `Loops` asks of an event loop, of a hub."""

    __slots__ = ("__weakref__", "_hub")

    def __init__(self, hub: Any) -> None:
        self._hub = ref(hub)

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        """Have the hub call *callback* soon. RuntimeError: it is gone."""
        hub = self._hub()
        loop = None if hub is None else hub.loop
        if loop is None:
            raise RuntimeError("the hub is gone")
        loop.run_callback_threadsafe(callback)

    def is_closed(self) -> bool:
        """It serves no greenlet any more."""
        hub = self._hub()
        return hub is None or hub.loop is None

    def is_running(self) -> bool:
        """A hub runs whenever its greenlets wait."""
        return not self.is_closed()


class Hubs:
    """The hubs of late jobs' greenlets, each known by one object for as long as it lives."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Any, Hub] = WeakKeyDictionary()

    def of(self, greenlet: Any, began_with: ref[Any] | None) -> Hub | None:
        """Return the hub of a greenlet, or of the thread it *began_with*; None: there is none that can be asked."""
        hub: Any = getattr(greenlet, "parent", None) or (began_with() if began_with is not None else None)
        if not type(hub).__module__.startswith("gevent.") or not hasattr(hub.loop, "run_callback_threadsafe"):
            return None
        if hub not in self._known:
            self._known[hub] = Hub(hub)
        return self._known[hub]
