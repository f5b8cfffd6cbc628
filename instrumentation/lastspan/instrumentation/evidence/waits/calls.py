"""The timeout in force for a client's call, and its peer, where the system call does not show them.

A thread that waits in `recv` shows both to the kernel; an event loop, gRPC's own threads and pools of connections do
not: there the client's frames have them, as its page in `clients` says.
"""

from __future__ import annotations

import inspect
import math
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Final

from ...guest import redact
from ...guest.errors import or_none
from ..clients.page import TimeoutSource, Unread
from ..clients.table import TIMEOUT_CLASSES, TIMEOUTS
from ..objects import reads, transports, values
from ..objects.paths import number
from ..python import module_name, read
from ..stack.frames import is_application
from .known_calls import fill

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


@or_none
def call(frames: tuple[FrameType, ...], package: str = "", stood: float = 0.0) -> CallFacts | None:
    """Return what the frames of a client say about its call; None: they say nothing.

    *stood*: for how long they are the same, s. Where a client keeps a deadline, its timeout is what is left and that.
    """
    clues = list(_timeout_sources(frames, package))
    limits = _in_force(clues, stood)
    peer, local = _addresses(clues)
    paths = ((frame, clue.transport or clue.stream) for frame, clue in clues)
    known = (transports.number(read(frame, path)) for frame, path in paths if path)
    descriptor = next((one for one in known if one >= 0), -1)
    timeout = min((limit for limit in limits if limit is not None), default=None)
    if timeout is None and not limits and not peer and descriptor < 0:
        return None
    is_unbounded = None if not limits else timeout is None or math.isinf(timeout)
    if is_unbounded:
        return CallFacts(None, None if _may_be_bounded(frames, package) else True, peer, local, descriptor)
    return CallFacts(timeout, is_unbounded, peer, local, descriptor)


def _timeout_sources(frames: tuple[FrameType, ...], package: str) -> Iterator[tuple[FrameType, TimeoutSource]]:
    """Yield the frames that say something, innermost first: a client's own, and each `wait_for` around it."""
    is_inside = True
    for frame in reversed(frames[-_FRAMES_MAX:]):
        is_inside = is_inside and not is_application(frame.f_code.co_filename, package)
        module = module_name(frame)
        if (clue := TIMEOUTS.get(module, {}).get(frame.f_code.co_name)) is None:
            continue
        if is_inside or module == "asyncio.tasks":
            yield frame, clue


def _in_force(clues: list[tuple[FrameType, TimeoutSource]], stood: float) -> list[float | None]:
    """Return the timeout of the innermost client that knows one, and those of each `wait_for` around it."""
    limits: list[float | None] = []
    for frame, clue in clues:
        if not limits or module_name(frame) == "asyncio.tasks":
            limits += _limits(frame, clue)
            limits += _left(frame, clue, stood)
    return limits


def _limits(frame: FrameType, clue: TimeoutSource) -> Iterator[float | None]:
    """Yield a timeout in seconds, None for none, nothing where it is not known."""
    is_known = False
    for path in clue.timeout:
        value = read(frame, path)
        if value is values.MISSING:
            continue
        if TIMEOUT_CLASSES.get(_kind(value)) is Unread.UNKNOWN:
            return
        found, is_read = _seconds(value)
        is_known = is_known or is_read
        if found is not None:
            yield found
            return
    if is_known:
        yield None


def _left(frame: FrameType, clue: TimeoutSource, stood: float) -> Iterator[float | None]:
    """Yield the timeout that a deadline stands for, None for none, nothing where it is not known."""
    value = read(frame, clue.deadline) if clue.deadline else values.MISSING
    if (point := number(value)) is not None:
        yield max(point - time.time(), 0.0) + stood
    elif value is None:
        yield None
    elif (remaining := reads.read(value, "time_remaining")) is not values.MISSING:
        yield None if remaining is None else float(remaining) + stood


def _kind(value: object) -> str:
    return values.class_name(type(value))


def _seconds(value: object) -> tuple[float | None, bool]:
    """Read a number of seconds, or a client's own kind of timeout; and say whether it could be read."""
    if value is None or (seconds := number(value)) is not None:
        return (None if value is None or seconds < 0 else seconds), True  # type: ignore[operator]
    fields = TIMEOUT_CLASSES.get(_kind(value))
    if value is _SOCKET_DEFAULT or fields is Unread.OF_SOCKETS:
        return socket.getdefaulttimeout(), True
    if fields is None or isinstance(fields, Unread):
        return None, False
    parts = [_seconds(values.attribute(value, field)) for field in fields]
    is_read = not fields or any(is_one_read for _, is_one_read in parts)
    return min((part for part, _ in parts if part is not None), default=None), is_read


_SOCKET_DEFAULT: Final = getattr(socket, "_GLOBAL_DEFAULT_TIMEOUT", object())


def _addresses(clues: list[tuple[FrameType, TimeoutSource]]) -> tuple[str, str]:
    """Return the peer's address and ours, as far as the innermost frame that knows them tells."""
    for frame, clue in clues:
        peer, local = transports.addresses(read(frame, clue.transport)) if clue.transport else ("", "")
        if peer:
            return redact.text(peer), redact.text(local)
    for frame, clue in clues:
        if clue.peer and (found := fill(frame, clue.peer)):
            return found.rpartition("@")[2], ""
    return "", ""


def _may_be_bounded(frames: tuple[FrameType, ...], package: str) -> bool:
    """Say whether a coroutine of the application uses a block with a timeout: which one is left open is not seen."""
    return any(
        frame.f_code.co_flags & inspect.CO_COROUTINE
        and not _BLOCKS.isdisjoint(frame.f_code.co_names)
        and is_application(frame.f_code.co_filename, package)
        for frame in frames
    )


_BLOCKS: Final = frozenset({"timeout", "timeout_at", "fail_after", "move_on_after"})
