"""Waits for locks as spans of the trace: started by the watcher once a wait lasts, ended when the wait is over.

Nothing happens on the job's thread. Such a span is one of the user's provider, so that traces show it, where every
processor of that provider batches: ours is not the thread to wait for an exporter. Else it is one of a provider of our
own, which exports nothing: the collector hears of it all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanKind, Tracer, set_span_in_context

from lastspan.semconv import attributes as a
from lastspan.semconv.vocabulary import LOCK_WAITS

from ..evidence.stack.frames import short_place
from ..guest import redact
from ..registry.spans import RUN, SPAN

if TYPE_CHECKING:
    from ..evidence import Step
    from ..registry.spans import Entry, OpenSpans
    from .sampling import SampledSpan, StackSampler

TracerSource: TypeAlias = Callable[[], "Tracer | None"]

WAITS: Final = (LOCK_WAITS | {"condition", "event", "barrier", "queue"}) - {"db_lock"}
"""What becomes a span; a lock in a database is the query's own."""
_OPEN_MAX: Final = 1000


@dataclass(slots=True)
class _OpenWait:
    span: Any
    inside: int
    """Id of the span in which the wait began."""
    steps: tuple[Step, ...]
    since: float
    """Since when it waits; monotonic s."""


_QUOTED: Final = re.compile(r"""[a-z]*(['"]).*?\1""", re.IGNORECASE)
"""A key in the source: a span's name that has a quote is taken for a query, of which less would be left."""


class LockSpans:
    """The waits that are spans now; driven by the watcher alone."""

    def __init__(self, spans: OpenSpans, sampling: StackSampler, tracer: TracerSource, *, after: float) -> None:
        self._spans = spans
        self._sampling = sampling
        self._tracer = tracer
        self._after = after
        self._open: dict[int, _OpenWait] = {}

    def __contains__(self, span_id: int) -> bool:
        return span_id in self._open

    def begin(self, span_id: int, entry: Entry, now: float, wall_ns: int) -> tuple[int, float, int] | None:
        """Make the wait of a leaf a span of its own, if it is one and lasts; return its id, start (s) and trace id."""
        sampled, run, span = self._sampling.of(span_id), entry[RUN], entry[SPAN]()
        if sampled is None or run is None or span is None or span_id in self._open or len(self._open) >= _OPEN_MAX:
            return None
        name = self._name(sampled, run.package)
        if not name or now - sampled.waits_since < self._after or a.LOCK_NAME in (span._attributes or ()):
            return None
        made = self._start(name, sampled, span, entry, wall_ns - round((now - sampled.waits_since) * 1e9))
        if made is None:
            return None
        made_id: int = made.context.span_id
        assert sampled.look is not None
        self._open[made_id] = _OpenWait(made, span_id, sampled.look.steps, sampled.waits_since)
        self._sampling.transfer(span_id, made_id)
        return made_id, sampled.waits_since, made.context.trace_id

    def end(self, wall_ns: int) -> Iterable[int]:
        """End the waits that are over; return their ids."""
        over = [span_id for span_id, wait in self._open.items() if self._is_over(span_id, wait)]
        for span_id in over:
            wait = self._open.pop(span_id)
            if wait.inside in self._spans.open:
                self._sampling.transfer(span_id, wait.inside)
            wait.span.end(end_time=wall_ns)
        return over

    def _start(self, name: str, sampled: SampledSpan, span: Any, entry: Entry, start_ns: int) -> Any:
        tracer = self._tracer()
        if tracer is None:
            return None
        attributes: dict[str, Any] = {
            a.SPAN_START_ESTIMATED: True,
            a.WAIT_KIND: sampled.kind,
        }
        if lock := sampled.found.get(a.LOCK_NAME) or (sampled.lock.short if sampled.lock is not None else ""):
            attributes[a.LOCK_NAME] = redact.text(_QUOTED.sub("…", lock))
        context = set_span_in_context(NonRecordingSpan(span.context), Context())
        made: Any = tracer.start_span(name, context, SpanKind.INTERNAL, attributes, start_time=start_ns)
        return made if self._spans.put(made, entry) else None  # the sampler may have dropped it

    def _is_over(self, span_id: int, wait: _OpenWait) -> bool:
        sampled = self._sampling.of(span_id)
        if wait.inside not in self._spans.open or sampled is None or sampled.look is None:
            return True
        return sampled.look.steps != wait.steps or sampled.waits_since != wait.since

    def _name(self, sampled: SampledSpan, package: str) -> str:
        """Name a wait as the code names what it waits for; "": it is not one that becomes a span."""
        stand = sampled.place.location(package)
        if sampled.kind not in WAITS or stand is None or not stand.is_application:
            return ""
        known = sampled.found.get(a.LOCK_NAME) or (sampled.lock.name if sampled.lock is not None else "")
        if known:
            return redact.text(_QUOTED.sub("…", known))
        if sampled.kind not in LOCK_WAITS:
            return ""  # a queue or an event that has no name here: the job's own span says as much
        code, line = stand.step
        call = sampled.found.get(a.WAIT_CALL) or sampled.kind
        return redact.text(f"{call} in {short_place(code.co_filename, line)}")
