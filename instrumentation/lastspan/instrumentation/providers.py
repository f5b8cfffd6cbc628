"""Puts our span processor and sampler into every SDK tracer provider: the one that is there, and any made later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import wrapt
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from .sampler import RecordJobs

if TYPE_CHECKING:
    from .spans import OpenSpans

_MARK: Final = "_lastspan_attached"


class Providers:
    """Every tracer provider of the process that spans may come from."""

    def __init__(self, spans: OpenSpans, *, record_all: bool) -> None:
        self._spans = spans
        self._record_all = record_all
        self._latest: TracerProvider | None = None

    def watch(self) -> None:
        """Attach to the global provider, and to each one from its making on."""
        init = TracerProvider.__init__
        if not isinstance(init, wrapt.FunctionWrapper):
            wrapt.wrap_function_wrapper(TracerProvider, "__init__", self._after_init)
        self.attach_global()

    def unwatch(self) -> None:
        """Leave the constructor as it was; providers that have us keep us, idle."""
        init = TracerProvider.__init__
        if isinstance(init, wrapt.FunctionWrapper):
            TracerProvider.__init__ = init.__wrapped__  # type: ignore[method-assign]

    def attach_global(self) -> None:
        """Attach to the global provider, if one is set. Cheap: called at each job's start."""
        provider = trace._TRACER_PROVIDER
        if provider is not None and not hasattr(provider, _MARK):
            self._attach(provider)

    def ensure(self) -> None:
        """Before the first job: set a global provider if nobody did, so that its spans exist at all."""
        if trace._TRACER_PROVIDER is None:
            trace.set_tracer_provider(TracerProvider())
        self.attach_global()

    @property
    def resource_attributes(self) -> dict[str, Any]:
        """The current resource of the provider that makes the jobs' spans (the SDK renews it after fork)."""
        for provider in (trace._TRACER_PROVIDER, self._latest):
            resource = getattr(provider, "resource", None)
            if resource is not None:
                return dict(resource.attributes)
        return {}

    def _after_init(self, wrapped: Any, instance: TracerProvider, args: Any, kwargs: Any) -> None:
        wrapped(*args, **kwargs)
        self._attach(instance)

    def _attach(self, provider: Any) -> None:
        try:
            if hasattr(provider, _MARK) or not hasattr(provider, "add_span_processor"):
                return
            setattr(provider, _MARK, True)
            if (sampler := getattr(provider, "sampler", None)) is not None:
                wrapped = RecordJobs(sampler, self._spans, record_all=self._record_all)
                provider.sampler = wrapped
                for tracer in list(getattr(provider, "_tracers", {}).values()):  # each keeps a copy from its making
                    tracer.sampler = wrapped
            provider.add_span_processor(self._spans)
            self._latest = provider
        except Exception:  # a guest never raises: a provider that we do not understand stays without us
            return
