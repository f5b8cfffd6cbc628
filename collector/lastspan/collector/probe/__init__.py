"""Asks databases who blocks whom, while a span that waits for one is late (`lastspan[probes]`)."""

from __future__ import annotations

import importlib
from typing import Final

from .dsn import Dsn, masked, parse
from .poller import Connect, Probes
from .target import Source, Target

_LIBRARIES: Final = {"postgres": "asyncpg", "mysql": "aiomysql"}
"""By the name of the setting, which is that of the module here too."""


def connector(system: str) -> Connect:
    """Return how to connect to databases of a kind. Loads what that needs: most collectors ask no database."""
    connect: Connect = importlib.import_module(f".{system}", __package__).connect
    return connect


def missing_library(system: str) -> str | None:
    """Return the library that a probe needs and that is not installed."""
    try:
        importlib.import_module(library := _LIBRARIES[system])
    except ImportError:
        return library
    return None


__all__ = ["Dsn", "Probes", "Source", "Target", "connector", "masked", "missing_library", "parse"]
