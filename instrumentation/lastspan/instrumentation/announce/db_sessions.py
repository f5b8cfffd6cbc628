"""Which database sessions a job uses, as it is told: whoever blocks others is mostly idle in a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ..evidence.kernel.descriptors import Descriptor, sockets
from ..evidence.waits.sessions import session_of
from ..registry import connections
from ..registry.session import Session

if TYPE_CHECKING:
    from ..registry.run import Run
    from ..registry.spans import OpenSpans

SESSIONS_MAX: Final = 16
"""Of a job; more are not reported."""
_PORTS: Final = {"5432": "postgresql", "6432": "postgresql", "3306": "mysql", "33060": "mysql"}
"""Of servers, and of PgBouncer."""


class DbSessions:
    """The sessions of the jobs of this process."""

    def __init__(self, spans: OpenSpans) -> None:
        self._spans = spans

    def count(self, run: Run) -> int:
        """Return how many connections *run* was the last to use, or has at hand; costs next to nothing."""
        return connections.count(run) + len(run.sessions)

    def of(self, run: Run) -> list[Session]:
        """Return the database sessions of *run*.

        Those that were noted, and those that its code had at hand. Where it is the only job of the process also the
        process's other connections to ports of databases, or, if none was noted, all: of these only the addresses are
        known, and databases know them too. Reads the drivers' memory.
        """
        noted = [session for one in connections.connections(run) if (session := session_of(one)) is not None]
        found = list(dict.fromkeys(replace(one, state="") for one in (*noted, *run.sessions) if one.id or one.local))
        if len(self._spans.runs) == 1:
            known = {session.local for session in found}
            others = of_sockets(sockets(), only_databases=bool(found))
            found += [session for session in others if session.local not in known]
        return found[:SESSIONS_MAX]


def of_sockets(seen: Iterable[Descriptor], *, only_databases: bool) -> Iterator[Session]:
    """Yield what is known of sessions by their sockets alone; those at ports of databases first."""
    ours = [one for one in seen if one.kind == "tcp" and one.local and (_system(one) or not only_databases)]
    for one in sorted(ours, key=lambda one: _system(one) == ""):
        yield Session(_system(one), server=one.peer, local=one.local)


def _system(socket: Descriptor) -> str:
    return _PORTS.get(socket.peer.rpartition(":")[2], "")
