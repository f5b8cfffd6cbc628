"""What database probes saw last: sessions by server, until they are outdated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from ..model.records import DatabaseSession

KEPT_NS = 30_000_000_000
_SERVERS = 100
_SESSIONS = 5000
"""Of one server; who is blocked or blocks comes from a probe that lists those first."""


class _Database(msgspec.Struct):
    """One look at one server."""

    at_ns: int
    by_id: dict[str, DatabaseSession]


class DatabaseFacts:
    """Sessions as last seen. A server that is looked at again is known anew; nothing else is kept of it."""

    def __init__(self) -> None:
        self._servers: dict[str, _Database] = {}
        self._by_client: dict[str, DatabaseSession] = {}
        self.is_asked = False
        """There are probes: who blocks whom may be known in a moment."""

    def take(self, server: str, sessions: Iterable[DatabaseSession], now_ns: int) -> None:
        """Remember what was seen at *server*, now; no sessions: none is of interest."""
        self.is_asked = True
        self.forget(now_ns)
        self._servers.pop(server, None)
        by_id = {session.id: session for session, _ in zip(sessions, range(_SESSIONS), strict=False)}
        if by_id and len(self._servers) < _SERVERS:
            self._servers[server] = _Database(now_ns, by_id)
        self._index()

    def forget(self, now_ns: int) -> None:
        """Let go of what was seen too long ago."""
        old = [name for name, server in self._servers.items() if now_ns - server.at_ns > KEPT_NS]
        for name in old:
            del self._servers[name]
        if old:
            self._index()

    def session(self, server: str, id: str) -> DatabaseSession | None:
        """Return a session by its id; a server that goes by another name is found if no other one fits."""
        known = self._servers.get(server)
        if known is not None:
            return known.by_id.get(id)
        port = server.rpartition(":")[2]
        found = [
            session
            for name, other in self._servers.items()
            if (session := other.by_id.get(id)) is not None and name.rpartition(":")[2] == port
        ]
        return found[0] if len(found) == 1 else None

    def of_client(self, address: str) -> DatabaseSession | None:
        """Return the session of a connection, by the client's end of it."""
        return self._by_client.get(address) if address else None

    def of_trace(self, trace_id: str) -> DatabaseSession | None:
        """Return the waiting session whose query carries this trace in a comment."""
        found = [session for session in self if trace_id in session.traceparent and session.blocked_by]
        return found[0] if len(found) == 1 else None

    def __iter__(self) -> Iterator[DatabaseSession]:
        for server in self._servers.values():
            yield from server.by_id.values()

    def __len__(self) -> int:
        return sum(len(server.by_id) for server in self._servers.values())

    def _index(self) -> None:
        self._by_client = {}
        for session in self:
            for address in addresses(session):
                self._by_client[address] = session


def addresses(session: DatabaseSession) -> list[str]:
    """Return the client's end of a session's connection, also behind a pooler that tells it ("name - host:port")."""
    pooled = session.application_name.rpartition(" - ")[2]
    found = [pooled] if pooled != session.application_name and pooled.rpartition(":")[2].isdecimal() else []
    return [*found, session.client] if session.client else found
