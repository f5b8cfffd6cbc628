"""What is asked of other people's objects that keep it in C: the one door to their getters and methods.

What lies in an instance, a slot or a class is read by `values`, and nothing is called for it. Objects in C hand out
what they have through getters: each is listed here, with the reason why a call of it is a plain read of memory: it does
not wait, takes no lock and runs nobody's code. What is not listed is not called. One that was called and is not listed:
since SQLite 3.53 `sqlite3.Connection.in_transaction` waits for the statement that runs, and keeps the interpreter.

Always the function of the very class that is listed, never what an object answers by its name: a subclass may have put
a property of its own there.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from . import values
from .values import MISSING


class AllowedRead(NamedTuple):
    """Getters and methods of one class, and why they are harmless."""

    kinds: str
    """Classes, by module and name."""
    names: str
    why: str


READS: Final[tuple[AllowedRead, ...]] = (
    AllowedRead(
        "_asyncio.Future _asyncio.Task",
        "done _loop _coro get_name _fut_waiter _callbacks",
        "Modules/_asynciomodule.c: fields, also of one that is half made, of which get_coro crashes; get_name writes a "
        "number as text, _callbacks makes a list",
    ),
    AllowedRead(
        "_thread.lock",
        "locked",
        "Modules/_threadmodule.c: one flag, which is not waited for",
    ),
    AllowedRead(
        "_thread.RLock",
        "__repr__",
        "Modules/_threadmodule.c: writes the fields owner and count; there is no other way to the owner",
    ),
    AllowedRead("_socket.socket", "fileno", "Modules/socketmodule.c: the field sock_fd"),
    AllowedRead("sqlite3.Cursor", "connection", "Modules/_sqlite/cursor.c: a member"),
    AllowedRead(
        "greenlet.greenlet greenlet._greenlet.greenlet",
        "dead gr_frame parent",
        "fields of a greenlet that stands; for gr_frame the links of its own frames are written, as for any reader",
    ),
    AllowedRead(
        "gevent._gevent_c_greenlet_primitives.SwitchOutGreenletWithLoop",
        "loop",
        "gevent/_greenlet_primitives.pxd: a field",
    ),
    AllowedRead(
        "psycopg2.extensions.cursor",
        "connection",
        "psycopg/cursor_type.c: a member",
    ),
    AllowedRead(
        "psycopg2.extensions.connection",
        "info",
        "psycopg/connection_type.c: makes an object that points to the connection; without its lock",
    ),
    AllowedRead(
        "psycopg2.extensions.ConnectionInfo",
        "backend_pid transaction_status socket",
        "psycopg/conninfo_type.c, with the interpreter kept: PQbackendPID, PQtransactionStatus, PQsocket, numbers in a "
        "struct of libpq; host and port are not asked: pointers, which a close in another thread may free meanwhile",
    ),
    AllowedRead(
        "psycopg_binary.pq.PGconn psycopg_c.pq.PGconn",
        "backend_pid transaction_status socket",
        "psycopg_c/pq/pgconn.pyx: the same; the pointer is freed by whoever has the interpreter, as we have it here",
    ),
    AllowedRead(
        "asyncpg.protocol.protocol.BaseProtocol asyncpg.protocol.protocol.CoreProtocol",
        "get_server_pid is_in_transaction",
        "asyncpg/protocol: fields",
    ),
    AllowedRead(
        "MySQLdb._mysql.connection MySQLdb.connection _mysql.connection",
        "thread_id",
        "src/MySQLdb/_mysql.c: mysql_thread_id, a number in the client's struct",
    ),
    AllowedRead(
        "asyncmy.cursors.Cursor asyncmy.connection._ConnectionState",
        "connection _transport server_status",
        "asyncmy/connection.pyx: fields",
    ),
    AllowedRead(
        "uvloop.loop.UVBaseTransport uvloop.loop.TCPTransport uvloop.loop.UnixTransport",
        "get_extra_info",
        "uvloop/handles: getpeername and getsockname of the kernel, on the handle's descriptor; see `sessions`",
    ),
    AllowedRead("uvloop.loop.Loop", "is_closed is_running", "uvloop/loop.pyx: flags"),
    AllowedRead(
        "grpc._cython.cygrpc._AioCall",
        "time_remaining",
        "grpc/_cython/_cygrpc/aio/call.pyx.pxi: a field, less the time of day",
    ),
)

CALLS: Final[tuple[AllowedRead, ...]] = (
    AllowedRead(
        "uvloop.loop.Loop",
        "call_soon_threadsafe",
        "uvloop/loop.pyx: puts a handle into a list, and wakes the loop by uv_async_send",
    ),
    AllowedRead(
        "gevent.libev.corecext.loop",
        "run_callback_threadsafe",
        "gevent/libev/corecext.pyx: puts a callback into a list, and wakes the loop by ev_async_send",
    ),
)
"""Not reads, but messages to a loop that any thread may send it: the one question that it is asked, whether it runs."""


def _by_name(rows: Iterable[AllowedRead]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        for name in row.names.split():
            found.setdefault(name, set()).update(row.kinds.split())
    return {name: frozenset(kinds) for name, kinds in found.items()}


_READS: Final[Mapping[str, frozenset[str]]] = _by_name(READS)
_CALLS: Final[Mapping[str, frozenset[str]]] = _by_name(CALLS)


def read(owner: object, name: str, *given: object) -> Any:
    """Return what a listed getter, or a listed method with what it is *given*, says; `MISSING` if there is none."""
    return _asked(_READS, owner, name, given)


def call(owner: object, name: str, *given: object) -> Any:
    """Do the same with the few methods that do something; `MISSING`: nothing was done."""
    return _asked(_CALLS, owner, name, given)


def _asked(rows: Mapping[str, frozenset[str]], owner: object, name: str, given: tuple[object, ...]) -> Any:
    listed = rows.get(name, frozenset())
    for kind in values.kinds(owner):
        if values.class_name(kind) not in listed:
            continue
        found: Any = values.own_attribute(kind, name)
        try:
            if type(found) in _GETTERS:
                return found.__get__(owner, kind)
            if type(found) in _METHODS or values.class_name(type(found)).rpartition(".")[2] == _CYTHON:
                return found(owner, *given)
        except Exception:  # closed, gone, or not yet made
            return MISSING
    return MISSING


_GETTERS: Final = (types.GetSetDescriptorType, types.MemberDescriptorType)
_METHODS: Final = (types.MethodDescriptorType, types.WrapperDescriptorType)
_CYTHON: Final = "cython_function_or_method"
"""Of a module of its own in each version of Cython."""
