"""A timer wheel: items by the quarter of a second in which they are due."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

_SHIFT = 28
"""A slot is 2^28 ns: 0.27 s."""
HORIZON_NS = 60_000_000_000
"""Nothing is armed further ahead, so an item that is gone is held for a minute at most."""


class TimerItem(Protocol):
    """An item remembers the one slot that counts; its entries in other slots are stale."""

    due: int


T = TypeVar("T", bound=TimerItem)


class TimerWheel(Generic[T]):
    """Items by due time. Arming is O(1); taking what is due costs what is due."""

    def __init__(self) -> None:
        self._slots: dict[int, list[T]] = {}
        self._now: int | None = None

    def arm(self, item: T, at_ns: int, now_ns: int) -> None:
        """Have *item* looked at soon after *at_ns*; an earlier appointment stays."""
        slot = (min(at_ns, now_ns + HORIZON_NS) >> _SHIFT) + 1
        if self._now is not None and slot <= self._now:
            slot = self._now + 1
        if item.due < 0 or slot < item.due:
            item.due = slot
            self._slots.setdefault(slot, []).append(item)

    def advance(self, item: T, by_ns: int, now_ns: int) -> None:
        """Have *item*, if it has an appointment, looked at earlier by so much."""
        if item.due >= 0:
            self.arm(item, ((item.due - 1) << _SHIFT) - by_ns, now_ns)

    def pop(self, now_ns: int) -> Iterator[T]:
        """Yield what is due; the caller may arm while it takes."""
        until = now_ns >> _SHIFT
        slots = self._due_slots(until)
        self._now = until if self._now is None else max(until, self._now)
        for slot in slots:
            for item in self._slots.pop(slot):
                if item.due == slot:
                    item.due = -1
                    yield item

    def _due_slots(self, until: int) -> list[int]:
        since = self._now
        if since is None or until - since > len(self._slots):
            return sorted(slot for slot in self._slots if slot <= until)
        return [slot for slot in range(since, until + 1) if slot in self._slots]
