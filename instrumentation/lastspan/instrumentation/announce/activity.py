"""Is a job still active? Judged from its stack over time, its spans and its calls of `progress`.

A loop that repeats the same lines, or the same span names, does not move (DESIGN §4.3).
"""

from __future__ import annotations

from collections import deque
from types import CodeType
from typing import Final

from ..evidence import Step

Path = tuple[Step, ...]

_REMEMBERED: Final = 8
_NAMES_MAX: Final = 256
_SAMPLES: Final = 64
_FUNCTIONS_MAX: Final = 1024
_PAUSES: Final = 2
"""So many of its own pauses without a call, and the next one is something new."""


class Activity:
    """When a job was last active; seconds of a monotonic clock, fed by the watcher."""

    def __init__(self, now: float, *, window: float) -> None:
        self.moved_at = now
        self._window = window
        self._window_began = now
        self._prefix: Path | None = None
        self._places: deque[Path] = deque(maxlen=_REMEMBERED)
        self._samples: deque[Path] = deque(maxlen=_SAMPLES)
        """Of this window."""
        self._furthest: dict[tuple[int, CodeType], int] = {}
        """By function and how deep it is called: its last line that was seen."""
        self._names: dict[str, tuple[float | None, float]] = {}
        """When a span of that name was last seen, and how long after the one before."""
        self._progress: float | None = None

    def stack(self, steps: Path, now: float) -> None:
        """Take one sample; a window's samples share a prefix: a place that is new is movement, and so is a later line.

        A loop comes to its last line soon, and no further; a long function does.
        """
        self._prefix = steps if self._prefix is None else common(self._prefix, steps)
        self._samples.append(steps)
        if now - self._window_began < self._window:
            return
        place, self._prefix, self._window_began = self._prefix, None, now
        is_new = not any(is_same_place(place, known) for known in self._places)
        is_further = self._go_on(place)
        if self._places and (is_new or is_further):  # the first place is where it started, not where it went
            self.moved_at = now
        if is_new:
            self._places.append(place)

    def _go_on(self, place: Path) -> bool:
        """Say whether a function that was seen before has come to a later line than ever."""
        is_further = False
        if len(self._furthest) > _FUNCTIONS_MAX:
            self._furthest.clear()
        for depth, (code, _) in enumerate(place):
            lines = (steps[depth][1] for steps in self._samples if len(steps) > depth and steps[depth][0] is code)
            line, before = max(lines, default=0), self._furthest.get((depth, code))
            is_further = is_further or (before is not None and line > before)
            self._furthest[depth, code] = max(line, before or 0)
        self._samples.clear()
        return is_further

    def span(self, name: str, now: float) -> None:
        """A span of the job ended or was seen open: new if no span of that name was seen in the window.

        One that comes at long intervals is new but once: a loop that polls each minute does not move by that.
        """
        seen, pause = self._names.pop(name, (None, 0.0))
        self._names[name] = (now, 0.0 if seen is None else now - seen)
        if len(self._names) > _NAMES_MAX:
            del self._names[next(iter(self._names))]
        if seen is None or now - seen > max(self._window, _PAUSES * pause):
            self.moved_at = now

    def progress(self, done: float, at: float) -> None:
        """A call of `progress`: activity if the value rose."""
        if self._progress is None or done > self._progress:
            self.moved_at = max(self.moved_at, at)
        self._progress = done


def common(one: Path, other: Path) -> Path:
    """Return the deepest common prefix; where only the line differs, that frame ends it, its line left open (0)."""
    depth = 0
    for (code, line), (other_code, other_line) in zip(one, other, strict=False):
        if code is not other_code:
            break
        if line != other_line:
            return (*one[:depth], (code, 0))
        depth += 1
    return one[:depth]


def is_same_place(one: Path, other: Path) -> bool:
    """Say whether one path leads to, or into, the other: a loop seen with more or fewer of its calls."""
    for (code, line), (other_code, other_line) in zip(one, other, strict=False):
        if code is not other_code:
            return False
        if 0 in (line, other_line):
            return True
        if line != other_line:
            return False
    return True
