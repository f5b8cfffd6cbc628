"""How many bytes of requests may be in flight at once."""

from __future__ import annotations


class Budget:
    """Bytes in flight, over all transports."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def take(self, count: int) -> bool:
        """Reserve *count* bytes; False: there is no room, try again later."""
        if self.used + count > self._limit:
            return False
        self.used += count
        return True

    def release(self, count: int) -> None:
        """Give bytes back."""
        self.used -= count
