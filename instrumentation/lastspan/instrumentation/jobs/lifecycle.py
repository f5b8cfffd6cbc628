"""The life of an attempt in this process: its span, the context in which it is the current one, its end.

Nothing here raises into a framework, whatever its module hands over.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from lastspan.semconv import attributes as a
from lastspan.semconv.vocabulary import Outcome

from ..guest import log
from ..registry import current
from ..registry.children import ChildJob, JobEnd
from ..registry.current import ProcessJobs
from ..registry.run import Run
from ..registry.spans import RUN_KEY
from .facts import JobFacts

_log = log.Log(__name__)

_OPEN_MAX: Final = 10_000
"""Attempts of one framework that are found by key; the oldest give way: nobody ever told their end."""


class Jobs:
    """The jobs of one framework: what its module tells lastspan."""

    def __init__(self, system: str, *, official: str | None = None, kind: SpanKind = SpanKind.CONSUMER) -> None:
        self._system = system
        self._official = official
        self._kind = kind
        self._open: dict[Hashable, Attempt] = {}

    def start(self, facts: Callable[[], JobFacts], *, key: Hashable = None) -> Attempt:
        """An attempt starts, here and now.

        Its span is the one that the official instrumentation opens next on this thread, else one of ours.
        *facts* is asked at once; where it fails, the job runs unseen. *key*: for an end that is told elsewhere.
        """
        process = current.process
        if process is None:
            return Attempt()
        try:
            attempt = self._start(process, facts())
            if key is not None:
                self._keep(key, attempt)
            return attempt
        except Exception as error:  # a guest never raises
            _log.fault("lastspan: a job was not recorded", error)
            return Attempt()

    def end(self, key: Hashable, outcome: Outcome | None = None, error: BaseException | None = None) -> None:
        """Tell the end of an attempt that was started with a key; twice is once."""
        attempt = self._open.pop(key, None)
        if attempt is not None:
            attempt.end(outcome, error)

    def leave(self, key: Hashable) -> None:
        """The process is being ended in the middle of an attempt: the parent knows why, and tells its end."""
        attempt = self._open.pop(key, None)
        if attempt is not None:
            attempt.leave()

    def ended_elsewhere(
        self,
        job: JobFacts,
        outcome: Outcome,
        *,
        reason: str,
        pid: int | None = None,
        signal: int | None = None,
        code: int | None = None,
    ) -> None:
        """A parent learned how an attempt ended whose process is gone, or about to be. Told twice is once.

        Of *job* its name, id and attempt are told, and *reason* in the framework's words.
        """
        if (process := current.process) is not None:
            process.report(
                JobEnd(self._system, job.id, job.name, job.attempt, outcome.value, reason, pid, signal, code)
            )

    def watch_children(
        self, running: Callable[[], Sequence[ChildJob]], facts: Callable[[ChildJob], JobFacts | None]
    ) -> None:
        """This process is the parent of processes that run jobs; cheap, to be called whenever that shows.

        *running*: which child runs which job now. *facts*: all that is known of one of them. Both are asked by the
        watcher's thread: they may not import, nor wait.
        """
        if (process := current.process) is not None:
            process.watch_children(running, partial(self._run_of_child, facts))

    def carrier(self) -> dict[str, str]:
        """Return what a message takes along, so that its job belongs to the trace of whoever enqueues it now."""
        found: dict[str, str] = {}
        try:
            propagate.inject(found)
        except Exception as error:  # a guest never raises
            _log.fault("lastspan: a job's trace was not sent along", error)
        return found

    def stopping(self) -> None:
        """The process was asked to stop and still runs jobs: what it leaves open, later, is not lost."""
        if (process := current.process) is not None:
            process.report_stopping()

    def shutdown(self) -> None:
        """The process ends now, in a way that runs no `atexit`; waits at most half a second for what is to be sent."""
        if (process := current.process) is not None:
            process.shutdown()

    def _start(self, process: ProcessJobs, facts: JobFacts) -> Attempt:
        run = self._run(facts)
        if self._is_official_active():
            process.begin(run)
            return Attempt(run)
        context = propagate.extract(facts.carrier, getter=_STRINGS) if facts.carrier else None
        span = process.start_span(run, kind=self._kind, attributes=self._attributes(facts), context=context)
        within = trace.set_span_in_context(span, context)
        return Attempt(run, span, otel_context.attach(otel_context.set_value(RUN_KEY, run, within)))

    def _run(self, facts: JobFacts) -> Run:
        return Run(
            facts.name,
            system=self._system,
            id=facts.id,
            queue=facts.queue,
            attempt=facts.attempt,
            expected=facts.expected,
            timeout=facts.timeout,
            redelivery_after=facts.redelivery_after,
            acks_late=facts.acks_late,
            max_attempts=facts.max_attempts,
            on_lost=facts.on_lost,
            on_timeout=facts.on_timeout,
            broker=facts.broker,
            package=facts.package,
        )

    def _run_of_child(self, facts: Callable[[ChildJob], JobFacts | None], job: ChildJob) -> Run | None:
        found = facts(job)
        return None if found is None else self._run(found)

    def _is_official_active(self) -> bool:
        if self._official is None:
            return False
        name, _, instrumentor = self._official.partition(":")
        module = sys.modules.get(name)
        return module is not None and bool(getattr(module, instrumentor)().is_instrumented_by_opentelemetry)

    def _attributes(self, facts: JobFacts) -> dict[str, Any]:
        if self._kind is not SpanKind.CONSUMER:
            return {a.JOB_NAME: facts.name}
        return {
            a.JOB_NAME: facts.name,
            "messaging.system": self._system,
            "messaging.operation.type": "process",
            "messaging.destination.name": facts.queue,
            "messaging.message.id": facts.id,
        }

    def _keep(self, key: Hashable, attempt: Attempt) -> None:
        self._open[key] = attempt
        if len(self._open) > _OPEN_MAX:
            with suppress(StopIteration, RuntimeError):  # another thread changed it meanwhile: the next one forgets
                self._open.pop(next(iter(self._open)), None)


class Attempt:
    """One attempt under way: ended once, by `end` or as a `with` block."""

    __slots__ = ("_is_over", "_run", "_span", "_token")

    def __init__(self, run: Run | None = None, span: Span | None = None, token: Any = None) -> None:
        self._run = run
        """None: it runs unseen."""
        self._span = span
        """Ours; None: the official instrumentation's, which ends it."""
        self._token = token
        self._is_over = False

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end(error=error)

    @property
    def is_current(self) -> bool:
        """Say whether the calling code is part of it."""
        return self._run is not None and otel_context.get_value(RUN_KEY) is self._run

    def end(self, outcome: Outcome | None = None, error: BaseException | None = None) -> None:
        """It ended, here and now; None: as *error* says, or else the status that its span was given."""
        if self._run is None or self._is_over:
            return
        self._is_over = True
        try:
            outcome = outcome or (None if error is None else outcome_of(error))
            if self._run.outcome is None and outcome is not None:
                self._run.outcome = outcome.value
            if self._span is None:
                self._release()
            else:
                self._end_span(self._span, outcome, error)
        except Exception as fault:  # a guest never raises
            _log.fault("lastspan: the end of a job was not recorded", fault)

    def leave(self) -> None:
        """The process is being ended in the middle of it: it stays open, for the parent to tell its end."""
        process = current.process
        if process is not None and self._run is not None and not self._is_over:
            process.interrupt(self._run)
        self.end(Outcome.KILLED)  # for the span alone

    def _release(self) -> None:
        """Take the claim back, if the official instrumentation opened no span after all."""
        if (process := current.process) is not None:
            process.spans.release()

    def _end_span(self, span: Span, outcome: Outcome | None, error: BaseException | None) -> None:
        _detach(self._token)
        if isinstance(error, Exception):
            _note(error, span)
        elif outcome in _FAILED:
            span.set_status(Status(StatusCode.ERROR, outcome.value))
        span.end()


def _detach(token: Any) -> None:
    try:
        otel_context._RUNTIME_CONTEXT.detach(token)
    except Exception:  # it ended in another context than it began in, of which `otel_context.detach` would log an error
        return


_FAILED: Final = frozenset({Outcome.ERROR, Outcome.TIMEOUT, Outcome.KILLED})


def outcome_of(error: BaseException) -> Outcome:
    """Return the outcome of an attempt that an exception ended."""
    if isinstance(error, asyncio.CancelledError):
        return Outcome.REVOKED
    return Outcome.ERROR if isinstance(error, Exception) else Outcome.SHUTDOWN


class _Strings(Getter[Any]):
    """Reads trace context from what came with a message, which may be anything."""

    def get(self, carrier: Any, key: str) -> list[str] | None:
        value = carrier.get(key)
        return [value] if isinstance(value, str) else None

    def keys(self, carrier: Any) -> list[str]:
        return list(carrier)


_STRINGS: Final = _Strings()


# --- the exception that ended it ---------------------------------------------------------------------------------

_CAUSES_MAX: Final = 4
_FRAMES_MAX: Final = 100


def _note(error: Exception, span: Span) -> None:
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
