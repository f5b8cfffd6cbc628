"""lastspan by hand: `LastspanInstrumentor().instrument()`, for programs without `opentelemetry-instrument`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from . import agent


class LastspanInstrumentor(BaseInstrumentor):
    """Loads lastspan into this process; under the wrapper it is loaded already, and twice is once."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Nothing but what lastspan itself requires."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        agent.start()

    def _uninstrument(self, **kwargs: Any) -> None:
        agent.stop()
