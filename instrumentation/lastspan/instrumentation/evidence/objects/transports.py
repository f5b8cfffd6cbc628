"""Whom a transport of asyncio or uvloop, or a socket, is connected to: by what it keeps, or by the kernel."""

from __future__ import annotations

import gc
from typing import Final

from ..kernel.descriptors import descriptor
from . import values
from .reads import read


def number(transport: object) -> int:
    """Return the descriptor of a transport, also of one below TLS, or of a socket; -1: not known."""
    if type(found := read(transport, "fileno")) is int:
        return found
    for one in (transport, values.attribute(values.attribute(transport, "_ssl_protocol"), "_transport")):
        for name in ("_sock_fd", "_fileno"):
            if type(found := values.attribute(one, name)) is int:
                return found
    return -1


def socket_addresses(number: object) -> tuple[str, str]:
    """Return the peer's address and ours, of a socket's descriptor."""
    seen = descriptor(number) if type(number) is int and number >= 0 else None
    return (seen.peer, seen.local) if seen is not None else ("", "")


def addresses(transport: object) -> tuple[str, str]:
    """Return the peer's address and ours."""
    package = values.package(type(transport))
    if package == "asyncio":
        below = values.attribute(values.attribute(transport, "_ssl_protocol"), "_transport")  # TLS has one below it
        known = values.attribute(transport if below is values.MISSING else below, "_extra")
        return address(values.element(known, "peername")), address(values.element(known, "sockname"))
    return _of_uvloop(transport) if package == "uvloop" else ("", "")


def _of_uvloop(transport: object, depth: int = 3) -> tuple[str, str]:
    """Ask the kernel by the socket that the transport was given, if there is one; else the transport, for its own.

    A socket that it was given may be of a class of the host's, whose methods it would call.
    """
    kept = gc.get_referents(transport)
    for one in kept:
        if (number := read(one, "fileno")) is not values.MISSING:
            return socket_addresses(number)
    if values.class_name(type(transport)) in _TLS:
        below = next((one for one in kept if _is_below(one, transport)), None)
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
