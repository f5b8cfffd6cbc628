"""Runs direct mode beside the tick: checks once a second, posts to each Alertmanager independently. Never blocks.

What goes wrong is a counter and, once, a line in the log; the collector goes on, and so does what is posted to others.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from typing import Final

from ...model.facts import PostFacts
from ...model.records import SUSPECT
from ..chosen import chosen_incidents, chosen_suspects
from ..jobs import job_view
from ..view import View
from .active_alerts import active_alerts
from .client import Client, PostError
from .model import ActiveAlert, AlertInput, IncidentSummary, Post, Suspect
from .open_alerts import OpenAlerts
from .outbox import Outbox
from .target import AlertmanagerTarget

logger = logging.getLogger(__name__)

CHECK_S: Final = 1.0
_SLICE: Final = 10
"""Suspects and alerts that are looked at between two returns to the event loop."""


class Pager:
    """Posts what is wrong to all Alertmanagers of a target."""

    def __init__(self, target: AlertmanagerTarget, view: View, *, wall: Callable[[], float]) -> None:
        self._target, self._view, self._wall = target, view, wall
        self._open = OpenAlerts(resend_ns=target.resend_ns, hold_ns=target.hold_ns, keep_ns=target.keep_ns)
        self.facts: dict[str, PostFacts] = {}
        """By Alertmanager."""
        self._servers = [self._alertmanager(url) for url in target.urls]
        self._instance = socket.gethostname()
        self._tasks: list[asyncio.Task[None]] = []
        self._failed = False

    def _alertmanager(self, url: str) -> _Alertmanager:
        name = url.partition("://")[2]
        facts = self.facts.setdefault(name, PostFacts())
        client = Client(url, self._target, wall=self._time)
        return _Alertmanager(name, client, Outbox(self._target.hold_ns), facts=facts, clock=self._view.clock)

    def start(self) -> None:
        """Begin, if there is anybody to tell."""
        if self._servers:
            logger.info("alerts are posted to %s", ", ".join(server.name for server in self._servers))
            work = [self._run(), *(server.run() for server in self._servers)]
            self._tasks = [asyncio.create_task(one) for one in work]

    async def stop(self) -> None:
        """End at once. What is on stays on: Alertmanager keeps it until we are back, or `hold` is over."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in self._servers:
            await server.close()

    def _time(self, at_ns: int) -> float:
        """Return a time of the pipeline in seconds since the epoch."""
        return self._wall() + (at_ns - self._view.clock()) / 1e9

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                await self._check()
            except Exception:
                if not self._failed:
                    logger.exception("alerts cannot be made; this is logged once")
                self._failed = True
                for server in self._servers:
                    server.facts.failures["defect"] += 1

    async def _check(self) -> None:
        before = self._open.refused
        seen = await self._alert_input()
        posts = self._open.update([alert async for alert in self._active_alerts(seen)], seen.now_ns)
        for server in self._servers:
            server.put(posts, refused=self._open.refused - before)

    async def _alert_input(self) -> AlertInput:
        view = self._view
        incidents = tuple(
            IncidentSummary(name, one.environment, one.last_span, one.cause, len(one.jobs), one.severity.value)
            for name, one in chosen_incidents(view)
        )
        suspects = [suspect async for suspect in self._suspects()]
        return AlertInput(tuple(suspects), incidents, view.is_blind, view.clock())

    async def _active_alerts(self, alert_input: AlertInput) -> AsyncIterator[ActiveAlert]:
        alerts = active_alerts(alert_input, self._target.settings, instance=self._instance)
        for number, alert in enumerate(alerts, start=1):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
            yield alert

    async def _suspects(self) -> AsyncIterator[Suspect]:
        view, context = self._view, self._view.known()
        for number, job in enumerate(chosen_suspects(view), start=1):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
                context = view.known()  # others may have changed meanwhile
            if job.suspect_state is None or not job.suspect_state.incident or job.end is not None:
                continue
            since_ns, seen = job.suspect_state.since_ns, job_view(view, job, wall=self._wall, context=context)
            if seen.state in SUSPECT:
                yield Suspect(seen, since_ns)


class _Alertmanager:
    """The posts to one Alertmanager."""

    def __init__(
        self, name: str, client: Client, outbox: Outbox, *, facts: PostFacts, clock: Callable[[], int]
    ) -> None:
        self.name, self.facts = name, facts
        self._client, self._outbox, self._clock = client, outbox, clock
        self._news = asyncio.Event()

    def put(self, posts: list[Post], *, refused: int) -> None:
        """Queue posts; returns at once."""
        refused += self._outbox.put(posts)
        if refused:
            self.facts.failures["full"] += refused
        self.facts.waiting = len(self._outbox)
        if posts:
            self._news.set()

    async def run(self) -> None:
        """Tell it, batch by batch, until the end."""
        while True:
            await self._news.wait()
            batch = self._outbox.due(self._clock())
            if batch:
                await self._tell(batch)
            elif len(self._outbox):
                await asyncio.sleep(max(0.05, self._outbox.wait_s(self._clock())))
            else:
                self._news.clear()
            self.facts.waiting = len(self._outbox)

    async def close(self) -> None:
        """Hang up."""
        await self._client.close()

    async def _tell(self, batch: list[Post]) -> None:
        try:
            await self._client.post(batch)
        except PostError as problem:
            self._failed(batch, problem.reason, str(problem))
        except Exception as problem:  # a defect must not end what others wait for
            self._failed(batch, "defect", type(problem).__name__)
        else:
            self._outbox.done(batch)
            self.facts.posted += len(batch)

    def _failed(self, batch: list[Post], reason: str, message: str) -> None:
        self.facts.failures[reason] += 1
        if reason == "refused":  # it took those that it could read; the same would be refused again
            self._outbox.done(batch)
            logger.warning("Alertmanager %s rejects alerts: %s", self.name, message)
        elif self._outbox.failed(self._clock()):
            logger.warning("alerts cannot be posted to Alertmanager %s: %s; retrying", self.name, message)
