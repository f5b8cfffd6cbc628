"""The door for `opentelemetry-instrument`: called after the configurator and before every instrumentor."""

from __future__ import annotations

import logging

is_wrapped = False
"""The wrapper is here, and loads every instrumentor that is installed."""


def pre_instrument() -> None:
    """Load lastspan; whatever goes wrong, the host starts without it."""
    global is_wrapped
    is_wrapped = True
    try:
        from . import log
        from .agent import start

        start()
        log.speak_now()
    except Exception:  # the wrapper would give up all instrumentation
        logging.getLogger(__name__).warning("lastspan is off: it could not start", exc_info=True)
