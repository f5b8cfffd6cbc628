"""lastspan in one process: registry, providers, identity and watcher, joined; the one place that knows them all.

job hooks ──┐
OTel spans ─┴→ registry → announcer → exporter → OTLP/HTTP
                          └──── watcher's thread ────┘
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from . import endpoint, exits
from .announce import Announcer, Sessions
from .export import Exporter
from .family import Assignments, Death, Facts
from .identity import Identity, worker_id
from .native import Turns
from .providers import Providers
from .run import Run
from .settings import Settings, is_enabled
from .spans import OpenSpans
from .version import VERSION
from .watcher import Watcher

_logger = logging.getLogger(__name__)

GOODBYE: Final = 0.5
"""How long the end of a process may wait for us, s."""


class Agent:
    """One for the process; a child made by fork begins anew."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.spans = OpenSpans(all_spans=settings.announce_all)
        self.providers = Providers(self.spans, record_all=settings.record_all)
        self._assignments: Assignments | None = None
        self._watcher: Watcher | None = None
        self._begin(Identity())
        os.register_at_fork(before=self._before_fork, after_in_child=self._after_fork)
        atexit.register(self.goodbye)

    def install(self) -> bool:
        """Hook into the process; False, with a line in the log, where this SDK is not one that we know."""
        if not _can_read(self.spans):
            _logger.warning("lastspan is off: it does not know the spans of this opentelemetry-sdk")
            return False
        worker_id()  # before any child is started: children inherit it
        self.providers.watch()
        exits.watch(self.at_once)
        if self.settings.announce_all:
            self.watch()
        return True

    def begin(self, run: Run) -> None:
        """The next span that starts on this thread is *run*'s."""
        if self._watcher is None:
            self.providers.ensure()
            self.watch()
        else:
            self.providers.attach_global()
        self.spans.claim(run)

    def start_span(self, run: Run, *, kind: SpanKind, attributes: Mapping[str, Any], context: Any = None) -> trace.Span:
        """Start a span of our own for *run*."""
        self.begin(run)
        run.is_ours = True
        try:
            return trace.get_tracer("lastspan", VERSION).start_span(
                run.name, context=context, kind=kind, attributes=dict(attributes)
            )
        finally:
            self.spans.release()

    def watch(self) -> None:
        """Start the watcher, if it does not run: this process has jobs, or children that have."""
        if self._watcher is not None:
            return
        destination = endpoint.resolve(os.environ)
        turns = Turns()
        exporter = Exporter(destination, self._resource, pause_max=self.settings.interval, breathe=turns)
        self._watcher = Watcher(
            self._announcer, exporter, turns, tick=self.settings.tick, interval=self.settings.interval
        )
        self.spans.wake = self._watcher.wake
        self._watcher.start()
        _logger.info("lastspan %s sends open spans to %s (%s)", VERSION, destination.address, destination.why)

    def watch_children(self, assignments: Assignments, facts: Facts) -> None:
        """This process is the parent of processes that run jobs."""
        if self._assignments is not assignments or self._watcher is None:
            self._announcer.family.facts = facts
            self._assignments = self._announcer.family.assignments = assignments
            self.watch()

    def report(self, death: Death) -> None:
        """The framework told this parent that a job's process is no more."""
        self._announcer.family.report(death)
        if self._watcher is not None:
            self._watcher.wake()

    def say_stopping(self) -> None:
        """The process was asked to stop and still runs jobs: its silence, later, is no loss."""
        self._announcer.say("stopping")
        if self._watcher is not None:
            self._watcher.wake()

    def goodbye(self) -> None:
        """The process ends now; waits at most half a second, and not at all where there is nothing to say."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None and self._identity.pid == os.getpid():
            watcher.goodbye(GOODBYE)

    def at_once(self) -> None:
        """The process ends now, whatever it does: who dies with a job that is open has not stopped in good order."""
        if not self.spans.runs:
            self.goodbye()
        elif self._watcher is not None and self._identity.pid == os.getpid():
            self._watcher.flush(GOODBYE)

    def _begin(self, identity: Identity) -> None:
        self._identity = identity
        self._announcer = Announcer(self.spans, identity, self.settings, self.providers.tracer, _SESSIONS)
        self._watcher = None
        self._instance_before_fork: object = None

    def _resource(self) -> Mapping[str, Any]:
        return self._identity.resource(self.providers.resource_attributes)

    def _before_fork(self) -> None:
        self._instance_before_fork = self.providers.resource_attributes.get("service.instance.id")

    def _after_fork(self) -> None:
        # In the child of a process with threads: no lock, no import, no log here.
        self.spans.clear()
        self._assignments = None
        self._begin(Identity(inherited_instance=self._instance_before_fork))


def _sessions_of(run: Run) -> list[str]:
    from . import db_sessions  # which asks for the agent

    return db_sessions.sessions(run)


def _count_sessions(run: Run) -> int:
    from . import db_sessions

    return db_sessions.count(run)


_SESSIONS: Final = Sessions(_sessions_of, _count_sessions)

_agent: Agent | None = None


def agent() -> Agent | None:
    """Return the process's agent; None while lastspan is not loaded, or switched off."""
    return _agent


def start() -> Agent | None:
    """Load lastspan into this process; twice is once. None where it is switched off."""
    global _agent
    if _agent is None and is_enabled(os.environ):
        candidate = Agent(Settings.from_environ(os.environ))
        _agent = candidate if candidate.install() else None
    return _agent


def stop() -> None:
    """Take lastspan out of this process again, as far as that can be done."""
    global _agent
    if _agent is not None:
        _agent.providers.unwatch()
        exits.unwatch()
        _agent.goodbye()
        _agent.spans.clear()
        _agent = None


def _can_read(spans: OpenSpans) -> bool:
    """Try the registry on a span of a provider of its own."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource.get_empty(), shutdown_on_exit=False)
    provider.add_span_processor(spans)
    run = Run("self-check")
    spans.claim(run)
    span = provider.get_tracer("lastspan").start_span("self-check", kind=SpanKind.CONSUMER)
    is_known = run.span_id in spans.open
    span.end()
    is_known = is_known and not spans.open and len(spans.ended) == 1
    spans.clear()
    return is_known
