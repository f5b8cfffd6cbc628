"""Alerts that one Alertmanager has not received yet: the newest state of each, in batches, with backoff."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from .model import Labels, Post
from .target import SECOND_NS

BATCH: Final = 50
"""Alerts of one request."""
MAX_WAITING: Final = 4000
_FIRST_WAIT_NS: Final = 1 * SECOND_NS
_LONGEST_WAIT_NS: Final = 30 * SECOND_NS


class Outbox:
    """Posts by alert: a newer one takes the place of an older one. Bounded."""

    def __init__(self, hold_ns: int) -> None:
        self._hold_ns = hold_ns
        self._waiting: dict[Labels, Post] = {}
        self._streak = 0
        self._not_before_ns = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, posts: Iterable[Post]) -> int:
        """Take posts; return how many there was no room for."""
        refused = 0
        for post in posts:
            if post.labels in self._waiting or len(self._waiting) < MAX_WAITING:
                self._waiting[post.labels] = post
            else:
                refused += 1
        return refused

    def due(self, now_ns: int) -> list[Post]:
        """Return the next batch; empty: there is none, or it is not time to try again."""
        if now_ns < self._not_before_ns:
            return []
        self._forget(now_ns)
        return list(islice(self._waiting.values(), BATCH))

    def wait_s(self, now_ns: int) -> float:
        """Return after how long to ask for a batch again."""
        return max(0, self._not_before_ns - now_ns) / SECOND_NS

    def done(self, batch: Sequence[Post]) -> None:
        """These were posted, or must not be posted again; newer posts of the same alerts stay."""
        self._streak, self._not_before_ns = 0, 0
        for post in batch:
            if self._waiting.get(post.labels) is post:
                del self._waiting[post.labels]

    def failed(self, now_ns: int) -> bool:
        """Nothing was posted: wait, twice as long each time. Return whether it is the first failure after a success."""
        self._not_before_ns = now_ns + min(_FIRST_WAIT_NS << min(self._streak, 10), _LONGEST_WAIT_NS)
        self._streak += 1
        return self._streak == 1

    def _forget(self, now_ns: int) -> None:
        """Alertmanager has dropped what ended long ago, by its end time."""
        late = [labels for labels, post in self._waiting.items() if post.over and now_ns - post.ends_ns > self._hold_ns]
        for labels in late:
            del self._waiting[labels]
