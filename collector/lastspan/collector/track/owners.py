"""Finds the job that owns something: a lock by its key, a database session by its id or its client address."""

from __future__ import annotations

from ..model.evidence import JobSession, OwnedByJob
from .rows import JobRow

LIMIT = 200_000
"""Things that are remembered; beyond it, who has a thing is not known."""


class Owners:
    """Jobs by what they have."""

    def __init__(self) -> None:
        self._by_thing: dict[str, tuple[JobRow, ...]] = {}

    def set_owned(self, job: JobRow, owned: OwnedByJob | None) -> None:
        """Take what a job has now; None: nothing."""
        if owned == job.owned:
            return
        for thing in _owned_keys(job.owned):
            rest = tuple(other for other in self._by_thing.get(thing, ()) if other is not job)
            if rest:
                self._by_thing[thing] = rest
            else:
                self._by_thing.pop(thing, None)
        job.owned = owned
        for thing in _owned_keys(owned):
            if len(self._by_thing) < LIMIT or thing in self._by_thing:
                self._by_thing[thing] = (*self._by_thing.get(thing, ()), job)[-_OWNERS:]

    def of_lock(self, key: str) -> tuple[JobRow, ...]:
        """Return the jobs that hold a lock; several: it lets several in."""
        return self._by_thing.get(f"lock {key}", ())

    def of_session(self, server: str, id: str) -> tuple[JobRow, ...]:
        """Return the jobs that have used a database session, the newest last."""
        return self._by_thing.get(f"session {server} {id}", ())

    def of_address(self, local: str) -> tuple[JobRow, ...]:
        """Return the jobs that have used a database session from this address of theirs, the newest last."""
        return self._by_thing.get(f"address {local}", ())

    def __len__(self) -> int:
        return len(self._by_thing)


_OWNERS = 16


def _owned_keys(owned: OwnedByJob | None) -> frozenset[str]:
    if owned is None:
        return frozenset()
    return frozenset([f"lock {key}" for key in owned.locks] + [name for one in owned.sessions for name in _names(one)])


def _names(session: JobSession) -> list[str]:
    found = [f"session {session.server} {session.id}"] if session.id else []
    return [*found, f"address {session.local}"] if session.local else found
