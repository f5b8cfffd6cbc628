"""The spans that have ended since the last look: counted, and those that were announced to be closed."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry.trace import StatusCode

from lastspan.semconv.peers import named

from ..guest import redact
from .durations import DurationHistogram, DurationKey, Durations
from .tracked import ROWS_A_TURN

if TYPE_CHECKING:
    from ..registry.run import Run
    from ..registry.spans import OpenSpans
    from .job_activity import JobActivity
    from .tracked import TrackedSpans


class EndedSpan(NamedTuple):
    """A span that was met, and has ended."""

    span_id: int
    seconds: float
    outcome: str


class EndedSpans:
    """Reads the registry's rows; driven by the watcher alone."""

    def __init__(self, spans: OpenSpans, tracked: TrackedSpans, activity: JobActivity) -> None:
        self._spans = spans
        self._tracked = tracked
        self._activity = activity
        self.durations = Durations()
        self.on_job_ended: Callable[[Run, float, str], None] | None = None

    def begin(self, run: Run) -> None:
        """Count a job that has begun."""
        self.durations.start(_key(run, None, None))

    def read(self, now: float, waits: Container[int]) -> Iterator[EndedSpan | None]:
        """Count what ended, but not *waits*: only those that last are spans, so their durations would mislead.

        Yields those that were met, and None where the host may want its turn.
        """
        rows = self._spans.ended
        sketches: dict[
            tuple[Run, str, str, bool], DurationHistogram | None
        ] = {}  # what rows of one name share: found once a look
        for row in range(len(rows)):
            span_id, name, start_ns, end_ns, status, run, system, host = rows.popleft()
            seconds = max(end_ns - start_ns, 0) / 1e9
            is_error = status.status_code is StatusCode.ERROR
            outcome = "error" if is_error else "ok"
            if run is None or span_id in waits:
                pass
            elif span_id in self._spans.interrupted:  # its parent tells the end, and it is counted by that
                if span_id not in self._tracked:
                    self.begin(run)
                continue
            elif run.span_id == span_id:
                outcome = run.outcome or outcome
                self._count_job(run, seconds, outcome, is_met=span_id in self._tracked)
            else:
                called = named(system, host)
                kind = (run, name, called, is_error)
                if kind not in sketches:
                    sketches[kind] = self._sketch_of(run, name, called, outcome, now)
                if (sketch := sketches[kind]) is not None:
                    sketch.add(seconds)
                self._activity.ended(run, name, seconds, now, is_error=is_error)
            if row % ROWS_A_TURN == ROWS_A_TURN - 1:
                yield None
            if span_id in self._tracked:
                yield EndedSpan(span_id, seconds, outcome)

    def _count_job(self, run: Run, seconds: float, outcome: str, *, is_met: bool) -> None:
        if not is_met:  # too short for us to have met it
            self.begin(run)
        if (sketch := self.durations.of(_key(run, None, outcome))) is not None:
            sketch.add(seconds)
        if self.on_job_ended is not None:
            self.on_job_ended(run, seconds, outcome)

    def _sketch_of(self, run: Run, name: str, called: str, outcome: str, now: float) -> DurationHistogram | None:
        """Return where durations of a job's spans of one name and peer are kept; such spans are movement, if new."""
        cleaned = redact.span_name(name)
        self._activity.called(run, cleaned, now)
        return self.durations.of(_key(run, cleaned, outcome, redact.text(called)))


def _key(run: Run, span_name: str | None, outcome: str | None, called: str = "") -> DurationKey:
    return DurationKey(redact.text(run.name), redact.text(run.queue), run.system, span_name, outcome, called)
