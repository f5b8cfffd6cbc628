"""When to try again what failed: after a pause that doubles each time."""

from __future__ import annotations

import os
from typing import Final

_FIRST: Final = 1.0
"""s."""


class Backoff:
    """The pauses of one thing that is tried; the time is an argument, monotonic (s)."""

    __slots__ = ("_longest", "_next_at", "_pause")

    def __init__(self, longest: float) -> None:
        self._longest = max(longest, _FIRST)
        self._pause = 0.0
        self._next_at = 0.0

    @property
    def has_failed(self) -> bool:
        """The last try failed."""
        return self._pause > 0

    def is_due(self, now: float) -> bool:
        """Say whether to try now."""
        return now >= self._next_at

    def fail(self, now: float) -> None:
        """A try failed: the next one is after a pause."""
        self._pause = min(self._pause * 2 or _FIRST, self._longest)
        # A fleet's tries are spread. The module `random` is the host's: a seeded job draws from it.
        self._next_at = now + self._pause * (0.8 + 0.4 * os.urandom(1)[0] / 255)

    def succeed(self) -> None:
        """A try succeeded: the next pause is the first again."""
        self._pause = 0.0
