"""requests' adapter without a log: urllib3 has a line for each request, and a handler of the host's may wait."""

from __future__ import annotations

from types import FunctionType
from typing import Any, Final

from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class _Silence:
    def _nothing(self, *args: object, **kwargs: object) -> None:
        """Stands in the place of each of a logger's methods that urllib3 calls."""

    debug = info = warning = error = _nothing


def _without_log(pool: type) -> type:
    """Return a subclass whose functions, where they name a `log`, have a silent one: the logger itself is shared."""
    functions = {
        name: function
        for owner in reversed(pool.__mro__)
        for name, function in vars(owner).items()
        if isinstance(function, FunctionType) and "log" in function.__code__.co_names
    }
    return type(pool.__name__, (pool,), {name: _silenced(function) for name, function in functions.items()})


def _silenced(function: FunctionType) -> FunctionType:
    silenced = FunctionType(
        function.__code__,
        {**function.__globals__, "log": _Silence()},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    silenced.__kwdefaults__ = function.__kwdefaults__
    return silenced


_POOLS: Final = {"http": _without_log(HTTPConnectionPool), "https": _without_log(HTTPSConnectionPool)}


class SilentAdapter(HTTPAdapter):
    """Sends as requests does, and says nothing."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Let the pools be silent ones."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Let those behind a proxy be silent too."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager
