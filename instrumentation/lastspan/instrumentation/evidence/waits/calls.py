"""The timeout in force for a client's call, and its peer, where the system call does not show them.

A thread that waits in `recv` shows both to the kernel; an event loop, gRPC's own threads and pools of connections do
not: there the client's frames have them. To teach it another client, add a row to `CLUES`.
"""

from __future__ import annotations

import inspect
import math
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Final

from ...guest import redact
from ..objects import values
from ..objects.reads import read as read_of
from ..stack.frames import is_application
from .known_calls import fill, number, read
from .sessions import transport_addresses

_FRAMES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What is known of a call."""

    timeout: float | None = None
    """Seconds; of several the shortest."""
    is_unbounded: bool | None = None
    """It has no timeout; None: not known."""
    peer: str = ""
    """host:port."""
    local: str = ""
    """host:port of our end."""
    descriptor: int = -1
    """Of the socket or pipe, where the thread's own system call is another's: in an event loop; -1: not known."""


@dataclass(frozen=True, slots=True)
class Clue:
    """Where a function of a client keeps what is wanted: variables, and what is stored in them."""

    timeout: tuple[str, ...] = ()
    """One after the other, for as long as they are None."""
    peer: str = ""
    transport: str = ""
    """A transport of asyncio, or a socket."""
    stream: str = ""
    """The same, of a client that knows its peer by name: only the descriptor is taken."""
    deadline: str = ""
    """A point in time, by `time.time()`, None for none; or what can tell how much time remains."""


def call(frames: tuple[FrameType, ...], package: str = "", stood: float = 0.0) -> CallFacts | None:
    """Return what the frames of a client say about its call; None: they say nothing.

    *stood*: for how long they are the same, s. Where a client keeps a deadline, its timeout is what is left and that.
    """
    try:
        return _call(frames, package, stood)
    except Exception:  # a guest never raises; what others keep in their objects is theirs
        return None


def _call(frames: tuple[FrameType, ...], package: str, stood: float) -> CallFacts | None:
    clues = list(_clues(frames, package))
    limits = _in_force(clues, stood)
    peer, local = _addresses(clues)
    paths = ((frame, clue.transport or clue.stream) for frame, clue in clues)
    transports = (read(frame, path) for frame, path in paths if path)
    number = next((found for one in transports if (found := _number(one)) >= 0), -1)
    timeout = min((limit for limit in limits if limit is not None), default=None)
    if timeout is None and not limits and not peer and number < 0:
        return None
    is_unbounded = None if not limits else timeout is None or math.isinf(timeout)
    if is_unbounded:
        return CallFacts(None, None if _may_be_bounded(frames, package) else True, peer, local, number)
    return CallFacts(timeout, is_unbounded, peer, local, number)


def _clues(frames: tuple[FrameType, ...], package: str) -> Iterator[tuple[FrameType, Clue]]:
    """Yield the frames that say something, innermost first: a client's own, and each `wait_for` around it."""
    is_inside = True
    for frame in reversed(frames[-_FRAMES_MAX:]):
        is_inside = is_inside and not is_application(frame.f_code.co_filename, package)
        module = values.module_name(frame)
        if (clue := CLUES.get(module, {}).get(frame.f_code.co_name)) is None:
            continue
        if is_inside or module == "asyncio.tasks":
            yield frame, clue


def _in_force(clues: list[tuple[FrameType, Clue]], stood: float) -> list[float | None]:
    """Return the timeout of the innermost client that knows one, and those of each `wait_for` around it."""
    limits: list[float | None] = []
    for frame, clue in clues:
        if not limits or values.module_name(frame) == "asyncio.tasks":
            limits += _limits(frame, clue)
            limits += _left(frame, clue, stood)
    return limits


def _limits(frame: FrameType, clue: Clue) -> Iterator[float | None]:
    """Yield a timeout in seconds, None for none, nothing where it is not known."""
    is_known = False
    for path in clue.timeout:
        value = read(frame, path)
        if value is values.MISSING:
            continue
        if _kind(value) in _BOUNDED:
            return
        found, is_read = _seconds(value)
        is_known = is_known or is_read
        if found is not None:
            yield found
            return
    if is_known:
        yield None


def _left(frame: FrameType, clue: Clue, stood: float) -> Iterator[float | None]:
    """Yield the timeout that a deadline stands for, None for none, nothing where it is not known."""
    value = read(frame, clue.deadline) if clue.deadline else values.MISSING
    if (point := number(value)) is not None:
        yield max(point - time.time(), 0.0) + stood
    elif value is None:
        yield None
    elif _kind(value).startswith(_TELLS):
        remaining = read_of(value, "time_remaining")
        if remaining is not values.MISSING:
            yield None if remaining is None else float(remaining) + stood


_TELLS: Final = "grpc._cython.cygrpc."
"""Whose `time_remaining()` reads a field."""


def _kind(value: object) -> str:
    return values.class_name(type(value))


def _seconds(value: object) -> tuple[float | None, bool]:
    """Read a number of seconds, or a client's own kind of timeout; and say whether it could be read."""
    if value is None or (seconds := number(value)) is not None:
        return (None if value is None or seconds < 0 else seconds), True  # type: ignore[operator]
    kind = _kind(value)
    if kind == "socket._GLOBAL_DEFAULT_TIMEOUT" or value is _SOCKET_DEFAULT or kind in _DEFAULTS:
        return socket.getdefaulttimeout(), True
    if (fields := _PARTS.get(kind)) is None:
        return None, False
    parts = [_seconds(values.attribute(value, field)) for field in fields]
    is_read = not fields or any(is_one_read for _, is_one_read in parts)
    return min((part for part, _ in parts if part is not None), default=None), is_read


_SOCKET_DEFAULT: Final = getattr(socket, "_GLOBAL_DEFAULT_TIMEOUT", object())
_DEFAULTS: Final = frozenset({"urllib3.util.timeout._TYPE_DEFAULT", "urllib3.util._TYPE_DEFAULT"})
_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "aiohttp.client.ClientTimeout": ("total", "sock_read"),
    "urllib3.util.timeout.Timeout": ("_read", "total"),
    "aiohttp.helpers.TimerNoop": (),
}
"""By class of a timeout: the parts that bound the wait for an answer."""
_BOUNDED: Final = frozenset({"aiohttp.helpers.TimerContext"})
"""Classes of a timeout that is in force and does not say how long it is."""


def _addresses(clues: list[tuple[FrameType, Clue]]) -> tuple[str, str]:
    """Return the peer's address and ours, as far as the innermost frame that knows them tells."""
    for frame, clue in clues:
        peer, local = transport_addresses(read(frame, clue.transport)) if clue.transport else ("", "")
        if peer:
            return redact.text(peer), redact.text(local)
    for frame, clue in clues:
        if clue.peer and (found := fill(frame, clue.peer)):
            return found.rpartition("@")[2], ""
    return "", ""


def _number(thing: object) -> int:
    """Return the descriptor of a transport, also of one below TLS, or of a socket; -1: not known."""
    if type(number := read_of(thing, "fileno")) is int:
        return number
    below = values.attribute(values.attribute(thing, "_ssl_protocol"), "_transport")
    for one in (thing, below):
        for name in ("_sock_fd", "_fileno"):
            if type(number := values.attribute(one, name)) is int:
                return number
    return -1


def _may_be_bounded(frames: tuple[FrameType, ...], package: str) -> bool:
    """Say whether a coroutine of the application uses a block with a timeout: which one is left open is not seen."""
    return any(
        frame.f_code.co_flags & inspect.CO_COROUTINE
        and not _BLOCKS.isdisjoint(frame.f_code.co_names)
        and is_application(frame.f_code.co_filename, package)
        for frame in frames
    )


_BLOCKS: Final = frozenset({"timeout", "timeout_at", "fail_after", "move_on_after"})


# --- clients ----------------------------------------------------------------------------------------------------------


def _same(names: str, clue: Clue) -> dict[str, Clue]:
    return dict.fromkeys(names.split(), clue)


_HTTPX: Final = _same("handle_request handle_async_request", Clue(("request.extensions.timeout.read",)))
_HTTPCORE: Final = _same(
    "_receive_event _receive_response_headers _receive_response_body _send_event",
    Clue(("timeout",), "{self._origin.host}:{self._origin.port}"),
)
_ASYNCPG: Final = Clue(("timeout", "self._config.command_timeout"), transport="self._transport")
_REDIS: Final = Clue(("timeout", "self._socket_timeout", "self.socket_timeout"), "{self.host|self._host}:{self.port}")
_URLLIB3: Final = Clue(("timeout_obj",), "{self.host}:{self.port}")
_HTTP: Final = Clue(("self.timeout",), "{self.host}:{self.port}")
_STREAM: Final = Clue((), transport="self._transport")
_GEVENT: Final = Clue(("self.timeout",), transport="self._sock")
_RPC: Final = Clue(deadline="self._cython_call")

CLUES: Final[Mapping[str, Mapping[str, Clue]]] = {
    "aiohttp.client": {
        "_request": Clue(("real_timeout",), "{url._netloc}", "conn._protocol.transport"),
        "_connect_and_send_request": Clue((), "{req.url._netloc}", "conn._protocol.transport"),
    },
    "aiohttp.client_reqrep": {
        **_same("read text json", Clue(("self._session._timeout",), transport="self._connection._protocol.transport")),
        "start": Clue((), transport="connection._protocol.transport"),
    },
    "aiohttp.client_ws": {
        "receive": Clue(("receive_timeout",), transport="self._response._connection._protocol.transport"),
    },
    "aiohttp.streams": _same(
        "_wait",  # the headers have come, and the body has not
        Clue(("self._protocol._read_timeout", "self._timer"), transport="self._protocol.transport"),
    ),
    "httpx._transports.default": _HTTPX,
    "httpcore._sync.http11": _HTTPCORE,
    "httpcore._async.http11": _HTTPCORE,
    "httpcore._sync.http2": _HTTPCORE,
    "httpcore._async.http2": _HTTPCORE,
    "urllib3.connectionpool": _same("_make_request urlopen", _URLLIB3),
    "http.client": _same("getresponse request connect", _HTTP),
    "grpc._channel": {
        "_blocking": Clue(("timeout",), "{self._target}"),
        **_same("result exception", Clue(("timeout",), deadline="self._deadline")),
        "_next": Clue(deadline="self._deadline"),
    },
    "grpc.aio._call": _same("_invoke _read _send_unary_request _conduct_rpc _prepare_rpc __await__", _RPC),
    "grpc.aio._interceptor": {"_invoke": Clue(("timeout",))},
    "anyio._backends._asyncio": _same("receive send", Clue(stream="self._transport")),
    "asyncio.tasks": {"wait_for": Clue(("timeout",))},
    "asyncio.streams": _same("read readline readexactly readuntil drain", _STREAM),
    "gevent._socketcommon": _same(
        "recv recvfrom recv_into recvfrom_into send sendall sendto _internal_connect", _GEVENT
    ),
    "gevent._socket3": _same("accept recvmsg sendmsg", _GEVENT),
    "gevent.ssl": _same("read write do_handshake", _GEVENT),
    "asyncpg.connection": _same("_do_execute _execute execute executemany _executemany", _ASYNCPG),
    "redis.connection": _same("read_response send_packed_command can_read", _REDIS),
    "redis.asyncio.connection": _same(
        "read_response send_packed_command",
        Clue(_REDIS.timeout, _REDIS.peer, "self._writer._transport"),
    ),
    "pymysql.connections": _same("_read_bytes", Clue(("self._read_timeout",), "{self.host}:{self.port}")),
    "aiomysql.connection": _same("_read_bytes", Clue((), "{self._host}:{self._port}", "self._writer._transport")),
}
"""By module, by function."""
