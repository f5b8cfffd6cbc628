"""lastspan in one process: joins registry, providers, identity and watcher.

job hooks ──┐
OTel spans ─┴→ registry → announcer → exporter → OTLP/HTTP
                          └──── watcher's thread ────┘
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind

from .announce.announcer import Announcer, Sessions
from .announce.db_sessions import DbSessions
from .announce.watcher import Watcher
from .config import config_file
from .config.config_file import ConfigFile
from .config.settings import WorkerSettings, is_enabled
from .guest import exits, log
from .guest.backoff import Backoff
from .guest.errors import describe_error
from .guest.identity import Identity, worker_id
from .guest.native import GilYielder, NativeLock
from .guest.version import VERSION
from .registry import current
from .registry.children import ChildJobs, Facts, JobEnd
from .registry.providers import OwnIdGenerator, Providers
from .registry.run import Run
from .registry.spans import OpenSpans
from .send import endpoint
from .send.export import Exporter

_log = log.Log(__name__)

SHUTDOWN_SECONDS: Final = 0.5
"""How long the end of a process may wait for us, s."""
_RETRY_MAX: Final = 60.0
"""The longest pause between two attempts to start the watcher's thread, s."""


class Agent:
    """One for the process; a child made by fork begins anew."""

    def __init__(self, settings: WorkerSettings, file: ConfigFile | None = None) -> None:
        self.settings = settings
        self._file = file
        self.spans = OpenSpans(all_spans=settings.announce_all)
        self.providers = Providers(self.spans, record_all=settings.record_all)
        sessions = DbSessions(self.spans)
        self._sessions = Sessions(sessions.of, sessions.count)
        self._child_jobs: ChildJobs | None = None
        self._watcher: Watcher | None = None
        self._starting = NativeLock()
        """Taken by the thread that starts the watcher, and kept once it runs."""
        self._reset(Identity())

    def install(self) -> bool:
        """Hook into the process; False, with a line in the log, where this SDK is not one that we know."""
        if not _is_sdk_supported(self.spans):
            _log.warning("lastspan is disabled: unsupported opentelemetry-sdk version")
            return False
        worker_id()  # before any child is started: children inherit it
        log.mute_sdk()
        self.providers.attach_to_all()
        exits.install(self.flush_before_exit)
        if self.settings.announce_all:
            self.start_watcher()
        return True

    def uninstall(self) -> None:
        """Take it out again, as far as that can be done."""
        self.providers.detach()
        exits.uninstall()
        self.shutdown()
        log.unmute_sdk()
        self.spans.clear()

    def begin(self, run: Run) -> None:
        """The next span that starts on this thread is *run*'s."""
        if self._watcher is None:
            self.providers.ensure()
            self.start_watcher()
        else:
            self.providers.attach_global()
        self.spans.claim(run)

    def start_span(self, run: Run, *, kind: SpanKind, attributes: Mapping[str, Any], context: Any = None) -> trace.Span:
        """Start a span of our own for *run*."""
        self.begin(run)
        run.is_ours = True
        try:
            return self.providers.job_tracer().start_span(
                run.name, context=context, kind=kind, attributes=dict(attributes)
            )
        finally:
            self.spans.release()

    def start_watcher(self) -> None:
        """Start the watcher, if it does not run: this process has jobs, or children that have.

        On a job's thread, so it starts a thread and does nothing else; whoever asks meanwhile goes on without waiting.
        """
        now = time.monotonic()
        if self._watcher is not None or not self._backoff.is_due(now) or not self._starting.acquire():
            return
        gil_yielder = GilYielder()
        watcher = Watcher(
            self._announcer,
            lambda: self._exporter(gil_yielder),
            gil_yielder,
            tick=self.settings.tick,
            interval=self.settings.interval,
        )
        try:
            watcher.start()
        except Exception as error:  # no more threads for this user, or none any more: jobs run on, a later one tries
            self._could_not_start(error, now)
            self._starting.release()
            return
        self._watcher = watcher  # and nobody enters again: one process, one watcher
        self.spans.wake = watcher.wake

    def _could_not_start(self, error: Exception, now: float) -> None:
        if not self._backoff.has_failed:
            _log.warning(
                "lastspan cannot start its thread (%s); it does not report stuck jobs until a later attempt succeeds",
                error if type(error) is RuntimeError else type(error).__name__,
            )
        self._backoff.fail(now)

    def _exporter(self, gil_yielder: GilYielder) -> Exporter:
        """On the watcher's thread."""
        destination = endpoint.resolve(os.environ, self._file)
        _log.info("lastspan %s sends open spans to %s (%s)", VERSION, destination.address, destination.why)
        return Exporter(destination, self._resource, pause_max=self.settings.interval, yield_gil=gil_yielder)

    def watch_children(self, running: ChildJobs, facts: Facts) -> None:
        """This process is the parent of processes that run jobs."""
        if self._child_jobs != running or self._watcher is None:
            self._announcer.child_processes.facts = facts
            self._child_jobs = self._announcer.child_processes.jobs = running
            self.start_watcher()

    def report(self, end: JobEnd) -> None:
        """The framework told this parent how a job ended whose process is no more."""
        self._announcer.child_processes.report(end)
        if self._watcher is not None:
            self._watcher.wake()

    def interrupt(self, run: Run) -> None:
        """The process is being ended in the middle of a job, which stays open: the parent reports its end."""
        self.spans.interrupted.add(run.span_id)
        self.report_stopping()

    def report_stopping(self) -> None:
        """The process was asked to stop and still runs jobs: its later silence is no loss."""
        self._announcer.set_status("stopping")
        if self._watcher is not None:
            self._watcher.wake()

    def shutdown(self) -> None:
        """Report the end of the process; waits at most half a second, and not at all where there is nothing to send."""
        if self._identity.pid != os.getpid():
            return
        until = time.monotonic() + SHUTDOWN_SECONDS
        if self._watcher is None:
            self._starting.acquire()  # for good: whoever comes now comes too late
        elif self.spans.interrupted:  # not stopped in good order; its silence decides, where its parent tells nothing
            self._watcher.flush(SHUTDOWN_SECONDS, stop=True)
        else:
            self._watcher.shutdown(SHUTDOWN_SECONDS)
        log.flush(max(until - time.monotonic(), 0.0))

    def flush_before_exit(self) -> None:
        """The process ends now, perhaps in a job: a process that ends with an open job was not shut down."""
        if not self.spans.runs:
            self.shutdown()
        elif self._watcher is not None and self._identity.pid == os.getpid():
            self._watcher.flush(SHUTDOWN_SECONDS)

    def _reset(self, identity: Identity) -> None:
        self._identity = identity
        self._announcer = Announcer(self.spans, identity, self.settings, self.providers.tracer, self._sessions)
        self._watcher, self._starting = None, NativeLock()
        self._backoff = Backoff(_RETRY_MAX)
        self._instance_before_fork: object = None

    def _resource(self) -> Mapping[str, Any]:
        return self._identity.resource(self.providers.resource_attributes)

    def before_fork(self) -> None:
        """In the parent."""
        self._instance_before_fork = self.providers.resource_attributes.get("service.instance.id")

    def after_fork(self) -> None:
        """In the child of a process with threads: no lock, no import, no log here."""
        self.spans.clear()
        self._child_jobs = None
        self._reset(Identity(inherited_instance=self._instance_before_fork))


_agent: Agent | None = None
_is_off = False
"""It could not be installed: not to be tried at each job."""
_loading = NativeLock()
_LOADING_SECONDS: Final = 1.0
"""How long whoever needs lastspan waits for another thread to have loaded it; that takes milliseconds."""


def agent() -> Agent | None:
    """Return the process's agent; None while lastspan is not loaded, or switched off."""
    return _agent


def start() -> Agent | None:
    """Load lastspan into this process; twice is once. None where it is switched off."""
    if _agent is not None or _is_off or not is_enabled(os.environ) or not _loading.acquire(_LOADING_SECONDS):
        return _agent
    loading = _loading
    try:
        return _agent or _load()
    finally:
        loading.release()


def _load() -> Agent | None:
    global _agent, _is_off
    try:
        file = config_file.read(os.environ)
        if file is not None and file.is_disabled:
            _log.info("lastspan is disabled by %s", config_file.OTEL_CONFIG_FILE)
            _is_off = True
            return None
        candidate = Agent(WorkerSettings.from_environ(os.environ), file)
        if candidate.install():
            _hook_into_process()
            _agent = current.process = candidate
    except Exception as error:  # whatever goes wrong, the host starts without it
        _log.warning("lastspan is disabled: it could not start: %s", describe_error(error))
    _is_off = _agent is None
    return _agent


def stop() -> None:
    """Take lastspan out of this process again, as far as that can be done."""
    global _agent, _is_off
    _is_off = False
    if _agent is not None:
        _agent.uninstall()
        _agent = current.process = None


_is_hooked = False


def _hook_into_process() -> None:
    """For good: neither kind of hook can be taken back."""
    global _is_hooked
    if not _is_hooked:
        _is_hooked = True
        os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
        atexit.register(_at_exit)


def _before_fork() -> None:
    if _agent is not None:
        _agent.before_fork()


def _after_fork() -> None:
    global _loading
    _loading = NativeLock()
    log.reset_after_fork()
    if _agent is not None:
        _agent.after_fork()


def _at_exit() -> None:
    if _agent is not None:
        _agent.shutdown()


def _is_sdk_supported(spans: OpenSpans) -> bool:
    """Try the registry on a span of a provider of its own."""
    provider = TracerProvider(
        sampler=ALWAYS_ON,
        resource=Resource.get_empty(),
        shutdown_on_exit=False,
        id_generator=OwnIdGenerator(),
        span_limits=SpanLimits(max_span_attributes=1, max_span_attribute_length=SpanLimits.UNSET),  # whatever is set
    )
    provider.add_span_processor(spans)
    run = Run("self-check")
    spans.claim(run)
    tracer, peer = provider.get_tracer("lastspan"), {"server.address": "self-check"}
    span = tracer.start_span("self-check", kind=SpanKind.CONSUMER)
    call = tracer.start_span("self-check", trace.set_span_in_context(span), SpanKind.CLIENT, attributes=peer)
    is_known = run.span_id in spans.open and len(spans.open) == 2
    call.end()
    span.end()
    is_known = is_known and not spans.open and [row[6:] for row in spans.ended] == [(None, "self-check"), (None, None)]
    spans.clear()
    return is_known


current.load_with(start)
