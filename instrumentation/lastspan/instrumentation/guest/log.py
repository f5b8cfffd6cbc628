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

from .failures import told_of
from .native import OneAtATime, native_ident, start_thread

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
                self._queue(logging.DEBUG, "%s: %s", (what, told_of(error)))
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
_speaking = OneAtATime()


class _Quiet(logging.Filter):
    """Keeps back what OpenTelemetry says on the watcher's thread, as that a queue of spans is full."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        return native_ident() not in self.threads


_quiet: Final = _Quiet()


def hush() -> None:
    """Let the SDK, which the watcher calls for spans and metrics, say nothing on its thread: a handler may wait."""
    for logger in _of_opentelemetry():
        logger.addFilter(_quiet)


def unhush() -> None:
    """Let it speak again."""
    for logger in _of_opentelemetry():
        logger.removeFilter(_quiet)


def _of_opentelemetry() -> list[logging.Logger]:
    named = list(logging.root.manager.loggerDict.items())
    return [one for name, one in named if isinstance(one, logging.Logger) and name.startswith("opentelemetry.")]


@contextlib.contextmanager
def quiet_thread() -> Iterator[None]:
    """This thread is the watcher's."""
    _quiet.threads.add(native_ident())
    try:
        yield
    finally:
        _quiet.threads.discard(native_ident())


def speak() -> bool:
    """Have the lines said by a thread, unless one is at it; False: no thread can be started. Not for jobs' threads."""
    if not _lines or not _speaking.enter():
        return True
    speaking = _speaking
    try:
        start_thread(lambda: _speak(speaking))
    except Exception:  # no thread to be had: the lines wait
        speaking.leave()
        return False
    return True


def speak_now() -> None:
    """Say the lines here and now: while lastspan is loaded, before there are jobs."""
    while _lines:
        try:
            line = _lines.popleft()
        except IndexError:  # the thread has taken it
            return
        with contextlib.suppress(Exception):  # filters and handlers may raise what they like; the next line may pass
            logging.getLogger(line.logger).log(line.level, "%s", line.text)


def finish(seconds: float) -> None:
    """The process ends: wait for the lines to be said, at most *seconds*; what cannot be goes to standard error."""
    until = time.monotonic() + seconds
    while speak():
        if not _speaking.enter(max(until - time.monotonic(), 0.0)):
            break  # a handler is stuck
        _speaking.leave()
        if not _lines:  # else they came while the thread was about to end
            return
    for line in _lines.copy():
        if line.level >= logging.WARNING and _is_writable(2):
            os.write(2, f"{line.text}\n".encode()[: select.PIPE_BUF])


def forget() -> None:
    """In a child process the lines are its parent's to say, and so is the thread."""
    global _lines, _speaking
    _lines, _speaking = deque(maxlen=_LINES_MAX), OneAtATime()
    _quiet.threads.clear()


def _speak(speaking: OneAtATime) -> None:
    try:
        with suppress_instrumentation():  # a new thread: its context is empty
            speak_now()
    finally:
        # `logging` asks `threading` for our name, which then lists us: for good, before Python 3.13.
        if isinstance(threading._active.get(native_ident()), threading._DummyThread):  # type: ignore[attr-defined]
            threading._active.pop(native_ident(), None)  # type: ignore[attr-defined]
        speaking.leave()


def _is_writable(descriptor: int) -> bool:
    """Say whether a short write would not wait."""
    try:
        return bool(select.select([], [descriptor], [], 0)[1])
    except (OSError, ValueError):
        return False
