"""The database session of a stack, a connection or a cursor: its id at the server, and both addresses.

All of it is in the process's memory: a driver's own fields, and what `reads` lists of those that keep theirs in C. No
query is made and no lock is taken, so it can be read of a connection that is blocked, from another thread.
"""

from __future__ import annotations

import ast
import ctypes
import gc
import sqlite3
import sys
from collections.abc import Callable, Iterator
from types import FrameType, GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final

from ...registry.session import Session
from ..kernel.descriptors import descriptor
from ..objects import values
from ..objects.reads import read
from ..stack import source
from ..stack.frames import is_application

_FRAMES_MAX: Final = 40
_DEPTH_MAX: Final = 6
_SESSIONS_MAX: Final = 4


def session(frames: tuple[FrameType, ...], package: str = "") -> Session | None:
    """Return the session that a stack waits for: from the driver's frames, or the application's line that calls it."""
    try:
        return _session(frames, package)
    except Exception:  # a guest never raises; what others keep in their objects is theirs
        return None


def _session(frames: tuple[FrameType, ...], package: str) -> Session | None:
    for depth, frame in enumerate(reversed(frames)):
        if depth >= _FRAMES_MAX:
            return None
        is_ours = is_application(frame.f_code.co_filename, package)
        if is_ours or depth == 0:
            for named in _named_by_line(frame):
                if (found := session_of(named)) is not None:
                    return found
        if is_ours:
            return None
        if (found := _of_driver_frame(frame)) is not None:
            return found
    return None


def sessions_in_reach(frames: tuple[FrameType, ...], package: str = "") -> tuple[Session, ...]:
    """Return the sessions that the application's code on a stack has at hand: who keeps a lock mostly asks nothing."""
    found: dict[tuple[str, str, str], Session] = {}
    for frame in frames[-_FRAMES_MAX:]:
        if not is_application(frame.f_code.co_filename, package):
            continue
        for thing in values.in_reach(frame):
            if (one := session_of(thing)) is not None:
                found.setdefault((one.server, one.id, one.local), one)
            if len(found) >= _SESSIONS_MAX:
                break
    return tuple(found.values())


def session_of(thing: object) -> Session | None:
    """Return the session of a connection or a cursor, or of what wraps one; None: it is none, or it is closed."""
    try:
        return _session_of(thing, _DEPTH_MAX)
    except Exception:  # closed meanwhile, or a driver of another make
        return None


def _session_of(thing: object, depth: int) -> Session | None:
    if thing is None or thing is values.MISSING or not depth:
        return None
    for kind in values.kinds(thing):
        root = _root(kind)
        if (read := _DRIVERS.get(root)) is not None and (found := read(thing)) is not None:
            return found
        if (inner := _INNER.get(root)) is not None:
            for name in inner:
                if (found := _session_of(_inner(thing, name), depth - 1)) is not None:
                    return found
            return None
    return None


def _root(kind: type) -> str:
    module = _module_of(kind)
    return module.partition(".")[0] if type(module) is str else ""


_module_of: Final[Callable[[type], Any]] = type.__dict__["__module__"].__get__

_INNER: Final[dict[str, tuple[str, ...]]] = {
    "wrapt": ("__wrapped__",),
    "_wrappers": ("__wrapped__",),  # what wrapt calls its module in C, from 2.0 on
    "sqlalchemy": (
        *("cursor", "_cursor", "dbapi_connection", "_dbapi_connection", "driver_connection"),
        *("_connection", "_adapt_connection", "connection", "sync_connection", "_proxied"),
        *("sync_session", "_transaction", "_connections"),
    ),
    "django": ("cursor", "connection", "db"),
    "psycopg_pool": ("connection",),
    "aiosqlite": ("_conn", "_connection", "_cursor"),
    "aiopg": ("_conn", "_impl"),
}
"""By package of what wraps a connection: where it keeps it."""


def _inner(thing: object, name: str) -> object:
    if name == "__wrapped__":
        return _wrapped(thing)
    found = values.attribute(thing, name)
    if name == "_connections" and type(found) is dict:  # of SQLAlchemy's transaction: by engine, first the connection
        return values.element(next(iter(list(found.values())), None), 0)
    return found


def _wrapped(proxy: object) -> object:
    """Return what a proxy of wrapt's stands for, which it keeps in C or in a slot; all else it answers for that."""
    for kind in values.kinds(proxy):
        found: Any = values.own_attribute(kind, "__wrapped__") if _root(kind) in _PROXIES else values.MISSING
        if type(found) in (GetSetDescriptorType, MemberDescriptorType):
            return found.__get__(proxy, kind)
    return values.MISSING


_PROXIES: Final = frozenset({"wrapt", "_wrappers"})


# --- from frames ------------------------------------------------------------------------------------------------------

_VARIABLES: Final = ("cursor", "self", "conn", "connection", "dbapi_connection", "con", "instance")


def _of_driver_frame(frame: FrameType) -> Session | None:
    module = values.module_name(frame)
    root = module.partition(".")[0]
    if root not in _DRIVERS and root not in _INNER and not module.startswith("opentelemetry.instrumentation."):
        return None
    for name in _VARIABLES:
        if name in frame.f_code.co_varnames and (found := session_of(values.variable(frame, name))) is not None:
            return found
    return None


def _named_by_line(frame: FrameType) -> Iterator[object]:
    """Yield the objects that the line calls a method of: the cursor, and the connection that it was made of."""
    expression = source.expression(frame)
    node: ast.AST | None = expression.node if expression is not None else None
    if expression is not None and expression.entering:
        yield values.evaluate(expression.node, frame)
    while isinstance(node, ast.Await | ast.Call | ast.Attribute):
        if isinstance(node, ast.Await):
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            node = node.value
            yield values.evaluate(node, frame)


# --- drivers ----------------------------------------------------------------------------------------------------------

_POSTGRES_STATES: Final = ("idle", "active", "in transaction", "in failed transaction")


def _psycopg2(thing: object) -> Session | None:
    return _postgres(read(_or(read(thing, "connection"), thing), "info"))


def _psycopg(thing: object) -> Session | None:
    connection = _either(thing, "_conn", "connection")
    pgconn = values.attribute(connection, "pgconn")
    return _postgres(pgconn)


def _postgres(of_libpq: object) -> Session | None:
    """Read what libpq knows of a connection, by an object that keeps its pointer."""
    pid, status, number = _by_pointer(of_libpq) or tuple(read(of_libpq, name) for name in _LIBPQ)
    if type(pid) is not int or not pid:  # closed
        return None
    server, local = _addresses(number)
    state = _POSTGRES_STATES[status] if type(status) is int and 0 <= status < len(_POSTGRES_STATES) else ""
    return Session("postgresql", str(pid), server, local, state)


_LIBPQ: Final = {
    "backend_pid": "PQbackendPID",
    "transaction_status": "PQtransactionStatus",
    "socket": "PQsocket",
}
"""What libpq is asked: each a number in its struct. By property of the drivers."""


def _by_pointer(pgconn: object) -> tuple[object, ...] | None:
    """Ask libpq for psycopg in Python, with the interpreter kept; by its own properties it would be let go of first.

    Who closes the connection takes the pointer away, and then frees it: what was read meanwhile is thrown away.
    """
    if values.class_name(type(pgconn)) != "psycopg.pq.pq_ctypes.PGconn":
        return None
    library = vars(sys.modules["psycopg.pq._pq_ctypes"])
    places = [ctypes.cast(library[name], ctypes.c_void_p).value or 0 for name in _LIBPQ.values()]
    pointer = values.attribute(pgconn, "_pgconn_ptr")
    if not isinstance(pointer, ctypes._Pointer):
        return None
    found = tuple(_ASK(place)(pointer) for place in places)
    return found if values.attribute(pgconn, "_pgconn_ptr") is pointer else None


_ASK: Final = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


def _asyncpg(thing: object) -> Session | None:
    connection = _either(thing, "_con", "_connection")
    protocol = values.attribute(connection, "_protocol")
    pid = read(protocol, "get_server_pid")
    if type(pid) is not int:
        return None
    server, local = transport_addresses(values.attribute(connection, "_transport"))
    state = "in transaction" if read(protocol, "is_in_transaction") is True else ""
    return Session("postgresql", str(pid), server, local, state)


def _pymysql(thing: object) -> Session | None:
    """PyMySQL and aiomysql: the same fields."""
    connection = _either(thing, "connection", "_connection", "_conn")
    thread_id = values.element(values.attribute(connection, "server_thread_id"), 0)
    if type(thread_id) is not int:
        return None
    connected = read(values.attribute(connection, "_sock"), "fileno")
    if connected is not values.MISSING:
        server, local = _addresses(connected)
    else:
        server, local = transport_addresses(values.attribute(values.attribute(connection, "_writer"), "_transport"))
    status = values.attribute(connection, "server_status")
    return Session("mysql", str(thread_id), server, local, _mysql_state(status))


def _mysql_connector(thing: object) -> Session | None:
    """MySQL Connector/Python, in Python and in C, of threads and of asyncio: the server's greeting is kept.

    A cursor has but a proxy of its connection, which would answer by the connection's own means: it is passed by.
    """
    connection: Any = _either(thing, "_connection")
    thread_id = values.element(values.attribute(connection, "_handshake"), "server_threadid")
    if type(thread_id) is not int:
        return None
    server, local = _addresses(read(values.attribute(values.attribute(connection, "_socket"), "sock"), "fileno"))
    host, port = values.attribute(connection, "_host"), values.attribute(connection, "_port")
    if not server and type(host) is str and type(port) is int:
        server = f"{host}:{port}"
    return Session("mysql", str(thread_id), server, local, _mysql_state(values.attribute(connection, "_server_status")))


def _asyncmy(thing: object) -> Session | None:
    """The fields of PyMySQL; those that are in C by their own means."""
    connection = _or(read(thing, "connection"), thing)
    thread_id = values.element(values.attribute(connection, "server_thread_id"), 0)
    if type(thread_id) is not int:
        return None
    server, local = transport_addresses(read(connection, "_transport"))
    return Session("mysql", str(thread_id), server, local, _mysql_state(read(connection, "server_status")))


def _pg8000(thing: object) -> Session | None:
    connection = _either(thing, "_c", "_con")
    key = values.attribute(connection, "_backend_key_data")  # process id and secret, as the server sent them
    connected = read(values.attribute(connection, "_usock"), "fileno")
    if type(key) is not bytes or len(key) < 4 or connected is values.MISSING:
        return None
    server, local = _addresses(connected)
    status = values.attribute(connection, "_transaction_status")
    state = _PG8000_STATES.get(status, "") if type(status) is bytes else ""
    return Session("postgresql", str(int.from_bytes(key[:4], "big")), server, local, state)


_PG8000_STATES: Final[dict[object, str]] = {b"I": "idle", b"T": "in transaction", b"E": "in failed transaction"}


def _mysqlclient(thing: object) -> Session | None:
    connection = _either(thing, "connection")
    thread_id = read(connection, "thread_id")
    return Session("mysql", str(thread_id)) if type(thread_id) is int else None


def _mysql_state(status: object) -> str:
    """By the bit SERVER_STATUS_IN_TRANS of the server's last answer."""
    return "in transaction" if type(status) is int and status & 1 else ""


def _sqlite(thing: object) -> Session | None:
    """That it is one is all that can be known: each of its getters may wait for the statement that runs."""
    connection = _or(read(thing, "connection"), thing)
    return Session("sqlite") if values.is_kind(connection, sqlite3.Connection) else None


_DRIVERS: Final[dict[str, Callable[[object], Session | None]]] = {
    "psycopg2": _psycopg2,
    "psycopg": _psycopg,
    "asyncpg": _asyncpg,
    "pymysql": _pymysql,
    "aiomysql": _pymysql,
    "MySQLdb": _mysqlclient,
    "mysql": _mysql_connector,
    "asyncmy": _asyncmy,
    "pg8000": _pg8000,
    "sqlite3": _sqlite,
}
"""By package: how to read a session of its connections and cursors."""


def _either(thing: object, *names: str) -> object:
    """Return what a cursor keeps of its connection under one of these names; of a connection itself."""
    for name in names:
        found = values.attribute(thing, name)
        if found is not values.MISSING and found is not None and _root(type(found)) in _DRIVERS:
            return found
    return thing


def _or(found: object, other: object) -> object:
    return other if found is values.MISSING or found is None else found


def _addresses(number: object) -> tuple[str, str]:
    """Return the peer's address and ours, of a socket's descriptor."""
    seen = descriptor(number) if type(number) is int and number >= 0 else None
    return (seen.peer, seen.local) if seen is not None else ("", "")


def transport_addresses(transport: object) -> tuple[str, str]:
    """Return the peer's address and ours, of a transport of asyncio or uvloop."""
    root = _root(type(transport))
    if root == "asyncio":
        below = values.attribute(values.attribute(transport, "_ssl_protocol"), "_transport")  # TLS has one below it
        known = values.attribute(transport if below is values.MISSING else below, "_extra")
        return address(values.element(known, "peername")), address(values.element(known, "sockname"))
    return _of_uvloop(transport) if root == "uvloop" else ("", "")


def _of_uvloop(transport: object, depth: int = 3) -> tuple[str, str]:
    """Ask the kernel by the socket that the transport was given, if there is one; else the transport, for its own.

    A socket that it was given may be of a class of the host's, whose methods it would call.
    """
    kept = gc.get_referents(transport)
    for one in kept:
        if (number := read(one, "fileno")) is not values.MISSING:
            return _addresses(number)
    if values.class_name(type(transport)) in _TLS:
        below = next((one for one in kept if _root(type(one)) == "uvloop" and _is_below(one, transport)), None)
        return ("", "") if below is None or not depth else _of_uvloop(below, depth - 1)
    peer, local = (read(transport, "get_extra_info", name) for name in ("peername", "sockname"))
    return address(peer), address(local)


_TLS: Final = frozenset({"uvloop.loop._SSLProtocolTransport", "uvloop.loop.SSLProtocol"})


def _is_below(one: object, transport: object) -> bool:
    """Of TLS: from its transport to its protocol, and from there to the transport that carries it."""
    name = values.class_name(type(one))
    is_upper = values.class_name(type(transport)) == "uvloop.loop._SSLProtocolTransport"
    return name == "uvloop.loop.SSLProtocol" if is_upper else name in _CARRIERS


_CARRIERS: Final = frozenset({"uvloop.loop.TCPTransport", "uvloop.loop.UnixTransport"})


def address(name: object) -> str:
    """Write what a socket is called: host:port, or a path."""
    if type(name) is tuple and len(name) >= 2 and type(name[0]) is str and type(name[1]) is int:
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
    return name if type(name) is str else ""
