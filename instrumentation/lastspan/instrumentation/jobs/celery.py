"""Celery: each task attempt is a job; the parent process says what became of children that were killed.

With `opentelemetry-instrumentation-celery` active its consumer span is the job's span; otherwise we open one.
Child (or the only process, with threads, gevent, solo): task_prerun … task_postrun.
Parent of a prefork pool: task_received, task_failure (hard limit, worker lost), task_revoked.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import celery
from celery import signals, states
from celery.app.task import Context
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from lastspan.semconv import attributes as a
from lastspan.semconv.duration import parse

from .. import agent as lastspan
from ..guest import log
from ..guest.patches import Patches
from ..registry.children import ChildJob, JobEnd
from ..registry.run import Run
from ..registry.spans import RUN_KEY

_log = log.Log(__name__)

SYSTEM: Final = "celery"
_OUTCOMES: Final = {states.SUCCESS: "ok", states.RETRY: "retry", states.REVOKED: "revoked", states.IGNORED: "ok"}
_SIGNALS: Final = 64
"""As many as there are."""
_ENFORCES_HARD_LIMIT: Final = ("prefork", "gevent", "eventlet")
_VERSION: Final = tuple(int(part) for part in celery.__version__.split(".")[:2])
_VISIBILITY_TIMEOUT: Final = {"redis": 3600.0, "rediss": 3600.0, "sentinel": 3600.0, "sqs": 1800.0}
"""kombu's defaults, by transport, s."""
_SECONDS_MAX: Final = 1e9


class CeleryJobsInstrumentor(BaseInstrumentor):
    """Marks Celery's tasks as jobs."""

    _patches = Patches()

    def instrumentation_dependencies(self) -> Collection[str]:
        """Celery 5.3 and later."""
        return ("celery >= 5.3, < 6",)

    def _instrument(self, **kwargs: Any) -> None:
        if lastspan.start() is None:
            return
        for signal, receiver in _RECEIVERS:
            signal.connect(receiver, weak=False, dispatch_uid=_uid(receiver))
        # Before the official instrumentation's receivers: its span starts after ours has claimed it, and has not
        # ended when we learn how the task did.
        for signal in (signals.task_prerun, signals.task_postrun):
            with signal.lock:
                signal.receivers.insert(0, signal.receivers.pop())
                signal.sender_receivers_cache.clear()
        self._patches.when_imported("celery.worker.request", self._patch)

    def _patch(self, module: Any) -> None:
        self._patches.wrap(module.Request, {"on_failure": _watched_failure})
        if hasattr(module.Request, "_success_was_stored"):
            self._patches.wrap(module.Request, {"_success_was_stored": _watched_success})

    def _uninstrument(self, **kwargs: Any) -> None:
        for signal, receiver in _RECEIVERS:
            signal.disconnect(receiver, dispatch_uid=_uid(receiver))
        self._patches.restore()


class _OwnSpan:
    """A job span that we opened, and what to undo at its end."""

    __slots__ = ("span", "token")

    def __init__(self, span: Span, token: Any) -> None:
        self.span = span
        self.token = token


_pool = "prefork"
_parent_pid = 0
_consumer: Any = None
"""The parent's; its pool knows the children."""
_children: dict[int, Any] = {}
"""Pool processes by pid, also those that the pool has let go of; `_popen.returncode` says how one ended."""
_open: dict[tuple[str, int], tuple[Run, _OwnSpan | None]] = {}
"""Runs of this process by task id and identity of the request."""


def _guarded(receiver: Callable[..., None]) -> Callable[..., None]:
    """Keep our errors from Celery's log of failing receivers."""

    def guarded(**kwargs: Any) -> None:
        try:
            receiver(**kwargs)
        except Exception as error:  # a guest never raises
            _log.fault(f"lastspan: {receiver.__name__} failed", error)

    guarded.__name__ = receiver.__name__
    return guarded


@_guarded
def _on_worker_init(sender: Any = None, **_: Any) -> None:
    global _pool, _parent_pid
    chosen = getattr(sender, "pool_cls", None)
    name = chosen if isinstance(chosen, str) else getattr(chosen, "__module__", "")
    _pool = next((pool for pool in ("prefork", "thread", "gevent", "eventlet", "solo") if pool in name), "prefork")
    _parent_pid = os.getpid()


@_guarded
def _on_prerun(task_id: str = "", task: Any = None, **_: Any) -> None:
    agent = lastspan.agent()
    request = getattr(task, "request", None)
    if agent is None or request is None or getattr(request, "is_eager", False):
        return
    run = _run(task, task_id, request)
    own = None
    if _is_official_active():
        agent.begin(run)
    else:
        context = propagate.extract(request, getter=_RequestGetter())
        span = agent.start_span(run, kind=SpanKind.CONSUMER, attributes=_span_attributes(run), context=context)
        within = trace.set_span_in_context(span, context)
        own = _OwnSpan(span, otel_context.attach(otel_context.set_value(RUN_KEY, run, within)))
    _open[task_id, id(request)] = (run, own)


@_guarded
def _on_postrun(task_id: str = "", task: Any = None, state: str | None = None, retval: Any = None, **_: Any) -> None:
    agent = lastspan.agent()
    run, own = _open.pop((task_id, id(getattr(task, "request", None))), (None, None))
    if agent is None or run is None:
        return
    agent.spans.release()  # the official instrumentation opened no span after all
    if state is None and _is_ended_by_signal():
        agent.leave(run)
        run.outcome = "killed"  # for the span alone
    elif run.outcome is None:
        run.outcome = _interrupted(task_id) if state is None else _outcome(state, retval)
    if own is not None:
        if run.outcome in {"error", "timeout", "killed"}:
            own.span.set_status(Status(StatusCode.ERROR, run.outcome))
        otel_context.detach(own.token)
        own.span.end()


@_guarded
def _on_received(sender: Any = None, **_: Any) -> None:
    global _consumer
    agent = lastspan.agent()
    if agent is not None and _is_prefork_parent():
        _consumer = sender
        agent.watch_children(_assignments, _facts)


@_guarded
def _on_failure(sender: Any = None, task_id: str = "", exception: Any = None, **_: Any) -> None:
    if isinstance(exception, TimeLimitExceeded):
        outcome = "timeout"
    elif isinstance(exception, WorkerLostError):
        outcome = "killed"
    else:
        return
    agent = lastspan.agent()
    if agent is not None and _is_prefork_parent():
        attempt = _attempt(getattr(getattr(sender, "request", None), "retries", 0))
        agent.report(JobEnd(SYSTEM, task_id, getattr(sender, "name", ""), attempt, outcome, str(exception)))


def _watched_failure(original: Callable[..., Any]) -> Callable[..., Any]:
    """Celery sends no signal for a job whose process is lost where it gives the job back, or tries it again."""

    @functools.wraps(original)
    def on_failure(self: Any, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(self, exc_info, *args, **kwargs)
        finally:
            _on_lost_process(request=self, exc_info=exc_info)

    return on_failure


def _watched_success(original: Callable[..., Any]) -> Callable[..., Any]:
    """A process that is lost after it has stored its result has not lost its job."""

    @functools.wraps(original)
    def _success_was_stored(self: Any) -> Any:
        found = original(self)
        if found:
            _stored.add(str(self.id))
        return found

    return _success_was_stored


@_guarded
def _on_lost_process(request: Any, exc_info: Any) -> None:
    job_id = str(request.id)
    was_stored = job_id in _stored
    _stored.discard(job_id)
    agent = lastspan.agent()
    if agent is None or was_stored or not _is_prefork_parent() or not _is_loss(request, exc_info.exception):
        return
    attempt = _attempt((getattr(request, "request_dict", None) or {}).get("retries"))
    agent.report(JobEnd(SYSTEM, job_id, str(request.name), attempt, "killed", str(exc_info.exception)))


def _is_loss(request: Any, exception: Any) -> bool:
    """Say whether an attempt failed because its process did; newer billiards tell of one that exits by SystemExit."""
    exception = getattr(exception, "exc", exception)  # with its traceback as text, as it comes from the pool
    if isinstance(exception, (SystemExit, KeyboardInterrupt)):
        return not (getattr(request, "_already_revoked", False) or getattr(request, "_already_cancelled", False))
    return isinstance(exception, WorkerLostError)


_stored: set[str] = set()
"""Of lost processes: the jobs whose results are there."""


@_guarded
def _on_revoked(
    sender: Any = None, request: Any = None, terminated: bool = False, signum: Any = None, **_: Any
) -> None:
    agent = lastspan.agent()
    if agent is None or not terminated or request is None:
        return
    attempt = _attempt(getattr(request, "retries", 0))
    reason = f"revoked and terminated by {signum}"
    agent.report(JobEnd(SYSTEM, request.id, getattr(sender, "name", ""), attempt, "revoked", reason))


@_guarded
def _on_shutting_down(**_: Any) -> None:
    if (agent := lastspan.agent()) is not None:
        agent.say_stopping()


@_guarded
def _on_process_end(**_: Any) -> None:
    if (agent := lastspan.agent()) is not None:
        agent.goodbye()


_RECEIVERS: Final = (
    (signals.worker_init, _on_worker_init),
    (signals.task_prerun, _on_prerun),
    (signals.task_postrun, _on_postrun),
    (signals.task_received, _on_received),
    (signals.task_failure, _on_failure),
    (signals.task_revoked, _on_revoked),
    (signals.worker_shutting_down, _on_shutting_down),
    (signals.worker_process_shutdown, _on_process_end),
)


def _uid(receiver: Callable[..., None]) -> str:
    return f"lastspan{receiver.__name__}"


def _run(task: Any, task_id: str, request: Any) -> Run:
    delivery = getattr(request, "delivery_info", None)
    retries = getattr(task, "max_retries", None)
    acks_late = bool(getattr(task, "acks_late", False))
    attempt = _attempt(getattr(request, "retries", 0))
    broker = _broker(task.app)
    return Run(
        task.name,
        system=SYSTEM,
        id=task_id,
        queue=str(delivery.get("routing_key") or "") if isinstance(delivery, Mapping) else "",
        attempt=attempt,
        expected=_expected(task),
        timeout=_limit(task, request),
        redelivery_after=_redelivery_after(task.app, broker) if acks_late else None,
        acks_late=acks_late,
        max_attempts=None if retries is None else int(retries) + 1,
        on_lost=_on_lost(task, attempt),
        on_timeout=_on_timeout(task),
        broker=broker or None,
        package=(getattr(task, "__module__", "") or "").partition(".")[0],
    )


def _expected(task: Any) -> float | None:
    """`@app.task(lastspan_expected="10m")`."""
    declared = getattr(task, "lastspan_expected", None)
    try:
        return None if declared is None else parse(declared)
    except ValueError:
        return None


def _limit(task: Any, request: Any) -> float | None:
    """The hard limit, where the pool enforces one: the message's, the task's, or the worker's."""
    if _pool not in _ENFORCES_HARD_LIMIT:
        return None
    limits = getattr(request, "timelimit", None)
    own = limits[0] if isinstance(limits, list | tuple) and limits else None
    limit = _number(own) or getattr(task, "time_limit", None) or task.app.conf.task_time_limit
    return _number(limit) or None


def _attempt(retries: object) -> int:
    """From 1; what a message says may be anything."""
    return retries + 1 if isinstance(retries, int) and retries > 0 else 1


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value < _SECONDS_MAX else None


def _on_lost(task: Any, attempt: int) -> str:
    """What Celery does with the message of a job whose child was killed (celery/worker/request.py, `on_failure`)."""
    is_retried = bool(getattr(task, "retry_on_worker_lost", False))  # from 5.7 on
    retries = getattr(task, "max_retries", None)
    may_retry = retries is None or attempt <= int(retries)
    if is_retried and may_retry:
        return "retry"
    if not task.acks_late:
        return "ack"
    if task.reject_on_worker_lost and not is_retried:
        return "requeue"
    return "ack" if _acks(task, "acks_on_failure") else "reject"


def _on_timeout(task: Any) -> str | None:
    """The same, of a job beyond its hard limit (`on_timeout`, and `on_failure` after it)."""
    if not task.acks_late or _acks(task, "acks_on_timeout"):
        return "ack"
    if _pool != "prefork" and _VERSION < (5, 7):
        return None  # neither: the message stays as it is until the connection ends
    return "requeue" if _VERSION >= (5, 5) else "reject"


def _acks(task: Any, name: str) -> bool:
    """One flag for both before 5.7."""
    return bool(getattr(task, name, getattr(task, "acks_on_failure_or_timeout", True)))


def _broker(app: Any) -> str:
    """The name of the transport: what stands before :// in the address of the first broker."""
    url = app.conf.broker_read_url or app.conf.broker_url or ""
    first = url[0] if isinstance(url, (list, tuple)) and url else url
    return str(first).partition("://")[0].partition("+")[0].lower() if "://" in str(first) else ""


def _redelivery_after(app: Any, broker: str) -> float | None:
    default = _VISIBILITY_TIMEOUT.get(broker)
    options = app.conf.broker_transport_options or {}
    return _number(options.get("visibility_timeout", default)) if default is not None else None


def _interrupted(task_id: str) -> str:
    """How a task ended whose postrun comes without a state: under way, while the exception that ends it passes by."""
    kind = sys.exc_info()[0]
    if kind is not None and kind.__name__ == "Timeout" and kind.__module__.partition(".")[0] in {"gevent", "eventlet"}:
        return "timeout"  # the hard limit of these pools
    # Revoked ones are known where they are revoked: in this process, unless it is a child of a prefork pool.
    revoked = getattr(sys.modules.get("celery.worker.state"), "revoked", ())
    return "revoked" if task_id in revoked else "killed"


def _is_ended_by_signal() -> bool:
    """Say whether a signal ends this child of a prefork pool in the middle of its job: revoked, late, shut down …

    Celery's children raise SystemExit then, with the signal in its code (billiard/common.py, `_shutdown_cleanup`), and
    end by it for sure. The parent sent the signal, or sees the child go: it knows why, and tells (registry.children).
    """
    error = sys.exc_info()[1]
    code = error.code if isinstance(error, SystemExit) else None
    return _pool == "prefork" and os.getpid() != _parent_pid and type(code) is int and -256 < code <= -256 + _SIGNALS


def _outcome(state: str, retval: Any) -> str:
    if state == states.FAILURE and isinstance(retval, SoftTimeLimitExceeded):
        return "timeout"
    return _OUTCOMES.get(state, "error")


def _span_attributes(run: Run) -> dict[str, Any]:
    return {
        a.JOB_NAME: run.name,
        "messaging.system": SYSTEM,
        "messaging.operation.type": "process",
        "messaging.destination.name": run.queue,
        "messaging.message.id": run.id,
    }


class _RequestGetter(Getter[Any]):
    """Reads trace context from a task's request, whose headers Celery makes attributes."""

    def get(self, carrier: Any, key: str) -> list[str] | None:
        value = getattr(carrier, key, None)
        if value is None:
            value = (getattr(carrier, "headers", None) or {}).get(key)
        return [value] if isinstance(value, str) else None

    def keys(self, carrier: Any) -> list[str]:
        return []


def _is_official_active() -> bool:
    module = sys.modules.get("opentelemetry.instrumentation.celery")
    return module is not None and bool(module.CeleryInstrumentor().is_instrumented_by_opentelemetry)


def _is_prefork_parent() -> bool:
    return _pool == "prefork" and os.getpid() == _parent_pid


def _assignments() -> Sequence[ChildJob]:
    """The tasks that children of this pool run now; asked by the watcher's thread."""
    state = sys.modules.get("celery.worker.state")  # this is the watcher's thread: it imports nothing
    if state is None:
        return ()
    for _ in range(3):
        try:
            requests = list(state.active_requests)
        except RuntimeError:  # a weak set that changed while we read it
            continue
        running = [request for request in requests if request.worker_pid and request.worker_pid != _parent_pid]
        _remember_children({request.worker_pid for request in running})
        return [_assignment(request) for request in running]
    return ()


def _assignment(request: Any) -> ChildJob:
    pid, started = request.worker_pid, getattr(request, "time_start", None)
    message = getattr(request, "request_dict", None) or {}
    return ChildJob(
        pid,
        SYSTEM,
        request.id,
        request.name,
        _attempt(message.get("retries")),
        _returncode(pid),
        max(time.time() - started, 0.0) if started else 0.0,
        str(message.get("traceparent") or ""),
    )


def _facts(job: ChildJob) -> Run | None:
    """What the parent knows of a job that a child runs: as much as the child would; asked by the watcher's thread."""
    state = sys.modules.get("celery.worker.state")  # it imports nothing
    request = None if state is None else state.requests.get(job.job_id)
    if request is None:
        return None
    context = Context(request.request_dict)
    return _run(request.task, job.job_id, context)


def _remember_children(wanted: set[int]) -> None:
    pool = getattr(getattr(_consumer, "pool", None), "_pool", None)
    alive = {process.pid: process for process in list(getattr(pool, "_pool", None) or ())}
    _children.update(alive)
    for pid in _children.keys() - wanted - alive.keys():
        del _children[pid]


def _returncode(pid: int) -> int | None:
    return getattr(getattr(_children.get(pid), "_popen", None), "returncode", None)
