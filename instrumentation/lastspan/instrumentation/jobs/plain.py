"""Jobs of plain code: `@job`, `with job(…)`, `progress(…)`; sync and async."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, TypeVar, overload

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from lastspan.semconv import attributes as a
from lastspan.semconv.duration import parse

from ..agent import Agent, agent, start
from ..guest import log
from ..registry.run import Run
from ..registry.spans import RUN_KEY

_log = log.Log(__name__)
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
    lastspan = agent()
    if lastspan is None:
        return
    try:
        run = otel_context.get_value(RUN_KEY)
        if not isinstance(run, Run):
            run = lastspan.spans.run_of(trace.get_current_span().get_span_context().span_id)
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
        self._open: list[_OpenJob] = []

    def __call__(self, function: _F) -> _F:
        """Decorate *function*: each call is a run."""
        name = self._name or str(getattr(function, "__qualname__", function))
        package = str(getattr(function, "__module__", "")).partition(".")[0]

        def begin() -> _OpenJob:
            return _OpenJob(self._run(name, package))

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                with begin():
                    return await function(*args, **kwargs)

            return run_async  # type: ignore[return-value]

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with begin():
                return function(*args, **kwargs)

        return run  # type: ignore[return-value]

    def __enter__(self) -> None:
        # In no variable: a frame in one of its own, or its caller's in one, lives on, with all that it holds.
        package = str(sys._getframe(1).f_globals.get("__name__")).partition(".")[0]
        self._open.append(_OpenJob(self._run(self._name or "job", package)))
        self._open[-1].__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        current = otel_context.get_value(RUN_KEY)
        # One job may be entered by several threads and tasks at once: leave the one that was entered here.
        entered = next((entered for entered in self._open if entered.run is current), self._open[-1])
        self._open.remove(entered)
        entered.__exit__(kind, error, tb)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, tb)

    def _run(self, name: str, package: str) -> Run:
        return Run(
            name, id=self._id, queue=self._queue, attempt=self._attempt, expected=self._expected, package=package
        )


class _OpenJob(AbstractContextManager[None]):
    """One run: its span, and the context in which it is the current one."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._span: Span | None = None
        self._token: Any = None

    def __enter__(self) -> None:
        try:
            lastspan = agent() or _load()
            if lastspan is None:
                return
            self._span = lastspan.start_span(self.run, kind=SpanKind.INTERNAL, attributes={a.JOB_NAME: self.run.name})
            context = trace.set_span_in_context(self._span)
            self._token = otel_context.attach(otel_context.set_value(RUN_KEY, self.run, context))
        except Exception as error:  # a guest never raises
            _log.fault("lastspan: a job was not recorded", error)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if self._token is not None:
                otel_context.detach(self._token)
            if self._span is None:
                return
            if error is not None:
                self._note(error, self._span)
            self._span.end()
        except Exception as fault:  # a guest never raises
            _log.fault("lastspan: the end of a job was not recorded", fault)

    def _note(self, error: BaseException, span: Span) -> None:
        self.run.outcome = outcome_of(error)
        if not isinstance(error, Exception):
            return
        name, message = type(error).__name__, _message(error)
        module = type(error).__module__
        span.add_event(
            "exception",
            {
                "exception.type": name if module == "builtins" else f"{module}.{type(error).__qualname__}",
                "exception.message": message,
                "exception.stacktrace": _stacktrace(error),
                "exception.escaped": "True",
            },
        )
        span.set_status(Status(StatusCode.ERROR, f"{name}: {message}" if message else name))


_CAUSES_MAX: Final = 4
_FRAMES_MAX: Final = 100


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # some errors cannot even be printed
        return ""


def _stacktrace(error: BaseException) -> str:
    """Write it as Python does, but without the lines of the source: the SDK's `record_exception` reads them from files.

    Of a long one the innermost frames are kept, and of errors that led to others the last ones.
    """
    blocks: list[str] = []
    shown: BaseException | None = error
    while shown is not None and len(blocks) < _CAUSES_MAX:
        frames: deque[str] = deque(maxlen=_FRAMES_MAX)
        tb = shown.__traceback__
        while tb is not None:
            code = tb.tb_frame.f_code
            frames.append(f'  File "{code.co_filename}", line {tb.tb_lineno}, in {code.co_name}')
            tb = tb.tb_next
        title = f"{type(shown).__name__}: {_message(shown)}"
        blocks.insert(0, "\n".join(("Traceback (most recent call last):", *frames, title)))
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)
    return "\n\nwhich led to\n\n".join(blocks)


def _load() -> Agent | None:
    try:
        return agent() or start()
    except Exception as error:  # a guest never raises
        _log.fault("lastspan could not be loaded", error)
        return None


def outcome_of(error: BaseException) -> str:
    """Return the outcome of a run that an exception ended."""
    if isinstance(error, asyncio.CancelledError):
        return "revoked"
    return "error" if isinstance(error, Exception) else "shutdown"


def _expected(value: str | float | timedelta | None) -> float | None:
    if value is None:
        return None
    try:
        return parse(value)
    except ValueError as error:  # a host must not fail to start over our option
        _log.warning("job(expected=…): %s; the value is ignored", error)
        return None
