"""The database server that a probe queries, and what all probes share."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from ..model.records import DatabaseSession, DatabaseWait
from .dsn import Dsn

Row = TypeVar("Row")

APPLICATION_NAME: Final = "lastspan"
MAX_SESSIONS: Final = 500
"""Rows of one look."""
_SLICE: Final = 20
_TRACEPARENT: Final = re.compile(r"traceparent\s*=\s*'?\s*(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """A database server that may be asked."""

    system: str
    """postgres or mysql."""
    name: str
    """In logs and metrics."""
    dsn: Dsn
    servers: tuple[str, ...]
    """host:port by which workers know it; the first is its name where no worker tells."""
    interval_ns: int
    timeout_s: float


class Source(Protocol):
    """A connection to a server."""

    @property
    def hidden(self) -> str:
        """What the role may not see, and what to do about it; empty: it sees all."""
        ...

    async def sessions(self, waits: Sequence[DatabaseWait], *, server: str) -> list[DatabaseSession]:
        """Return who waits, who blocks them up to the root, and the sessions of *waits*; *server* is their name."""
        ...

    async def close(self) -> None:
        """End it politely."""
        ...

    def abort(self) -> None:
        """End it at once; never waits, never raises."""
        ...


class ProbeError(Exception):
    """A look failed: *reason* is counted, the message is logged."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


async def in_slices(rows: Iterable[Row], make: Callable[[Row], DatabaseSession]) -> list[DatabaseSession]:
    """Return a session for each row, and let the receiver go on now and then: queries are long, and cleaned here."""
    made = []
    for number, row in enumerate(rows, start=1):
        made.append(make(row))
        if number % _SLICE == 0:
            await asyncio.sleep(0)
    return made


def traceparent(query: str) -> str:
    """Return the `traceparent` that a comment of a query carries; its flags are whatever two digits (SDKs send 03)."""
    found = _TRACEPARENT.search(query)
    return "" if found is None else found.group(1).lower()


def address_of(host: str | None, port: object) -> str:
    """Return host:port, [v6]:port; empty if there is none (a Unix socket)."""
    if not host or not isinstance(port, int) or port <= 0:
        return ""
    host = host.removeprefix("::ffff:")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def seconds(value: object) -> float | None:
    """Return an age; the server's clock may step."""
    return max(0.0, float(value)) if isinstance(value, int | float) else None
