"""When a server is queried: only while a span that waits for it is late, within a timeout, with backoff on failure.

A look runs beside the collector's tick, never in it; what it costs when it goes wrong is a counter.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from ..model.records import DatabaseSession, DatabaseWait
from .target import ProbeError, Source, Target, address_of

logger = logging.getLogger(__name__)
T = TypeVar("T")

Clock = Callable[[], int]
Connect = Callable[[Target], Awaitable[Source]]
Report = Callable[[str, list[DatabaseSession]], None]
"""`Pipeline.database_facts`."""

IDLE_NS: Final = 60_000_000_000
"""A connection that nobody needs is closed after so long."""
BACKOFF_MAX_NS: Final = 60_000_000_000
_SHARE: Final = 20
"""A look that took long is not repeated before so many times as long: a twentieth of a connection's time at most."""
_LOOPBACK: Final = {"localhost", "127.0.0.1", "[::1]", ""}


class ServerPoller:
    """One server: its connection, when it was looked at, how often that failed."""

    def __init__(
        self, target: Target, *, connect: Connect, tell: Report, clock: Clock, failures: Counter[tuple[str, str]]
    ) -> None:
        self.target = target
        self._connect, self._tell, self._clock, self._failures = connect, tell, clock, failures
        self._names = {_plain(server) for server in (*target.servers, target.dsn.address)}
        self._resolved = False
        self._told = target.servers[0]
        self._source: Source | None = None
        self._task: asyncio.Task[None] | None = None
        self._streak = 0
        self._due_ns = 0
        self._needed_ns = 0
        self._said_hidden = ""

    @property
    def is_busy(self) -> bool:
        """Is a look under way?"""
        return self._task is not None

    def is_due(self, now_ns: int) -> bool:
        """Is it time to look, if there is a reason?"""
        return now_ns >= self._due_ns and not self.is_busy

    def poll(self, waits: Sequence[DatabaseWait], now_ns: int) -> None:
        """Begin to look at what *waits* wait for, those of this server; returns at once."""
        mine = [wait for wait in waits if self._may_be_here(wait)]
        self._due_ns = now_ns + self.target.interval_ns
        if mine:
            self._needed_ns = now_ns
            self._begin(self._poll(mine))
        elif self._source is not None and now_ns - self._needed_ns > IDLE_NS:
            source, self._source = self._source, None
            self._begin(self._close(source))

    async def stop(self) -> None:
        """End what runs and the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=self.target.timeout_s)
        if self._source is not None:
            source, self._source = self._source, None
            await self._close(source)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (problem := task.exception()) is not None:  # by a defect only
            logger.error("probe %s failed: %s", self.target.name, type(problem).__name__, exc_info=problem)
            self._failed("defect", now_ns=self._clock())

    async def _poll(self, waits: Sequence[DatabaseWait]) -> None:
        began_ns = self._clock()
        try:
            if self._source is None:
                await self._within(self._resolve())
                self._source = await self._within(self._connect(self.target))
            server = self._name(waits)
            sessions = await self._within(self._source.sessions(waits, server=server))
        except ProbeError as problem:
            self._close_connection()
            self._log_failure(problem)
            self._failed(problem.reason, now_ns=self._clock())
            return
        except BaseException:
            self._close_connection()
            raise
        self._succeeded(self._clock() - began_ns)
        self._publish(server, sessions)
        self._log_hidden(self._source.hidden)

    async def _within(self, work: Awaitable[T]) -> T:
        """Return what *work* returns; ProbeError if it takes too long, also if it cannot be cancelled."""
        task = asyncio.ensure_future(work)
        try:
            done, _ = await asyncio.wait([task], timeout=self.target.timeout_s)
        except BaseException:
            _detach(task)
            raise
        if not done:
            _detach(task)
            raise ProbeError("timeout", f"no answer within {self.target.timeout_s:g} s")
        return task.result()

    async def _resolve(self) -> None:
        """Learn the addresses behind the name: workers tell which address they are connected to."""
        dsn, loop = self.target.dsn, asyncio.get_running_loop()
        if not dsn.host or dsn.host.startswith("/"):
            self._resolved = True
            return
        try:
            found = await loop.getaddrinfo(dsn.host, dsn.port, type=socket.SOCK_STREAM)
        except OSError as problem:
            raise ProbeError("connection", f"{dsn.host}: {problem.strerror or 'is not a known host'}") from None
        self._names |= {address_of(str(end[0]), end[1]) for *_, end in found}
        self._resolved = True

    def _may_be_here(self, wait: DatabaseWait) -> bool:
        """Is a wait for this server? While it is not known which addresses its name has, the port decides."""
        if not wait.server or _plain(wait.server) in self._names:
            return True
        return not self._resolved and _port(wait.server) in {_port(name) for name in self._names}

    def _name(self, waits: Sequence[DatabaseWait]) -> str:
        """Return by which name to tell what was seen: the one that workers use, and the same as long as they do."""
        used = [wait.server for wait in waits if wait.server and _plain(wait.server) in self._names]
        return self._told if self._told in used or not used else used[0]

    def _publish(self, server: str, sessions: list[DatabaseSession]) -> None:
        if server != self._told:
            self._tell(self._told, [])
            self._told = server
        self._tell(server, sessions)

    def _succeeded(self, took_ns: int) -> None:
        if self._streak:
            logger.info("probe %s works again", self.target.name)
        self._streak = 0
        self._due_ns = self._clock() + max(self.target.interval_ns, _SHARE * took_ns)

    def _failed(self, reason: str, *, now_ns: int) -> None:
        self._failures[self.target.name, reason] += 1
        self._streak += 1
        self._due_ns = now_ns + min(BACKOFF_MAX_NS, self.target.interval_ns << min(self._streak, 16))

    def _log_failure(self, problem: ProbeError) -> None:
        if not self._streak:
            logger.warning("probe %s failed (%s): %s", self.target.name, problem.reason, problem)

    def _log_hidden(self, hidden: str) -> None:
        if hidden and hidden != self._said_hidden:
            logger.warning("probe %s may not see all sessions: %s", self.target.name, hidden)
            self._failures[self.target.name, "privilege"] += 1
        self._said_hidden = hidden or self._said_hidden

    def _close_connection(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.abort()

    async def _close(self, source: Source) -> None:
        with contextlib.suppress(Exception):  # the server may be gone
            await self._within(source.close())
            return
        source.abort()


class Probes:
    """All servers that may be asked."""

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        connector: Callable[[str], Connect],
        waits: Callable[[], list[DatabaseWait]],
        tell: Report,
        clock: Clock,
        failures: Counter[tuple[str, str]],
    ) -> None:
        self._waits, self._clock = waits, clock
        self._watches = [
            ServerPoller(target, connect=connector(target.system), tell=tell, clock=clock, failures=failures)
            for target in targets
        ]

    @property
    def is_busy(self) -> bool:
        """Is a look under way?"""
        return any(watch.is_busy for watch in self._watches)

    def poll(self) -> None:
        """Begin to look at what is late, where it is time; call it at each tick, it returns at once."""
        now_ns = self._clock()
        due = [watch for watch in self._watches if watch.is_due(now_ns)]
        if not due:
            return
        waits = self._waits()
        for watch in due:
            watch.poll(waits, now_ns)

    async def stop(self) -> None:
        """End all of them."""
        if self._watches:
            await asyncio.gather(*(watch.stop() for watch in self._watches), return_exceptions=True)


def _detach(task: asyncio.Future[Any]) -> None:
    """Have a task end when it likes; what it says then is of no interest, and a connection is not kept."""
    task.add_done_callback(_discard)
    task.cancel()


def _discard(task: asyncio.Future[Any]) -> None:
    if not task.cancelled() and task.exception() is None and hasattr(task.result(), "abort"):
        task.result().abort()


def _plain(server: str) -> str:
    """Return an address as it is compared."""
    host, _, port = server.lower().rpartition(":")
    return f"127.0.0.1:{port}" if host in _LOOPBACK else f"{host.replace('[::ffff:', '').strip('[]')}:{port}"


def _port(server: str) -> str:
    return server.rpartition(":")[2]


__all__ = ["Probes", "ServerPoller"]
