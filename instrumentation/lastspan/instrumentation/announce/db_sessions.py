"""Which database sessions a job uses, as it is told: whoever blocks others is mostly idle in a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from ..evidence.kernel.descriptors import Descriptor, sockets
from ..evidence.waits.sessions import session_of
from ..guest import redact
from ..registry import connections

if TYPE_CHECKING:
    from ..registry.run import Run
    from ..registry.session import Session
    from ..registry.spans import OpenSpans

SESSIONS_MAX: Final = 16
"""Of a job; more are not told."""
_PORTS: Final = {"5432": "postgresql", "6432": "postgresql", "3306": "mysql", "33060": "mysql"}
"""Of servers, and of PgBouncer."""


class DbSessions:
    """The sessions of the jobs of this process."""

    def __init__(self, spans: OpenSpans) -> None:
        self._spans = spans

    def count(self, run: Run) -> int:
        """Return how many connections *run* was the last to use, or has at hand; costs next to nothing."""
        return connections.count(run) + len(run.sessions)

    def of(self, run: Run) -> list[str]:
        """Return the database sessions of *run*: "system server id address", `-` for what is not known.

        Those that were noted, and those that its code had at hand. Where it is the only job of the process also the
        process's other connections to ports of databases, or, if none was noted, all: of these only the addresses are
        known, and databases know them too. Reads the drivers' memory.
        """
        noted = [session for one in connections.connections(run) if (session := session_of(one)) is not None]
        found = list(
            dict.fromkeys(_text(session) for session in (*noted, *run.sessions) if session.id or session.local)
        )
        if len(self._spans.runs) == 1:
            known = {text.rpartition(" ")[2] for text in found}
            others = of_sockets(sockets(), only_databases=bool(found))
            found += [text for text in others if text.rpartition(" ")[2] not in known]
        return found[:SESSIONS_MAX]


def _text(session: Session) -> str:
    return " ".join(_word(part) for part in (session.system, session.server, session.id, session.local))


def _word(text: str) -> str:
    return redact.text("".join(text.split())) or "-"


def of_sockets(seen: Iterable[Descriptor], *, only_databases: bool) -> Iterator[str]:
    """Yield what is known of sessions by their sockets alone; those at ports of databases first."""
    ours = [one for one in seen if one.kind == "tcp" and one.local and (_system(one) or not only_databases)]
    for one in sorted(ours, key=lambda one: _system(one) == ""):
        yield " ".join(_word(part) for part in (_system(one), one.peer, "", one.local))


def _system(socket: Descriptor) -> str:
    return _PORTS.get(socket.peer.rpartition(":")[2], "")
