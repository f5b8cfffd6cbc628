"""Puts our span processor and sampler into every SDK tracer provider: the one that is there, and any made later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import wrapt
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from .sampler import RecordJobs
from .version import VERSION

if TYPE_CHECKING:
    from .spans import OpenSpans

_MARK: Final = "_lastspan_attached"


_watching: Providers | None = None
_is_wrapped = False


class Providers:
    """Every tracer provider of the process that spans may come from."""

    def __init__(self, spans: OpenSpans, *, record_all: bool) -> None:
        self._spans = spans
        self._record_all = record_all
        self._latest: TracerProvider | None = None
        self._own: TracerProvider | None = None

    def watch(self) -> None:
        """Attach to the global provider, and to each one from its making on."""
        global _watching
        _watching = self
        _wrap_init()
        self.attach_global()

    def unwatch(self) -> None:
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
        if trace._TRACER_PROVIDER is None:
            trace.set_tracer_provider(TracerProvider())
        self.attach_global()

    def tracer(self) -> trace.Tracer:
        """Return a tracer for spans that the watcher ends.

        The user's, if all its processors batch: others may do I/O when a span ends. Else one whose spans are announced
        by us and exported by nobody.
        """
        provider = trace._TRACER_PROVIDER
        if provider is not None and self._only_batches(provider):
            return provider.get_tracer("lastspan", VERSION)
        if self._own is None:
            self._own = own = TracerProvider.__new__(TracerProvider)
            setattr(own, _MARK, self._spans)  # before it is made: it is none of those that we attach to
            TracerProvider.__init__(own, sampler=ALWAYS_ON, resource=Resource.get_empty(), shutdown_on_exit=False)
            own.add_span_processor(self._spans)
        return self._own.get_tracer("lastspan", VERSION)

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
        """Give a provider our processor and sampler; once."""
        try:
            if getattr(provider, _MARK, None) is self._spans or not hasattr(provider, "add_span_processor"):
                return
            setattr(provider, _MARK, self._spans)
            if (sampler := getattr(provider, "sampler", None)) is not None:
                wrapped = RecordJobs(sampler, self._spans, record_all=self._record_all)
                provider.sampler = wrapped
                for tracer in list(getattr(provider, "_tracers", {}).values()):  # each keeps a copy from its making
                    tracer.sampler = wrapped
            provider.add_span_processor(self._spans)
            self._latest = provider
        except Exception:  # a guest never raises: a provider that we do not understand stays without us
            return


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
