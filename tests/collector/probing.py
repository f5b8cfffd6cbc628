"""What the tests of both probes share: a target, a look at it, a statement that is blocked, a server that is silent."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lastspan.collector.model.records import DatabaseSession, DatabaseWait
from lastspan.collector.probe import Probes, Target, connector, missing_library, parse

PATIENCE_S = 20.0


def target(system: str, dsn: str, *, servers: Sequence[str] = (), timeout_s: float = 5.0) -> Target:
    assert missing_library(system) is None  # and it is loaded now: not in the time that a look may take
    parsed = parse(system, dsn)
    return Target(
        system=system,
        name="orders-db",
        dsn=parsed,
        servers=tuple(servers) or (parsed.address,),
        interval_ns=1_000_000,
        timeout_s=timeout_s,
    )


def look(what: Target, *waits: DatabaseWait) -> dict[str, DatabaseSession]:
    """Connect, look once, leave; return the sessions by their ids."""

    async def once() -> list[DatabaseSession]:
        source = await connector(what.system)(what)
        try:
            return await source.sessions(waits, server="db:1")
        finally:
            await source.close()

    return {session.id: session for session in asyncio.run(once())}


@contextlib.contextmanager
def in_background(work: Callable[[], Any], *, cancel: Callable[[], Any]) -> Iterator[None]:
    """Run a statement that blocks while the block runs."""

    def quietly() -> None:
        with contextlib.suppress(Exception):  # it is cancelled
            work()

    thread = threading.Thread(target=quietly)
    thread.start()
    try:
        yield
    finally:
        deadline = time.monotonic() + PATIENCE_S
        while thread.is_alive() and time.monotonic() < deadline:
            with contextlib.suppress(Exception):
                cancel()
            thread.join(0.05)


def until(check: Callable[[], Any], what: str, *, pause_s: float = 0.02) -> Any:
    """Return what *check* returns as soon as that is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := check()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(pause_s)
    return found


class Told:
    """A collector's side of the probes, with a clock that we move: what is late, what was told."""

    def __init__(self, *targets: Target) -> None:
        self.now_ns = 0
        self.waits: list[DatabaseWait] = []
        self.facts: dict[str, list[DatabaseSession]] = {}
        self.failures: Counter[tuple[str, str]] = Counter()
        self.looks = 0
        self.probes = Probes(
            targets,
            connector=connector,
            waits=lambda: self.waits,
            tell=self._tell,
            clock=lambda: self.now_ns,
            failures=self.failures,
        )

    async def until(self, check: Callable[[], Any], *, step_ns: int = 10_000_000_000) -> None:
        """Tick, a step at a time, until *check* is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not check():
            assert time.monotonic() < deadline, "never"
            await self.tick(step_ns)

    async def tick(self, step_ns: int = 10_000_000_000) -> None:
        """Move the clock, and wait for the end of a look that this begins."""
        self.now_ns += step_ns
        self.probes.poll()
        await asyncio.sleep(0)
        while self.probes.is_busy:
            await asyncio.sleep(0.002)

    def _tell(self, server: str, sessions: list[DatabaseSession]) -> None:
        self.looks += 1
        self.facts[server] = sessions


@contextlib.contextmanager
def silent_server() -> Iterator[tuple[str, list[socket.socket]]]:
    """Yield the address of a server that accepts connections and never says a word, and the connections it got."""
    taken: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                taken.append(listener.accept()[0])

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", taken
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in taken:
            connection.close()
