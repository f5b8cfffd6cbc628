"""What lastspan says: queued at once, said by a thread of its own, and never waited for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from lastspan.instrumentation.guest import log

Said = Callable[[], list[logging.LogRecord]]


class Gate(logging.Handler):
    """Lets a line through when it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.lines: list[str] = []
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.entered.set()
        self.opened.wait(20)
        self.lines.append(record.getMessage())


@pytest.fixture
def gate() -> Iterator[Gate]:
    log.reset_after_fork()
    gate, logger = Gate(), logging.getLogger("lastspan.instrumentation.tests")
    logger.addHandler(gate)
    logger.setLevel(logging.INFO)
    yield gate
    gate.opened.set()
    log.flush(20)
    logger.removeHandler(gate)
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def ours() -> log.Log:
    return log.Log("lastspan.instrumentation.tests")


def test_lines_are_said_in_order_by_another_thread(gate: Gate, ours: log.Log) -> None:
    ours.info("%d", 1)
    ours.warning("%d", 2)
    ours.error("%d", 3)
    assert log.write_in_thread()
    gate.opened.set()
    log.flush(20)
    assert gate.lines == ["1", "2", "3"]


def test_a_handler_that_is_stuck_is_not_waited_for(gate: Gate, ours: log.Log) -> None:
    """One thread waits there; new lines give way to newer ones; nobody starts a second thread."""
    ours.info("first")
    assert log.write_in_thread()
    assert gate.entered.wait(20)
    before = threading.active_count()
    for number in range(1000):
        ours.info("%d", number)
        assert log.write_in_thread()
    log.flush(0)
    assert threading.active_count() == before
    gate.opened.set()
    log.flush(20)
    log.write_in_thread()
    log.flush(20)
    assert gate.lines == ["first", *map(str, range(900, 1000))]


def test_a_handler_that_raises_takes_one_line_along(gate: Gate, ours: log.Log) -> None:
    """Nothing is raised where lastspan is loaded, and the next line is said."""
    gate.opened.set()

    def odd(record: logging.LogRecord) -> bool:
        if record.getMessage() == "odd":
            raise LookupError
        return True

    gate.addFilter(odd)
    for _ in range(2):
        ours.info("odd")
        ours.info("plain")
        log.write_now()
    assert gate.lines == ["plain", "plain"]


def test_what_comes_as_the_thread_is_about_to_end_is_said_at_the_exit(gate: Gate, ours: log.Log) -> None:
    """The thread has seen that there is nothing more; it has not yet left its place."""
    gate.opened.set()
    leaves = log._writing
    assert leaves.acquire()
    ours.info("last")
    ends = threading.Timer(0.05, leaves.release)
    ends.start()
    log.flush(20)
    ends.join()
    assert gate.lines == ["last"]


def test_what_a_stuck_handler_keeps_from_being_said_is_on_standard_error(
    gate: Gate, ours: log.Log, capfd: pytest.CaptureFixture[str]
) -> None:
    """At the exit: what somebody should read."""
    ours.info("stuck")
    assert log.write_in_thread()
    assert gate.entered.wait(20)
    ours.info("for the curious")
    ours.warning("for everybody")
    log.flush(0)
    assert capfd.readouterr().err == "for everybody\n"


def test_our_thread_is_not_in_the_hosts_list(gate: Gate, ours: log.Log) -> None:
    """`logging` makes it known to `threading`; it is taken out again when it ends."""
    gate.opened.set()
    before = set(threading.enumerate())
    ours.info("a line")
    log.write_in_thread()
    log.flush(20)
    assert set(threading.enumerate()) == before


def test_a_fault_is_said_once(ours: log.Log, said: Said) -> None:
    """With its place; the next call may fail as this one did."""
    for _ in range(3):
        try:
            raise LookupError("which")
        except LookupError as error:
            ours.fault("it was not noted", error)
    [record] = said()
    assert record.levelno == logging.DEBUG
    assert record.getMessage().startswith("it was not noted: LookupError < test_a_fault_is_said_once, test_log.py:")
