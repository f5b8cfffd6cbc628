"""Which database connections the jobs of this process use: by weak references, and nothing is asked of them here.

A connection is the job's that used it last. Noted on the job's thread, read by the watcher; nothing is locked.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import ref

if TYPE_CHECKING:
    from .run import Run

_CONNECTIONS_MAX: Final = 1024
"""Of the process; more are not noted."""


class Use(NamedTuple):
    """A connection, and the run that used it last."""

    connection: ref[Any]
    run: Run


uses: Final[dict[int, Use]] = {}
"""By the connection's id; one that is gone takes its entry along."""
_without_references: Final[set[type]] = set()
"""Types of connections that know no weak references: sqlite3's."""


def note(connection: Any, run: Run | None) -> None:
    """*run* uses *connection* now; called where `uses` does not say so yet."""
    if connection is None or run is None or len(uses) >= _CONNECTIONS_MAX or type(connection) in _without_references:
        return
    key = id(connection)
    try:
        # Called when the connection goes, with its reference, which `pop` takes for its default: it never raises.
        uses[key] = Use(ref(connection, partial(uses.pop, key)), run)
    except TypeError:
        _without_references.add(type(connection))


def connections(run: Run) -> list[Any]:
    """Return the connections that *run* was the last to use, as far as they live; for the watcher."""
    mine = (use.connection() for use in list(uses.values()) if use.run is run)
    return [connection for connection in mine if connection is not None]


def count(run: Run) -> int:
    """Return how many connections *run* was the last to use."""
    return sum(use.run is run for use in list(uses.values()))
