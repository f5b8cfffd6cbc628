"""Finds calls without a timeout before one hangs: the watcher samples a few calls that are not late.

One call a look, each kind of call (job, span name) until its timeout is known; a few looks at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opentelemetry.trace import SpanKind

from lastspan.semconv import attributes as a

from ..evidence import sample_stack
from ..evidence.diagnosis import Attributes, Subject, diagnose
from ..guest import redact
from ..registry.spans import RUN, SPAN
from .places import code_attributes

if TYPE_CHECKING:
    from ..registry.run import Run
    from ..registry.spans import Entry, OpenSpans

_KINDS_MAX: Final = 200
_SAMPLES_MAX: Final = 5


@dataclass(slots=True)
class _CallKind:
    samples: int = 0
    facts: Attributes | None = None
    """None: its timeout is not known yet."""
    reported_at: float | None = None


class CallKinds:
    """The kinds of calls that this process makes; driven by the watcher alone."""

    def __init__(self, spans: OpenSpans, *, refresh: float) -> None:
        self._spans = spans
        self._refresh = refresh
        self._kinds: dict[tuple[str, str], _CallKind] = {}

    def sample(self, entries: list[tuple[int, Entry]], now: float) -> Attributes | None:
        """Sample one open call of an unknown kind, if there is one; return what to report."""
        for _, entry in entries:
            span, run = entry[SPAN](), entry[RUN]
            if span is None or run is None or span.kind is not SpanKind.CLIENT or span.end_time is not None:
                continue
            kind = self._kind(run.name, redact.span_name(span.name))
            if kind is None or (kind.reported_at is not None and now - kind.reported_at < self._refresh):
                continue
            if kind.facts is None and kind.samples < _SAMPLES_MAX:
                kind.samples += 1
                kind.facts = self._facts(entry, run, redact.span_name(span.name))
                if kind.facts is None:
                    return None  # one diagnosis a look is enough
            if kind.facts is not None:
                kind.reported_at = now
                return kind.facts
        return None

    def _kind(self, job_name: str, span_name: str) -> _CallKind | None:
        key = (job_name, span_name)
        if key not in self._kinds:
            if len(self._kinds) >= _KINDS_MAX:
                return None
            self._kinds[key] = _CallKind()
        return self._kinds[key]

    def _facts(self, entry: Entry, run: Run, span_name: str) -> Attributes | None:
        where = self._spans.execution_context(entry)
        seen = sample_stack(where)
        place = seen.place(run.package)
        thread_id = seen.thread_id if seen.is_on_thread else None
        found = diagnose(Subject(where, run.package, thread_id, is_call=True, stood=0.0))
        if place is None or not (a.CALL_TIMEOUT in found or a.CALL_UNBOUNDED in found):
            return None
        return {
            a.JOB_NAME: redact.text(run.name),
            a.JOB_QUEUE: redact.text(run.queue) or None,
            a.JOB_SYSTEM: run.system,
            a.JOB_TIMEOUT: run.timeout,
            a.SPAN_NAME: span_name,
            **code_attributes(*place),
            a.WAIT_PEER: found.get(a.WAIT_PEER),
            a.CALL_TIMEOUT: found.get(a.CALL_TIMEOUT),
            a.CALL_UNBOUNDED: found.get(a.CALL_UNBOUNDED),
        }
