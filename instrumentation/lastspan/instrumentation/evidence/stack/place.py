"""Where a span's code is over several samples: one line, or the loop that it repeats.

A thread that waits shows the same stack each time; a loop shows a different one, and what its stacks have in common
is the loop, the lines seen there its body.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple, TypeAlias

from .frames import Step, application_index

Steps: TypeAlias = "tuple[Step, ...]"

_REMEMBERED: Final = 6


class Location(NamedTuple):
    """Where the code is."""

    step: Step
    lines: tuple[int, int] | None
    """The first and the last line of the loop that were seen; None: it stands still."""
    is_application: bool
    """False: no frame of the application is on the stack; the innermost of all stands for it."""


class StackHistory:
    """The last stacks of one span, as long as they lead to the same function."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: deque[Steps] = deque(maxlen=_REMEMBERED)

    def take(self, steps: Steps) -> None:
        """Take the stack of one more look, outermost frame first."""
        self._seen.append(steps)

    @property
    def is_still(self) -> bool:
        """The last two looks saw the same stack."""
        return len(self._seen) < 2 or self._seen[-1] == self._seen[-2]

    def location(self, package: str, *, is_busy: bool = False) -> Location | None:
        """Return the innermost application line that the looks share; None where nothing was seen.

        Code that computes (*is_busy*) is not still because two looks have met it at one line: the loop is the place.
        """
        if not self._seen or not self._seen[-1]:
            return None
        steps = self._seen[-1]
        depth = len(steps) if self.is_still and not is_busy else self._shared()
        index = application_index(steps[:depth], package)
        at = max(depth - 1, 0) if index is None else index
        lines = self._lines(at)
        shown = (lines[0], lines[-1]) if len(lines) > 1 and (is_busy or not self.is_still) else None
        return Location(steps[at], shown, index is not None)

    def _shared(self) -> int:
        """How many outer frames the looks have in common; of the innermost of these the line may differ."""
        steps = self._seen[-1]
        depth = len(steps)
        for other in self._seen:
            depth = min(depth, _common(steps, other))
        return depth

    def _lines(self, index: int) -> list[int]:
        code = self._seen[-1][index][0]
        return sorted({seen[index][1] for seen in self._seen if len(seen) > index and seen[index][0] is code})


def _common(one: Steps, other: Steps) -> int:
    depth = 0
    for (code, line), (other_code, other_line) in zip(one, other, strict=False):
        if code is not other_code:
            break
        depth += 1
        if line != other_line:
            break
    return depth
