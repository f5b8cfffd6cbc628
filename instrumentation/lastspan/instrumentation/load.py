"""The door for `opentelemetry-instrument`: called after the configurator and before every instrumentor."""

from __future__ import annotations

import logging


def pre_instrument() -> None:
    """Load lastspan; whatever goes wrong, the host starts without it."""
    try:
        from .agent import start

        start()
    except Exception:  # the wrapper would give up all instrumentation
        logging.getLogger(__name__).warning("lastspan is off: it could not start", exc_info=True)
