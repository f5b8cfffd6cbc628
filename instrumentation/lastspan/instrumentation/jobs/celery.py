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
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import celery
from celery import signals, states
from celery.app.task import Context
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError

from lastspan.semconv.duration import parse

from ..guest.patches import Patches
from . import ChildJob, JobFacts, JobInstrumentor, OnLost, Outcome, Tells, guarded

_OUTCOMES: Final = {
    states.SUCCESS: Outcome.OK,
    states.IGNORED: Outcome.OK,
    states.RETRY: Outcome.RETRY,
    states.REVOKED: Outcome.REVOKED,
}
_SIGNALS: Final = 64
"""As many as there are."""
_POOLS: Final = ("prefork", "thread", "gevent", "eventlet", "solo")
_ENFORCES_HARD_LIMIT: Final = ("prefork", "gevent", "eventlet")
_VERSION: Final = tuple(int(part) for part in celery.__version__.split(".")[:2])
_VISIBILITY_TIMEOUT: Final = {"redis": 3600.0, "rediss": 3600.0, "sentinel": 3600.0, "sqs": 1800.0}
"""kombu's defaults, by transport, s."""
_SECONDS_MAX: Final = 1e9


class CeleryJobsInstrumentor(JobInstrumentor):
    """Marks Celery's tasks as jobs."""

    system = "celery"
    requires = ("celery >= 5.3, < 6",)
    official = "opentelemetry.instrumentation.celery:CeleryInstrumentor"
    tells = frozenset(Tells)

    def hook(self, patches: Patches) -> None:
        """Signals; and where Celery sends none, two methods of its requests."""
        self._pool = "prefork"
        self._parent_pid = 0
        self._consumer: Any = None
        """The parent's; its pool knows the children."""
        self._children: dict[int, Any] = {}
        """Pool processes by pid, also those that the pool has let go of; `_popen.returncode` says how one ended."""
        self._stored: set[str] = set()
        """Of lost processes: the jobs whose results are there."""
        for signal, receiver in self._receivers():
            signal.connect(receiver, weak=False, dispatch_uid=_uid(receiver))
        # Before the official instrumentation's receivers: its span starts after ours has claimed it, and has not
        # ended when we learn how the task did.
        for signal in (signals.task_prerun, signals.task_postrun):
            with signal.lock:
                signal.receivers.insert(0, signal.receivers.pop())
                signal.sender_receivers_cache.clear()
        patches.when_imported("celery.worker.request", lambda module: self._patch(module.Request, patches))

    def _patch(self, request: Any, patches: Patches) -> None:
        patches.wrap(request, {"on_failure": self._watched_failure})
        if hasattr(request, "_success_was_stored"):
            patches.wrap(request, {"_success_was_stored": self._watched_success})

    def unhook(self) -> None:
        """Disconnect the signals."""
        for signal, receiver in self._receivers():
            signal.disconnect(receiver, dispatch_uid=_uid(receiver))

    def _receivers(self) -> tuple[tuple[Any, Callable[..., None]], ...]:
        return (
            (signals.before_task_publish, self._on_publish),
            (signals.worker_init, self._on_worker_init),
            (signals.task_prerun, self._on_prerun),
            (signals.task_postrun, self._on_postrun),
            (signals.task_received, self._on_received),
            (signals.task_failure, self._on_failure),
            (signals.task_revoked, self._on_revoked),
            (signals.worker_shutting_down, self._on_shutting_down),
            (signals.worker_process_shutdown, self._on_process_end),
        )

    # --- who enqueues --------------------------------------------------------------------------------------------

    @guarded
    def _on_publish(self, headers: Any = None, **_: Any) -> None:
        if isinstance(headers, dict):  # what the official instrumentation writes goes before ours
            for name, value in self.jobs.carrier().items():
                headers.setdefault(name, value)

    # --- where the task runs -------------------------------------------------------------------------------------

    @guarded
    def _on_prerun(self, task_id: str = "", task: Any = None, **_: Any) -> None:
        request = getattr(task, "request", None)
        if request is not None and not getattr(request, "is_eager", False):
            self.jobs.start(lambda: self._facts(task, task_id, request), key=(task_id, id(request)))

    @guarded
    def _on_postrun(
        self, task_id: str = "", task: Any = None, state: str | None = None, retval: Any = None, **_: Any
    ) -> None:
        key = (task_id, id(getattr(task, "request", None)))
        if state is None and self._is_ended_by_signal():
            self.jobs.leave(key)
        else:
            self.jobs.end(key, _interrupted(task_id) if state is None else _outcome(state, retval))

    def _facts(self, task: Any, task_id: str, request: Any) -> JobFacts:
        delivery = getattr(request, "delivery_info", None)
        retries = getattr(task, "max_retries", None)
        acks_late = bool(getattr(task, "acks_late", False))
        attempt = _attempt(getattr(request, "retries", 0))
        broker = _broker(task.app)
        return JobFacts(
            name=task.name,
            id=task_id,
            queue=str(delivery.get("routing_key") or "") if isinstance(delivery, Mapping) else "",
            attempt=attempt,
            expected=_expected(task),
            timeout=_limit(task, request, self._pool),
            redelivery_after=_redelivery_after(task.app, broker) if acks_late else None,
            acks_late=acks_late,
            max_attempts=None if retries is None else int(retries) + 1,
            on_lost=_on_lost(task, attempt),
            on_timeout=_on_timeout(task, self._pool),
            broker=broker or None,
            package=(getattr(task, "__module__", "") or "").partition(".")[0],
            carrier=_carrier(request),
        )

    def _is_ended_by_signal(self) -> bool:
        """Say whether a signal ends this child of a prefork pool in the middle of its job: revoked, late, shut down …

        Celery's children raise SystemExit then, with the signal in its code (billiard/common.py, `_shutdown_cleanup`),
        and end by it for sure. The parent sent the signal, or sees the child go: it knows why, and tells.
        """
        error = sys.exc_info()[1]
        code = error.code if isinstance(error, SystemExit) else None
        is_signal = type(code) is int and -256 < code <= -256 + _SIGNALS
        return is_signal and self._pool == "prefork" and os.getpid() != self._parent_pid

    @guarded
    def _on_process_end(self, **_: Any) -> None:
        self.jobs.shutdown()

    # --- in the parent -------------------------------------------------------------------------------------------

    @guarded
    def _on_worker_init(self, sender: Any = None, **_: Any) -> None:
        chosen = getattr(sender, "pool_cls", None)
        name = chosen if isinstance(chosen, str) else getattr(chosen, "__module__", "")
        self._pool = next((pool for pool in _POOLS if pool in name), "prefork")
        self._parent_pid = os.getpid()

    @guarded
    def _on_shutting_down(self, **_: Any) -> None:
        self.jobs.stopping()

    @guarded
    def _on_received(self, sender: Any = None, **_: Any) -> None:
        if self._is_prefork_parent():
            self._consumer = sender
            self.jobs.watch_children(self._running, self._facts_of)

    @guarded
    def _on_failure(self, sender: Any = None, task_id: str = "", exception: Any = None, **_: Any) -> None:
        if not self._is_prefork_parent() or not isinstance(exception, TimeLimitExceeded | WorkerLostError):
            return
        attempt = _attempt(getattr(getattr(sender, "request", None), "retries", 0))
        self.jobs.ended_elsewhere(
            JobFacts(name=getattr(sender, "name", ""), id=task_id, attempt=attempt),
            Outcome.TIMEOUT if isinstance(exception, TimeLimitExceeded) else Outcome.KILLED,
            reason=str(exception),
        )

    @guarded
    def _on_revoked(
        self, sender: Any = None, request: Any = None, terminated: bool = False, signum: Any = None, **_: Any
    ) -> None:
        if terminated and request is not None:
            attempt = _attempt(getattr(request, "retries", 0))
            job = JobFacts(name=getattr(sender, "name", ""), id=request.id, attempt=attempt)
            self.jobs.ended_elsewhere(job, Outcome.REVOKED, reason=f"revoked and terminated by {signum}")

    def _watched_failure(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Celery sends no signal for a job whose process is lost where it gives the job back, or tries it again."""

        @functools.wraps(original)
        def on_failure(request: Any, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return original(request, exc_info, *args, **kwargs)
            finally:
                self._on_lost_process(request, exc_info)

        return on_failure

    def _watched_success(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """A process that is lost after it has stored its result has not lost its job."""

        @functools.wraps(original)
        def _success_was_stored(request: Any) -> Any:
            found = original(request)
            if found:
                self._stored.add(str(request.id))
            return found

        return _success_was_stored

    @guarded
    def _on_lost_process(self, request: Any, exc_info: Any) -> None:
        job_id = str(request.id)
        was_stored = job_id in self._stored
        self._stored.discard(job_id)
        if was_stored or not self._is_prefork_parent() or not _is_loss(request, exc_info.exception):
            return
        attempt = _attempt((getattr(request, "request_dict", None) or {}).get("retries"))
        job = JobFacts(name=str(request.name), id=job_id, attempt=attempt)
        self.jobs.ended_elsewhere(job, Outcome.KILLED, reason=str(exc_info.exception))

    def _is_prefork_parent(self) -> bool:
        return self._pool == "prefork" and os.getpid() == self._parent_pid

    def _running(self) -> Sequence[ChildJob]:
        """The tasks that children of this pool run now."""
        state = sys.modules.get("celery.worker.state")  # this is the watcher's thread: it imports nothing
        if state is None:
            return ()
        for _ in range(3):
            try:
                requests = list(state.active_requests)
            except RuntimeError:  # a weak set that changed while we read it
                continue
            running = [one for one in requests if one.worker_pid and one.worker_pid != self._parent_pid]
            self._remember_children({request.worker_pid for request in running})
            return [self._child_job(request) for request in running]
        return ()

    def _child_job(self, request: Any) -> ChildJob:
        pid, started = request.worker_pid, getattr(request, "time_start", None)
        message = getattr(request, "request_dict", None) or {}
        return ChildJob(
            pid,
            self.system,
            request.id,
            request.name,
            _attempt(message.get("retries")),
            getattr(getattr(self._children.get(pid), "_popen", None), "returncode", None),
            max(time.time() - started, 0.0) if started else 0.0,
            str(message.get("traceparent") or ""),
        )

    def _facts_of(self, job: ChildJob) -> JobFacts | None:
        """What the parent knows of a job that a child runs: as much as the child would."""
        state = sys.modules.get("celery.worker.state")  # this is the watcher's thread: it imports nothing
        request = None if state is None else state.requests.get(job.job_id)
        if request is None:
            return None
        return self._facts(request.task, job.job_id, Context(request.request_dict))

    def _remember_children(self, wanted: set[int]) -> None:
        pool = getattr(getattr(self._consumer, "pool", None), "_pool", None)
        alive = {process.pid: process for process in list(getattr(pool, "_pool", None) or ())}
        self._children.update(alive)
        for pid in self._children.keys() - wanted - alive.keys():
            del self._children[pid]


def _uid(receiver: Callable[..., None]) -> str:
    return f"lastspan{receiver.__name__}"


# --- how it ended ------------------------------------------------------------------------------------------------


def _outcome(state: str, retval: Any) -> Outcome:
    if state == states.FAILURE and isinstance(retval, SoftTimeLimitExceeded):
        return Outcome.TIMEOUT
    return _OUTCOMES.get(state, Outcome.ERROR)


def _interrupted(task_id: str) -> Outcome:
    """How a task ended whose postrun comes without a state: under way, while the exception that ends it passes by."""
    kind = sys.exc_info()[0]
    if kind is not None and kind.__name__ == "Timeout" and kind.__module__.partition(".")[0] in {"gevent", "eventlet"}:
        return Outcome.TIMEOUT  # the hard limit of these pools
    # Revoked ones are known where they are revoked: in this process, unless it is a child of a prefork pool.
    revoked = getattr(sys.modules.get("celery.worker.state"), "revoked", ())
    return Outcome.REVOKED if task_id in revoked else Outcome.KILLED


def _is_loss(request: Any, exception: Any) -> bool:
    """Say whether an attempt failed because its process did; newer billiards tell of one that exits by SystemExit."""
    exception = getattr(exception, "exc", exception)  # with its traceback as text, as it comes from the pool
    if isinstance(exception, (SystemExit, KeyboardInterrupt)):
        return not (getattr(request, "_already_revoked", False) or getattr(request, "_already_cancelled", False))
    return isinstance(exception, WorkerLostError)


# --- what Celery says of a task ----------------------------------------------------------------------------------


def _carrier(request: Any) -> Mapping[str, object]:
    """A message's headers: Celery makes most of them attributes of the request."""
    headers = getattr(request, "headers", None)
    return ChainMap(vars(request), headers if isinstance(headers, dict) else {})


def _expected(task: Any) -> float | None:
    """`@app.task(lastspan_expected="10m")`."""
    declared = getattr(task, "lastspan_expected", None)
    try:
        return None if declared is None else parse(declared)
    except ValueError:
        return None


def _limit(task: Any, request: Any, pool: str) -> float | None:
    """The hard limit, where the pool enforces one: the message's, the task's, or the worker's."""
    if pool not in _ENFORCES_HARD_LIMIT:
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


def _on_lost(task: Any, attempt: int) -> OnLost:
    """What Celery does with the message of a job whose child was killed (celery/worker/request.py, `on_failure`)."""
    is_retried = bool(getattr(task, "retry_on_worker_lost", False))  # from 5.7 on
    retries = getattr(task, "max_retries", None)
    may_retry = retries is None or attempt <= int(retries)
    if is_retried and may_retry:
        return OnLost.RETRY
    if not task.acks_late:
        return OnLost.ACK
    if task.reject_on_worker_lost and not is_retried:
        return OnLost.REQUEUE
    return OnLost.ACK if _acks(task, "acks_on_failure") else OnLost.REJECT


def _on_timeout(task: Any, pool: str) -> OnLost | None:
    """The same, of a job beyond its hard limit (`on_timeout`, and `on_failure` after it)."""
    if not task.acks_late or _acks(task, "acks_on_timeout"):
        return OnLost.ACK
    if pool != "prefork" and _VERSION < (5, 7):
        return None  # neither: the message stays as it is until the connection ends
    return OnLost.REQUEUE if _VERSION >= (5, 5) else OnLost.REJECT


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
