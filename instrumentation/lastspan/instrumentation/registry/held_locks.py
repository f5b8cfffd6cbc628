"""The locks that jobs hold and others may wait for, by keys that all processes share.

Noted by the wrappers of lock libraries on the job's thread, read by the watcher. Each write is one operation on a
dictionary: nothing here is locked.
"""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from .run import Run

RUN_MAX: Final = 64
"""Locks of one run; more are not noted."""
_ALL_MAX: Final = 1024
"""Locks of the process; the oldest give way: whoever held them never gave them back."""


class HeldLock(NamedTuple):
    """One lock, and whose it is."""

    run: Run
    owner: object
    """What tells two holders of one name apart: the lock's token."""
    since: float
    """Monotonic, s."""
    expires: float | None
    """Monotonic, s; None: it is kept until it is given back."""
    name: Callable[[], str | None] | None
    """Asked when somebody looks, where the name costs something; None: the key is it."""


class HeldLocks:
    """The locks that the jobs of this process hold, by key. A lock has one holder: the last who took it."""

    def __init__(self) -> None:
        self._holds: dict[Hashable, HeldLock] = {}

    def add(
        self,
        run: Run,
        key: Hashable,
        now: float,
        *,
        owner: object = None,
        expires_after: float | None = None,
        name: Callable[[], str | None] | None = None,
    ) -> None:
        """*run* holds *key* from *now* on, for *expires_after* seconds or until it gives it back."""
        if run.holds is None:
            run.holds = {}
        if key not in run.holds and len(run.holds) >= RUN_MAX:
            return
        self._holds[key] = HeldLock(run, owner, now, None if expires_after is None else now + expires_after, name)
        run.holds[key] = None
        if len(self._holds) > _ALL_MAX:
            self._evict_oldest()

    def extend(self, key: Hashable, expires: float, *, owner: object = None) -> None:
        """The holder may keep *key* until *expires* (monotonic, s)."""
        hold = self._holds.get(key)
        if hold is not None and hold.owner == owner:
            self._holds[key] = hold._replace(expires=expires)

    def remove(self, key: Hashable, *, owner: object = None) -> None:
        """*key* was given back, by whichever thread; nothing happens if somebody else has taken it meanwhile."""
        hold = self._holds.get(key)
        if hold is None or hold.owner != owner:
            return
        self._holds.pop(key, None)
        if hold.run.holds is not None:
            hold.run.holds.pop(key, None)

    def of(self, key: Hashable) -> HeldLock | None:
        """Return who holds *key*, as far as this process knows; perhaps not any more: see `expires`."""
        return self._holds.get(key)

    def keys(self, run: Run, now: float) -> list[str]:
        """Return what *run* holds, oldest first."""
        if not run.holds:
            return []
        mine = [(key, hold) for key in list(run.holds) if (hold := self._holds.get(key)) is not None]
        names = [
            str(key) if hold.name is None else hold.name()
            for key, hold in mine
            if hold.run is run and (hold.expires is None or now < hold.expires)
        ]
        return [name for name in names if name is not None]

    def _evict_oldest(self) -> None:
        try:
            key = next(iter(self._holds))
        except (StopIteration, RuntimeError):  # another thread changed it meanwhile: the next one forgets
            return
        self._holds.pop(key, None)


held: Final = HeldLocks()
"""Of this process."""


@functools.cache
def host_name() -> str:
    """Return the name that keys carry for things of this machine."""
    return socket.gethostname()


def file_key(stat: os.stat_result, kind: str = "flock") -> str:
    """Return the key of a lock on a file: host, device and inode, as `/proc/locks` writes them."""
    device = stat.st_dev
    return f"{kind}:{host_name()}:{os.major(device):02x}:{os.minor(device):02x}:{stat.st_ino}"
