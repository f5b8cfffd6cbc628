"""pg8000."""

from __future__ import annotations

from typing import Final

from ...registry.session import Session
from ..objects import transports, values
from ..objects.reads import read
from .driver import connection_of
from .page import Page

_STATES: Final[dict[object, str]] = {b"I": "idle", b"T": "in transaction", b"E": "in failed transaction"}


def _session(thing: object) -> Session | None:
    connection = connection_of(thing, "pg8000", "_c", "_con")
    key = values.attribute(connection, "_backend_key_data")  # process id and secret, as the server sent them
    connected = read(values.attribute(connection, "_usock"), "fileno")
    if type(key) is not bytes or len(key) < 4 or connected is values.MISSING:
        return None
    server, local = transports.socket_addresses(connected)
    status = values.attribute(connection, "_transaction_status")
    state = _STATES.get(status, "") if type(status) is bytes else ""
    return Session("postgresql", str(int.from_bytes(key[:4], "big")), server, local, state)


PAGE: Final = Page(packages={"pg8000": "db"}, sessions={"pg8000": _session})
