"""A memory of keys that forgets by time and by size, both cheaply."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Generations(Generic[K, V]):
    """Keeps a key for at least *keep_ns* and at most twice that, unless there are more than *limit* in that time.

    Two dicts: the young one becomes the old one, and the old one is dropped whole.
    """

    def __init__(self, *, keep_ns: int, limit: int) -> None:
        self._keep_ns = keep_ns
        self._limit = max(1, limit // 2)
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._since_ns: int | None = None

    def put(self, key: K, value: V, now_ns: int) -> None:
        """Remember *key*."""
        self.forget(now_ns)
        self._young[key] = value

    def find(self, key: K) -> V | None:
        """Return what was put for *key*, if it is remembered."""
        found = self._young.get(key)
        return found if found is not None else self._old.get(key)

    def forget(self, now_ns: int) -> None:
        """Let go of what is old."""
        if self._since_ns is None:
            self._since_ns = now_ns
        if now_ns - self._since_ns >= self._keep_ns or len(self._young) >= self._limit:
            self._old, self._young, self._since_ns = self._young, {}, now_ns

    def items(self, *, young: bool) -> list[tuple[K, V]]:
        """Return what is in one of the two generations."""
        return list((self._young if young else self._old).items())

    def age_ns(self, now_ns: int) -> int:
        """Return for how long the young generation has been filled."""
        return 0 if self._since_ns is None else now_ns - self._since_ns

    def load(self, items: dict[K, V], *, young: bool, since_ns: int) -> None:
        """Take in what was in one of the generations."""
        (self._young if young else self._old).update(items)
        self._since_ns = since_ns

    def __contains__(self, key: K) -> bool:
        return key in self._young or key in self._old

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
