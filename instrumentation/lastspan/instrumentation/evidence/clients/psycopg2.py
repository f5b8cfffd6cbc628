"""psycopg2, and aiopg around it."""

from __future__ import annotations

from typing import Final

from ...registry.session import Session
from ..objects.reads import read
from .driver import asked_for_connection, postgres
from .page import KnownCall, Page, each


def _session(thing: object) -> Session | None:
    return postgres(read(asked_for_connection(thing), "info"))


PAGE: Final = Page(
    calls={
        "psycopg2": {"connect": KnownCall("db")},
        "aiopg.pool": {"Pool._acquire": KnownCall("pool", is_final=True)},
    },
    packages=each("psycopg2 aiopg", "db"),
    sessions={"psycopg2": _session},
    wraps={"aiopg": ("_conn", "_impl")},
)
