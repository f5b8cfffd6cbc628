"""lastspan in this process, for the rooms below the module that joins it: hooks of frameworks and of libraries.

They ask here, and know no agent; the agent puts itself here when it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry import context as otel_context
from opentelemetry import trace

from .run import Run
from .spans import RUN_KEY

if TYPE_CHECKING:
    from .children import ChildJobs, Facts, JobEnd
    from .providers import Providers
    from .spans import OpenSpans


class ProcessJobs(Protocol):
    """What one process's lastspan does for them."""

    spans: OpenSpans
    providers: Providers

    def begin(self, run: Run) -> None:
        """The next span that starts on this thread is *run*'s."""

    def start_span(
        self, run: Run, *, kind: trace.SpanKind, attributes: Mapping[str, Any], context: Any = None
    ) -> trace.Span:
        """Start a span of our own for *run*."""

    def interrupt(self, run: Run) -> None:
        """The process is being ended in the middle of a job, which stays open: the parent reports its end."""

    def watch_children(self, running: ChildJobs, facts: Facts) -> None:
        """This process is the parent of processes that run jobs."""

    def report(self, end: JobEnd) -> None:
        """The framework told this parent how a job ended whose process is no more."""

    def report_stopping(self) -> None:
        """The process was asked to stop and still runs jobs."""

    def shutdown(self) -> None:
        """The process ends now."""


process: ProcessJobs | None = None
"""None while lastspan is not loaded, or switched off."""

_loader: Callable[[], ProcessJobs | None] | None = None


def load_with(loader: Callable[[], ProcessJobs | None]) -> None:
    """Let *loader* be what loads lastspan."""
    global _loader
    _loader = loader


def load() -> ProcessJobs | None:
    """Load lastspan into this process; twice is once. None where it is switched off."""
    return process if _loader is None else _loader()


def current_run() -> Run | None:
    """Return the run that the calling code belongs to."""
    lastspan = process
    if lastspan is None or not lastspan.spans.runs:
        return None
    run = lastspan.spans.run_of(trace.get_current_span().get_span_context().span_id)
    if run is None:
        run = otel_context.get_value(RUN_KEY)  # type: ignore[assignment]  # of a span that has ended
    return run if isinstance(run, Run) and run.span_id in lastspan.spans.runs else None
