"""A sampler around the user's: what it drops of a job is still recorded, and still not exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind, TraceState

    from .spans import OpenSpans


class JobRecordingSampler(Sampler):
    """Turns DROP into RECORD_ONLY for a job's own span, and by default for the spans below it.

    The sampled flag stays as the user's sampler set it, so exporters and downstream services see no difference.
    """

    def __init__(self, sampler: Sampler, spans: OpenSpans, *, record_all: bool) -> None:
        self.inner = sampler
        self._spans = spans
        self._record_all = record_all

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Ask the user's sampler; overrule only DROP."""
        result = self.inner.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)
        if result.decision is not Decision.DROP:
            return result
        try:
            is_job, is_below_job = self._spans.is_wanted(parent_context, kind)
        except Exception:  # a guest never raises
            return result
        if is_job or (is_below_job and self._record_all):
            return SamplingResult(Decision.RECORD_ONLY, attributes, result.trace_state)
        return result

    def get_description(self) -> str:
        """Name both samplers."""
        return f"RecordJobs({self.inner.get_description()})"
