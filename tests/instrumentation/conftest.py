"""A sink for each test that asks for one; no test leaves a thread of ours behind."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from tests.sink import Sink

import lastspan.instrumentation
from lastspan.instrumentation.guest import log

_OURS = os.path.dirname(lastspan.instrumentation.__file__)


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[logging.LogRecord]]]:
    """What we have said in the log so far."""
    caplog.set_level(logging.DEBUG, logger="lastspan.instrumentation")
    log.reset_after_fork()

    def said() -> list[logging.LogRecord]:
        log.write_now()
        return [record for record in caplog.records if record.name.startswith("lastspan.")]

    yield said
    log.reset_after_fork()


@pytest.fixture(autouse=True)
def no_thread_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the test that leaves a thread of ours: it would work on through the tests that follow.

    Nor is a line of the log left that a test before has not seen written.
    """
    log.reset_after_fork()
    before = our_threads()
    yield
    deadline = time.monotonic() + 10  # one that was told to end may be waiting for an answer
    while left := our_threads() - before:
        assert time.monotonic() < deadline, f"{request.node.nodeid} leaves {len(left)} threads of lastspan's"
        time.sleep(0.001)


def our_threads() -> set[int]:
    """Native threads that we started, by their outermost frame: `threading` does not know them."""
    found = set()
    for ident, frame in sys._current_frames().items():
        while frame.f_back is not None:
            frame = frame.f_back
        if frame.f_code.co_filename.startswith(_OURS):
            found.add(ident)
    return found
