"""lastspan's lines in the host's log: queued by any thread, written by a thread of their own.

A handler of the host's may wait for ever (a full pipe, a lock that nobody holds any more after a fork): neither a job
nor the watcher may wait with it. Where nothing gets through, old lines give way to new ones.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from opentelemetry.instrumentation.utils import suppress_instrumentation

from .errors import describe_error
from .native import NativeLock, native_ident, start_thread

_LINES_MAX: Final = 100


class _Line(NamedTuple):
    logger: str
    level: int
    text: str


class Log:
    """The lines of one module. Nothing here waits, whatever thread calls."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._faults: set[str] = set()

    def fault(self, what: str, error: BaseException) -> None:
        """Queue a line for those who look for a fault of ours; once, for the next call may fail as this one did."""
        try:
            if what not in self._faults:
                self._faults.add(what)
                self._queue(logging.DEBUG, "%s: %s", (what, describe_error(error)))
        except Exception:  # called where a guest catches all: at the end of the stack even this may fail
            return

    def info(self, text: str, *values: object) -> None:
        """Queue a line that says what was done."""
        self._queue(logging.INFO, text, values)

    def warning(self, text: str, *values: object) -> None:
        """Queue a line that somebody should read."""
        self._queue(logging.WARNING, text, values)

    def error(self, text: str, *values: object) -> None:
        """Queue a line about what does not work any more."""
        self._queue(logging.ERROR, text, values)

    def _queue(self, level: int, text: str, values: tuple[object, ...]) -> None:
        _lines.append(_Line(self._name, level, text % values))


_lines: deque[_Line] = deque(maxlen=_LINES_MAX)
_writing = NativeLock()


class _SdkFilter(logging.Filter):
    """Keeps back what OpenTelemetry says on the watcher's thread, as that a queue of spans is full."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        return native_ident() not in self.threads


_sdk_filter: Final = _SdkFilter()


def mute_sdk() -> None:
    """Silence the SDK on the watcher's thread, which calls it for spans and metrics: a log handler may wait."""
    for logger in _of_opentelemetry():
        logger.addFilter(_sdk_filter)


def unmute_sdk() -> None:
    """Restore its logging."""
    for logger in _of_opentelemetry():
        logger.removeFilter(_sdk_filter)


def _of_opentelemetry() -> list[logging.Logger]:
    named = list(logging.root.manager.loggerDict.items())
    return [one for name, one in named if isinstance(one, logging.Logger) and name.startswith("opentelemetry.")]


@contextlib.contextmanager
def mute_sdk_on_this_thread() -> Iterator[None]:
    """This thread is the watcher's."""
    _sdk_filter.threads.add(native_ident())
    try:
        yield
    finally:
        _sdk_filter.threads.discard(native_ident())


def write_in_thread() -> bool:
    """Write the lines in a thread, unless one is running; False: no thread can be started. Not for jobs' threads."""
    if not _lines or not _writing.acquire():
        return True
    speaking = _writing
    try:
        start_thread(lambda: _write(speaking))
    except Exception:  # no thread to be had: the lines wait
        speaking.release()
        return False
    return True


def write_now() -> None:
    """Write the lines now: while lastspan is loaded, before there are jobs."""
    while _lines:
        try:
            line = _lines.popleft()
        except IndexError:  # the thread has taken it
            return
        with contextlib.suppress(Exception):  # filters and handlers may raise what they like; the next line may pass
            logging.getLogger(line.logger).log(line.level, "%s", line.text)


def flush(seconds: float) -> None:
    """The process ends: wait for the lines to be written, at most *seconds*; the rest goes to standard error."""
    until = time.monotonic() + seconds
    while write_in_thread():
        if not _writing.acquire(max(until - time.monotonic(), 0.0)):
            break  # a handler is stuck
        _writing.release()
        if not _lines:  # else they came while the thread was about to end
            return
    for line in _lines.copy():
        if line.level >= logging.WARNING and _is_writable(2):
            os.write(2, f"{line.text}\n".encode()[: select.PIPE_BUF])


def reset_after_fork() -> None:
    """In a child process the lines and the thread are its parent's."""
    global _lines, _writing
    _lines, _writing = deque(maxlen=_LINES_MAX), NativeLock()
    _sdk_filter.threads.clear()


def _write(speaking: NativeLock) -> None:
    try:
        with suppress_instrumentation():  # a new thread: its context is empty
            write_now()
    finally:
        # `logging` asks `threading` for our name, which then lists us: for good, before Python 3.13.
        if isinstance(threading._active.get(native_ident()), threading._DummyThread):  # type: ignore[attr-defined]
            threading._active.pop(native_ident(), None)  # type: ignore[attr-defined]
        speaking.release()


def _is_writable(descriptor: int) -> bool:
    """Say whether a short write would not wait."""
    try:
        return bool(select.select([], [descriptor], [], 0)[1])
    except (OSError, ValueError):
        return False
