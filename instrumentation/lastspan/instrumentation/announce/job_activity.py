"""How the jobs of this process get on: when each last did something new, and which call a late one repeats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from lastspan.semconv import attributes as a

from ..guest import redact
from .activity import Activity
from .repeated_calls import RepeatedCalls

if TYPE_CHECKING:
    from ..config.settings import WorkerSettings
    from ..registry.run import Run
    from ..registry.spans import OpenSpans
    from .activity import Path
    from .repeated_calls import SampledCall

_WINDOW_MIN: Final = 30.0


class JobActivity:
    """By the span id of a job; driven by the watcher alone."""

    def __init__(self, spans: OpenSpans, settings: WorkerSettings) -> None:
        self._spans = spans
        self._settings = settings
        self._movement: dict[int, Activity] = {}
        self._repeats: dict[int, RepeatedCalls] = {}
        """Of jobs that are late."""

    def begin(self, run: Run, started: float) -> None:
        """A job was met."""
        window = max(3 * self._settings.interval, _WINDOW_MIN)
        if run.expected is not None:
            window = min(window, max(run.expected, 3 * self._settings.tick))
        self._movement[run.span_id] = Activity(started, window=window)

    def drop(self, span_id: int) -> None:
        """It has ended."""
        self._movement.pop(span_id, None)
        self._repeats.pop(span_id, None)

    def called(self, run: Run, name: str, now: float) -> None:
        """Spans of this name of it have ended: movement, if they are new."""
        if (movement := self._movement.get(run.span_id)) is not None:
            movement.span(name, now)

    def ended(self, run: Run, name: str, seconds: float, now: float, *, is_error: bool) -> None:
        """Count a span of it that has ended."""
        if (repeats := self._repeats.get(run.span_id)) is not None:
            repeats.ended(redact.span_name(name), seconds, now, is_error=is_error)

    def called_at(self, run: Run) -> float:
        """Return when a call of it was last over; 0: not known."""
        repeats = self._repeats.get(run.span_id)
        return repeats.called_at if repeats is not None else 0.0

    def follow(self, is_late: Callable[[int, Run | None], bool], now: float) -> None:
        """Count the calls of jobs that are late, from when they last did something new; ask for examples of them."""
        for span_id, movement in self._movement.items():
            repeats = self._repeats.get(span_id)
            if repeats is None:
                if is_late(span_id, self._spans.runs.get(span_id)):
                    self._repeats[span_id] = RepeatedCalls(movement.moved_at)
            elif movement.moved_at > repeats.since:
                repeats.reset(movement.moved_at)
        for span_id, example in self._spans.take_examples().items():
            if (repeats := self._repeats.get(span_id)) is not None:
                repeats.example(example, now)
        wanted = (span_id for span_id, repeats in self._repeats.items() if repeats.wants_example(now))
        self._spans.want_examples(frozenset(wanted))

    def take_progress(self, run: Run) -> None:
        """Take its own word."""
        movement = self._movement.get(run.span_id)
        if movement is not None and run.progress is not None:
            movement.progress(run.progress[0], run.progress[3])

    def look(self, run: Run, steps: Path, call: SampledCall | None, now: float, *, is_beside: bool) -> None:
        """Take a look at its code; *is_beside*: in a thread or task of its own. *call*: the known call in it."""
        if (movement := self._movement.get(run.span_id)) is not None:
            movement.stack(steps, now)
        if not is_beside and (repeats := self._repeats.get(run.span_id)) is not None:
            repeats.sample(steps, run.package, call, now)

    def fingerprint(self, run: Run, now: float) -> object:
        """What, when it changes, is news."""
        movement, repeats = self._movement.get(run.span_id), self._repeats.get(run.span_id)
        return movement and movement.moved_at, repeats and repeats.fingerprint(now)

    def movement_age(self, run: Run, now: float) -> float | None:
        """Return for how long it has done nothing new, s."""
        movement = self._movement.get(run.span_id)
        return now - movement.moved_at if movement is not None else None

    def repeated(self, span_id: int, told: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Tell which call it repeats, and where: its line, too, where no look has caught it standing."""
        if (repeats := self._repeats.get(span_id)) is None:
            return {}
        found = repeats.attributes(now)
        return {**found, **repeats.code()} if found or a.CODE_FILE not in told else {}
