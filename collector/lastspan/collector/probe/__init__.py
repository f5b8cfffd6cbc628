"""Asks the databases themselves who blocks whom, while a span that waits for one is late (`lastspan[probes]`)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Final

from .dsn import Dsn, masked, parse
from .mysql import connect as connect_mysql
from .postgres import connect as connect_postgres
from .target import Source, Target
from .watch import Connect, Probes

LIBRARIES: Final = {"postgres": "asyncpg", "mysql": "aiomysql"}

CONNECT: Final[Mapping[str, Connect]] = {"postgres": connect_postgres, "mysql": connect_mysql}
"""By the name of the setting."""


def missing_library(system: str) -> str | None:
    """Return the library that a probe needs and that is not installed."""
    library = LIBRARIES[system]
    try:
        importlib.import_module(library)
    except ImportError:
        return library
    return None


__all__ = ["CONNECT", "Dsn", "Probes", "Source", "Target", "masked", "missing_library", "parse"]
