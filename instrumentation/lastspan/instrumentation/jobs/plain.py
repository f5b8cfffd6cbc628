"""Jobs of plain code: `@job`, `with job(…)`, `progress(…)`; sync and async."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, TypeVar, overload

from opentelemetry import context as otel_context
from opentelemetry.trace import SpanKind

from lastspan.semconv.duration import parse

from ..guest import log
from ..registry import current
from ..registry.run import Run
from ..registry.spans import RUN_KEY
from .facts import JobFacts, Tells
from .lifecycle import Attempt, Jobs

_log = log.Log(__name__)
_JOBS: Final = Jobs("python", kind=SpanKind.INTERNAL)
TELLS: Final = frozenset({Tells.CANCEL})
_F = TypeVar("_F", bound=Callable[..., Any])


@overload
def job(function: _F, /) -> _F: ...
@overload
def job(
    name: str | None = None,
    /,
    *,
    expected: str | float | timedelta | None = None,
    id: str = "",
    queue: str = "",
    attempt: int = 1,
) -> Job: ...
def job(
    name: Any = None,
    /,
    *,
    expected: str | float | timedelta | None = None,
    id: str = "",
    queue: str = "",
    attempt: int = 1,
) -> Any:
    """Mark a function, or a `with` block, as a job.

    *name*: of the job; a function's own by default. *expected*: how long it may take (`"10m"`, seconds, timedelta).
    *id*: what people know the run by; its span id by default. *attempt*: from 1.

        @job("nightly", expected="10m")
        def nightly(): …

        with job("import", id=batch.name): …
    """
    if callable(name):
        return Job(None, None, "", "", 1)(name)
    return Job(name, _expected(expected), id, queue, attempt)


def progress(done: float, total: float | None = None, message: str = "") -> None:
    """Say how far the current job is; outside of a job it does nothing.

    A batch that repeats the same lines looks like an endless loop unless it says that it gets on.
    """
    try:
        run = otel_context.get_value(RUN_KEY)  # of a job of plain code: the cheaper question
        if not isinstance(run, Run):
            run = current.current_run()
        if run is not None:
            run.advance(float(done), None if total is None else float(total), str(message))
    except Exception:  # a guest never raises
        return


class Job:
    """A job to be: call it with a function to decorate that, or enter it."""

    def __init__(self, name: str | None, expected: float | None, id: str, queue: str, attempt: int) -> None:
        _load()  # where a job is declared, not where it runs
        self._name = name
        self._expected = expected
        self._id = id
        self._queue = queue
        self._attempt = attempt
        self._open: list[Attempt] = []

    def __call__(self, function: _F) -> _F:
        """Decorate *function*: each call is a run."""
        name = self._name or str(getattr(function, "__qualname__", function))
        package = str(getattr(function, "__module__", "")).partition(".")[0]

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                with self._start(name, package):
                    return await function(*args, **kwargs)

            return run_async  # type: ignore[return-value]

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self._start(name, package):
                return function(*args, **kwargs)

        return run  # type: ignore[return-value]

    def __enter__(self) -> None:
        # In no variable: a frame in one of its own, or its caller's in one, lives on, with all that it holds.
        package = str(sys._getframe(1).f_globals.get("__name__")).partition(".")[0]
        self._open.append(self._start(self._name or "job", package))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        # One job may be entered by several threads and tasks at once: leave the one that was entered here.
        entered = next((entered for entered in self._open if entered.is_current), self._open[-1])
        self._open.remove(entered)
        entered.end(error=error)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, tb)

    def _start(self, name: str, package: str) -> Attempt:
        if current.process is None:
            _load()
        return _JOBS.start(
            lambda: JobFacts(
                name=name,
                id=self._id,
                queue=self._queue,
                attempt=self._attempt,
                expected=self._expected,
                package=package,
            )
        )


def _load() -> None:
    try:
        current.load()
    except Exception as error:  # a guest never raises
        _log.fault("lastspan could not be loaded", error)


def _expected(value: str | float | timedelta | None) -> float | None:
    if value is None:
        return None
    try:
        return parse(value)
    except ValueError as error:  # a host must not fail to start over our option
        _log.warning("job(expected=…): %s; the value is ignored", error)
        return None
