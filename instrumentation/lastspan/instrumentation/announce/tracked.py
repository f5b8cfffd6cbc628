"""The open spans that the watcher has met: how old they are, which are late, which were announced and when again."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Final, NamedTuple

from ..registry.spans import RUN, SPAN

if TYPE_CHECKING:
    from ..config.settings import WorkerSettings
    from ..registry.run import Run
    from ..registry.spans import Entry, OpenSpans

ROWS_A_TURN: Final = 32
"""After so many spans the host may want its turn."""


class TrackedSpan:
    """An open span that the watcher tracks."""

    __slots__ = ("expected_passed", "fingerprint", "has_line", "is_diagnosed", "sent_at", "started", "trace_id")

    def __init__(self, started: float, trace_id: int) -> None:
        self.started = started
        """Monotonic, s."""
        self.trace_id = trace_id
        self.sent_at: float | None = None
        """None: not announced."""
        self.fingerprint: object = None
        self.is_diagnosed = False
        """What it waits for was reported."""
        self.has_line = False
        """Its code line was."""
        self.expected_passed = False


class Met(NamedTuple):
    """What one look has met."""

    leaves: set[int]
    """Spans that have no open ones below."""
    began: list[tuple[Run, float]]
    """Jobs that were not met before, and when they began."""


class TrackedSpans:
    """All of them, by span id; driven by the watcher alone."""

    def __init__(self, spans: OpenSpans, settings: WorkerSettings) -> None:
        self._spans = spans
        self._settings = settings
        self._tracked: dict[int, TrackedSpan] = {}
        self._gone: set[int] = set()
        """Met, and not open any more when we last looked."""
        self._looked_at: float | None = None
        self.announced: set[int] = set()
        spans.announced = self.announced

    def __contains__(self, span_id: int) -> bool:
        return span_id in self._tracked

    def __getitem__(self, span_id: int) -> TrackedSpan:
        return self._tracked[span_id]

    def looked(self, now: float) -> None:
        """No span that is met from now on is older than that."""
        self._looked_at = now

    def meet(self, entries: list[tuple[int, Entry]], now: float, wall_ns: int) -> Generator[None, None, Met]:
        """Note spans that are new, with their age."""
        parents: set[int] = set()
        began: list[tuple[Run, float]] = []
        since_last = None if self._looked_at is None else now - self._looked_at
        for index, (span_id, entry) in enumerate(entries):
            if index % ROWS_A_TURN == ROWS_A_TURN - 1:
                yield None
            span, run = entry[SPAN](), entry[RUN]
            if span is None:
                continue
            if span.parent is not None:
                parents.add(span.parent.span_id)
            if span_id not in self._tracked:
                age = max((wall_ns - (span.start_time or wall_ns)) / 1e9, 0.0)
                # The wall clock may have been set meanwhile: the span is not older than our last look.
                age = age if since_last is None else min(age, since_last)
                self.add(span_id, now - age, span.context.trace_id)
                if run is not None and run.span_id == span_id:
                    began.append((run, now - age))
        return Met({span_id for span_id, _ in entries if span_id not in parents}, began)

    def add(self, span_id: int, started: float, trace_id: int) -> None:
        """Track a span from now on."""
        self._tracked[span_id] = TrackedSpan(started, trace_id)

    def gone(self) -> set[int]:
        """Return those that are open no more, and have left no row of their end."""
        gone = {span_id for span_id in self._tracked if span_id not in self._spans.open} - self._spans.interrupted
        before, self._gone = self._gone, gone
        return gone & before  # gone before this look began: its row, if there is one, was read

    def drop(self, span_id: int) -> None:
        """It is open no more; if it was announced, its absence from the next state record closes it."""
        self.announced.discard(span_id)
        self._tracked.pop(span_id, None)

    def ages(self, now: float) -> list[tuple[Run, float]]:
        """Return the runs that were open at the last look, and their ages (s)."""
        met = ((run, self._tracked.get(span_id)) for span_id, run in list(self._spans.runs.items()))
        return [(run, now - tracked.started) for run, tracked in met if tracked is not None]

    def is_late(self, span_id: int, run: Run | None, now: float) -> bool:
        """Say whether a span is open for so long that it is told of."""
        tracked = self._tracked.get(span_id)
        if run is not None and run.span_id not in self._spans.runs:  # its job has ended: told of already, or never
            return tracked is not None and tracked.sent_at is not None
        is_job = run is not None and run.span_id == span_id
        limit = self._settings.job_announce_after if is_job else self._settings.announce_after
        return tracked is not None and now - tracked.started >= limit

    def has_young_calls(self, span_id: int, run: Run, now: float) -> bool:
        """Say whether it is a job, and as late as a call would have to be: it makes one short call after another."""
        soon = self._settings.announce_after
        soon = soon if run.expected is None else min(soon, run.expected)
        return span_id == run.span_id and now - self._tracked[span_id].started >= soon

    def is_due(self, span_id: int, run: Run | None, fingerprint: object, now: float) -> bool:
        """Say whether it is to be told of now: for the first time, again, or for what is news (*fingerprint*)."""
        tracked = self._tracked[span_id]
        if tracked.sent_at is None or now - tracked.sent_at >= self._settings.refresh:
            return True
        expected = run.expected if run is not None and run.span_id == span_id else None
        if expected is not None and not tracked.expected_passed and now - tracked.started >= expected:
            tracked.expected_passed = True
            return True
        return fingerprint != tracked.fingerprint and now - tracked.sent_at >= self._settings.interval
