"""A library's own wait for a lock, as a span of the job.

The span begins with the first try that failed: a lock that is free costs no span.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Span, Status, StatusCode

from lastspan.semconv import attributes as a

from ..guest import log
from ..registry import current

if TYPE_CHECKING:
    from ..registry.run import Run

_log = log.Log(__name__)

_current: ContextVar[LockWait | None] = ContextVar("lastspan-lock-wait", default=None)


class LockWait:
    """One call that may have to wait for a lock; entered around it. Never raises into it, never swallows."""

    __slots__ = ("_began_ns", "_describe", "_name", "_span", "_token", "got", "run", "subject")

    def __init__(self, run: Run, subject: object, name: str, describe: Callable[[], Mapping[str, Any] | None]) -> None:
        self.run = run
        self.subject = subject
        """The library's lock."""
        self.got = True
        """False: the call came back without the lock."""
        self._name = name
        self._describe = describe
        """The span's attributes; None: the call does not wait. Asked when the first try has failed."""
        self._began_ns = time.time_ns()
        self._span: Span | None = None
        self._token: Token[LockWait | None] | None = None

    def __enter__(self) -> LockWait:
        self._token = _current.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if self._span is not None:
                self._end(self._span, kind)
            if self._token is not None:
                _current.reset(self._token)
        except Exception as fault:  # a guest never raises
            _log.fault("lastspan: the end of a wait for a lock was not recorded", fault)
        finally:
            # A context that was copied meanwhile, as by a connection that was opened, keeps us for as long as it lives.
            self.subject, self._describe, self._span, self._token = None, _nothing, None, None

    def failed(self) -> None:
        """A try has failed: from now on it waits."""
        process = current.process
        if process is None or self._span is not None or not is_instrumentation_enabled():
            return
        if (attributes := self._describe()) is not None:
            # Not made the current span: it stays the leaf, however often the library asks the server meanwhile.
            self._span = process.providers.job_tracer().start_span(
                self._name, attributes=dict(attributes), start_time=self._began_ns
            )

    @property
    def has_span(self) -> bool:
        """A try has failed before."""
        return self._span is not None

    def rename(self, key: str | None) -> None:
        """The lock goes by this key now."""
        if key is not None and self._span is not None:
            self._span.set_attribute(a.LOCK_KEY, key)

    def _end(self, span: Span, kind: type[BaseException] | None) -> None:
        if kind is not None:
            span.set_status(Status(StatusCode.ERROR, kind.__name__))
        elif not self.got:
            span.set_status(Status(StatusCode.ERROR, "not acquired"))
        span.end()


def _nothing() -> None:
    return None


def current_lock_wait(subject: object) -> LockWait | None:
    """Return the wait for *subject* that the calling code is in."""
    wait = _current.get()
    return wait if wait is not None and wait.subject is subject else None


def limit(seconds: float | None) -> dict[str, Any]:
    """Return the attributes that say how long a call may wait; None, infinite: for ever."""
    is_unbounded = seconds is None or math.isinf(seconds)
    return {a.CALL_UNBOUNDED: True} if is_unbounded else {a.CALL_TIMEOUT: float(seconds)}  # type: ignore[arg-type]
