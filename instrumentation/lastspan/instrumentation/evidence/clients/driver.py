"""What the pages of drivers share: the way from a cursor to its connection, and what a server's state means."""

from __future__ import annotations

from typing import Final

from ...registry.session import Session
from ..objects import transports, values
from ..objects.reads import read

LIBPQ: Final = {
    "backend_pid": "PQbackendPID",
    "transaction_status": "PQtransactionStatus",
    "socket": "PQsocket",
}
"""What libpq is asked: each a number in its struct. By property of the drivers."""
_POSTGRES_STATES: Final = ("idle", "active", "in transaction", "in failed transaction")


def connection_of(thing: object, package: str, *names: str) -> object:
    """Return what a cursor of a driver keeps of its connection under one of these names; of a connection itself."""
    for name in names:
        found = values.attribute(thing, name)
        if values.package(type(found)) == package:
            return found
    return thing


def asked_for_connection(cursor: object) -> object:
    """Return the connection that a cursor in C gives out; of a connection itself."""
    found = read(cursor, "connection")
    return cursor if found is values.MISSING or found is None else found


def postgres(of_libpq: object, told: tuple[object, ...] | None = None) -> Session | None:
    """Return what libpq knows of a connection, by an object that keeps its pointer; *told*: if it was asked already."""
    pid, status, number = told or tuple(read(of_libpq, name) for name in LIBPQ)
    if type(pid) is not int or not pid:  # closed
        return None
    server, local = transports.socket_addresses(number)
    state = _POSTGRES_STATES[status] if type(status) is int and 0 <= status < len(_POSTGRES_STATES) else ""
    return Session("postgresql", str(pid), server, local, state)


def mysql(thread_id: object, status: object, addresses: tuple[str, str]) -> Session | None:
    """Return a session of MySQL; *status*: the server's last answer, whose bit SERVER_STATUS_IN_TRANS is read."""
    if type(thread_id) is not int:
        return None
    return Session("mysql", str(thread_id), *addresses, "in transaction" if type(status) is int and status & 1 else "")
