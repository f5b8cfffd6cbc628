"""Time to pass, and signals."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from tests.e2e.causes.way import own_wait, way


@way("waiting", span=own_wait())
def long_sleep() -> None:
    time.sleep(900)  # <- stops here


@way("waiting", span=own_wait())
def polling_with_a_sleep() -> None:
    while not Path("/nonexistent/report.csv").exists():  # <- stops here
        time.sleep(0.5)  # <- stops here


@way("waiting", span=own_wait())
def polling_with_very_short_sleeps() -> None:
    """Its thread is never long without a core."""
    while not Path("/nonexistent/report.csv").exists():  # <- stops here
        time.sleep(0.002)  # <- stops here


@way("waiting", span=own_wait())
def signal_that_does_not_come() -> None:
    signal.pause()  # <- stops here


@way("waiting", span=own_wait())
def retries_without_an_end() -> None:
    """Fails at once each time, and sleeps."""
    while True:
        try:
            _connect()
            return
        except ConnectionError:
            time.sleep(1)  # <- stops here


def _connect() -> None:
    raise ConnectionRefusedError("not yet")
