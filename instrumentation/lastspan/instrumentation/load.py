"""How lastspan gets in: by `opentelemetry-instrument`, or by hand with `LastspanInstrumentor().instrument()`."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable
from typing import Any, Final

from opentelemetry.instrumentation.dependencies import DependencyConflictError
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.util._importlib_metadata import EntryPoint, entry_points

from . import agent
from .guest import log
from .guest.errors import describe_error

_log = log.Log(__name__)

_GROUP: Final = "opentelemetry_instrumentor"
_OURS: Final = "lastspan_"

_is_wrapped = False
"""The wrapper is here, and loads every instrumentor that is installed."""


def pre_instrument() -> None:
    """Load lastspan, before the wrapper loads any instrumentor; at worst the host starts without it."""
    global _is_wrapped
    _is_wrapped = True
    try:
        agent.start()
        log.write_now()
    except Exception:  # the wrapper would give up all instrumentation
        logging.getLogger(__name__).warning("lastspan is off: it could not start", exc_info=True)


class LastspanInstrumentor(BaseInstrumentor):
    """Loads lastspan into this process, with all that it has for frameworks and libraries; twice is once.

    Under the wrapper, which loads each of them by itself, only what is left to do is done.
    """

    _brought: tuple[BaseInstrumentor, ...] = ()

    def instrumentation_dependencies(self) -> Collection[str]:
        """Nothing but what lastspan itself requires."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        if agent.start() is not None and not _is_wrapped:
            self._brought = tuple(_bring(entry_points(group=_GROUP)))
        log.write_now()

    def _uninstrument(self, **kwargs: Any) -> None:
        brought, self._brought = self._brought, ()
        for instrumentor in brought:
            try:
                if instrumentor.is_instrumented_by_opentelemetry:
                    instrumentor.uninstrument()
            except Exception as error:  # one that cannot be taken out leaves the others to be
                _log.warning(
                    "lastspan: %s was not uninstrumented: %s", type(instrumentor).__name__, describe_error(error)
                )
        agent.stop()


def _bring(found: Iterable[EntryPoint]) -> Iterable[BaseInstrumentor]:
    """Instrument with each of ours whose library is there; one that cannot be is named in the log, with the reason."""
    switched_off = {name.strip() for name in os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")}
    for entry_point in sorted(found, key=lambda one: one.name):
        if not entry_point.name.startswith(_OURS) or entry_point.name in switched_off:
            continue
        try:
            instrumentor = entry_point.load()()
            if not instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.instrument(raise_exception_on_conflict=True)
                yield instrumentor
        except ModuleNotFoundError:  # this library is not installed
            continue
        except DependencyConflictError as error:
            if error.conflict.found:  # in a version that we do not know
                _log.warning(
                    "lastspan: %s is disabled: it requires %s, but %s is installed",
                    entry_point.name,
                    error.conflict.required,
                    error.conflict.found,
                )
        except Exception as error:  # the host starts, whatever one of them thinks of its library
            _log.warning("lastspan: %s is disabled: %s", entry_point.name, describe_error(error))
