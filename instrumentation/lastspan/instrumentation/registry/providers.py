"""Puts our span processor and sampler into every SDK tracer provider: the current one, and any made later.

What a job needs of a provider is made when we attach to it. The SDK's `get_tracer` takes a lock and moves the filters
of `warnings`, its resource reads entry points: nothing for a job's thread.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import wrapt
from opentelemetry import trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from ..guest.version import VERSION
from .sampler import JobRecordingSampler

if TYPE_CHECKING:
    from .spans import OpenSpans

_MARK: Final = "_lastspan_attached"


_watching: Providers | None = None
_is_wrapped = False


class OwnIdGenerator(RandomIdGenerator):
    """As the SDK's, but not drawn from the module `random`, which is the host's: a seeded job draws from it too."""

    def generate_span_id(self) -> int:
        """Return 64 random bits."""
        return int.from_bytes(os.urandom(8), "big") or 1

    def generate_trace_id(self) -> int:
        """Return 128 random bits."""
        return int.from_bytes(os.urandom(16), "big") or 1


@dataclass(slots=True)
class _Attached:
    """What a provider has of us."""

    spans: OpenSpans
    tracer: trace.Tracer | None = None
    """For spans of our own; None: while it is being made."""


class Providers:
    """Every tracer provider of the process that spans may come from."""

    def __init__(self, spans: OpenSpans, *, record_all: bool) -> None:
        self._spans = spans
        self._record_all = record_all
        self._latest: TracerProvider | None = None
        self._own = _provider(spans)
        """Its spans are announced by us and exported by nobody."""
        self._default_provider: TracerProvider | None = None
        """The global one, if nobody sets one before the first job."""

    def attach_to_all(self) -> None:
        """Attach to the global provider, and to each one from its making on."""
        global _watching
        if self._default_provider is None and trace._TRACER_PROVIDER is None:
            self._default_provider = _spare()
            self.attach(self._default_provider)
            self._latest = None
        _watching = self
        _wrap_init()
        self.attach_global()

    def detach(self) -> None:
        """Attach to no more providers; those that have us keep us, idle."""
        global _watching
        _watching = None

    def attach_global(self) -> None:
        """Attach to the global provider, if one is set. Cheap: called at each job's start."""
        provider = trace._TRACER_PROVIDER
        if provider is not None:
            self.attach(provider)

    def ensure(self) -> None:
        """Before the first job: set a global provider if nobody did, so that its spans exist at all."""
        if trace._TRACER_PROVIDER is None and self._default_provider is not None:
            _set_global(self._default_provider)
        self.attach_global()

    def job_tracer(self) -> trace.Tracer:
        """Return the tracer of jobs whose spans we open: of the global provider."""
        provider = trace._TRACER_PROVIDER
        attached = getattr(provider, "__dict__", {}).get(_MARK)
        if isinstance(attached, _Attached) and attached.tracer is not None:
            return attached.tracer
        return trace.get_tracer("lastspan", VERSION)  # of a provider that we do not know

    def tracer(self) -> Any:
        """Return a tracer for spans that the watcher ends.

        The user's, if all its processors batch: others may do I/O when a span ends. Else one of our own provider.
        """
        provider = trace._TRACER_PROVIDER
        if provider is None or not self._only_batches(provider) or not hasattr(provider, _MARK):
            provider = self._own
        return getattr(provider, _MARK).tracer

    def _only_batches(self, provider: Any) -> bool:
        processors = getattr(getattr(provider, "_active_span_processor", None), "_span_processors", None)
        return processors is not None and all(
            processor is self._spans or isinstance(processor, BatchSpanProcessor) for processor in processors
        )

    @property
    def resource_attributes(self) -> dict[str, Any]:
        """The current resource of the provider that makes the jobs' spans (the SDK renews it after fork)."""
        for provider in (trace._TRACER_PROVIDER, self._latest):
            resource = getattr(provider, "resource", None)
            if resource is not None:
                return dict(resource.attributes)
        return {}

    def attach(self, provider: Any) -> None:
        """Give a provider our processor and sampler; once, however many threads meet it at the same time."""
        try:
            attached = _Attached(self._spans)
            if not hasattr(provider, "add_span_processor") or not _claim(provider, attached):
                return
            if (sampler := getattr(provider, "sampler", None)) is not None:
                wrapped = JobRecordingSampler(sampler, self._spans, record_all=self._record_all)
                provider.sampler = wrapped
                for tracer in list(getattr(provider, "_tracers", {}).values()):  # each keeps a copy from its making
                    tracer.sampler = wrapped
            attached.tracer = _tracer(provider)  # after that: an SDK before 1.40 does not know its tracers
            provider.add_span_processor(self._spans)
            self._latest = provider
        except Exception:  # a guest never raises: a provider that we do not understand stays without us
            return


def _claim(provider: Any, attached: _Attached) -> bool:
    """Say whether this thread is the one that attaches."""
    known = vars(provider)
    while (first := known.setdefault(_MARK, attached)) is not attached:
        if first.spans is attached.spans:
            return False
        known.pop(_MARK, None)  # of a lastspan that was taken out again
    return True


def _tracer(provider: Any) -> trace.Tracer | None:
    """Make the tracer of our spans; its ids are not drawn from the host's `random`, unless they mean something."""
    if not isinstance(provider, TracerProvider):
        return None
    tracer = TracerProvider.get_tracer(provider, "lastspan", VERSION)
    if type(getattr(tracer, "id_generator", None)) is RandomIdGenerator:
        tracer.id_generator = OwnIdGenerator()  # type: ignore[attr-defined]
    return tracer


def _provider(spans: OpenSpans) -> TracerProvider:
    """Make a provider whose spans nobody exports."""
    own = TracerProvider.__new__(TracerProvider)
    attached = _Attached(spans)
    setattr(own, _MARK, attached)  # before it is made: it is none of those that we attach to
    TracerProvider.__init__(
        own, sampler=ALWAYS_ON, resource=Resource.get_empty(), shutdown_on_exit=False, id_generator=OwnIdGenerator()
    )
    own.add_span_processor(spans)
    attached.tracer = own.get_tracer("lastspan", VERSION)
    return own


def _spare() -> TracerProvider:
    """Make a provider as the SDK makes one by default; of the resource what stands in the environment."""
    resource = Resource({}).merge(OTELResourceDetector().detect())
    return TracerProvider(resource=resource, shutdown_on_exit=False, id_generator=OwnIdGenerator())


def _set_global(provider: TracerProvider) -> None:
    """Do what `trace.set_tracer_provider` does, without waiting for whoever does it at the same time."""
    once = trace._TRACER_PROVIDER_SET_ONCE
    if once._done or not once._lock.acquire(blocking=False):
        return
    try:
        if not once._done:
            trace._TRACER_PROVIDER = provider
            once._done = True
    finally:
        once._lock.release()


def _wrap_init() -> None:
    """Wrap the constructor of the SDK's provider, for good: others may have wrapped it after us."""
    global _is_wrapped
    if not _is_wrapped:
        _is_wrapped = True
        wrapt.wrap_function_wrapper(TracerProvider, "__init__", _after_init)


def _after_init(wrapped: Any, instance: TracerProvider, args: Any, kwargs: Any) -> None:
    wrapped(*args, **kwargs)
    if _watching is not None:
        _watching.attach(instance)
