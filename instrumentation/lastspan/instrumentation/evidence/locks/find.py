"""Which lock a blocked thread or task waits for, who holds it, and whether they wait for each other.

Nothing is patched and nothing is remembered beforehand: all is read from frames, code positions and source when a span
is late. Who holds a lock: an `RLock` says so itself; a thread inside a `with` block of the very object holds it for
certain; one past an `acquire()` and before the `release()` likely does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Final
from weakref import ref

from ...registry.spans import ExecutionContext
from .. import python
from ..objects import futures
from ..stack.frames import CodeLine, live
from ..stack.tasks import greenlet_frame
from .blocked_on import HELD, BlockedOn, Node, is_same, wait_of
from .graph import LockGraph, lasting_circle, learn, name_of


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock that somebody waits for."""

    thread: str
    """Name of the thread or task."""
    ident: int | None
    task: bool
    code: CodeLine | None
    """Where it stands now."""
    certainty: str
    """`certain`, `likely`, `nobody` (no running code holds it: it was never released) or `unknown`."""
    key: int | ref[Any] | None
    """Thread ident, or a weak reference to the task or greenlet, for the caller to find its job."""

    @property
    def party(self) -> Node:
        """Thread ident, task or greenlet; None: not known, or gone."""
        return self.key() if isinstance(self.key, ref) else self.key


def known_by(node: Node) -> int | ref[Any] | None:
    """Return what stands for a thread, task or greenlet between two looks, and keeps none of them alive."""
    return node if node is None or type(node) is int else ref(node)


@dataclass(frozen=True, slots=True)
class WaitedLock:
    """What a thread or task waits for."""

    name: str
    """As the source calls it, and where: `self._lock in billing/pool.py:41`."""
    kind: str
    """Its class: `threading.Lock`; `unknown` where the object cannot be seen."""
    wait: str
    """One of `vocabulary.WAITS`."""
    identity: int
    """`id()` of the object that blocks: equal for all who wait for it."""
    holder: Holder | None
    cycle: tuple[str, ...]
    """Who waits for whom, in a circle at the end of the waiting; this thread or task need not be part of it."""
    short: str = ""
    """As the source calls it; empty: it has no name there, or is no lock."""
    place: tuple[str, int] | None = None
    """File and line where the source has it."""


def find(
    where: ExecutionContext, describe: Callable[[int | asyncio.Task[Any]], str], greenlets: Iterable[Any] = ()
) -> Generator[None, None, WaitedLock | None]:
    """Find what the code at *where* waits for. Yields between slices of a few milliseconds; keeps no frame meanwhile.

    *describe* names the job that a thread or a task runs, or returns an empty string. *greenlets*: others that may hold
    it; nobody else knows of them.
    """
    if python.unreadable() or _wait_at(where) is None:
        return None
    yield
    yield from learn()
    start: Node = where.greenlet if greenlet_frame(where.greenlet) is not None else where.task or where.thread
    graph = LockGraph()
    yield
    yield from graph.collect(start, greenlets)
    yield
    wait = _wait_at(where)
    if wait is None:
        return None
    if wait.entry is not None and not graph.holders(wait):
        graph = LockGraph(with_entries=True)
        yield from graph.collect(start, greenlets)
        yield
    holder = _holder(graph, start, wait)
    circle = yield from lasting_circle(graph, start)
    if circle and ((now := _wait_at(where)) is None or now.identity != wait.identity):
        circle = ()  # it was seen before, or after, what is told here
    return WaitedLock(
        wait.name,
        wait.kind,
        wait.word,
        wait.identity,
        holder,
        tuple(_sentence(graph, circle, at, describe) for at in range(len(circle))),
        "" if wait.nodes else wait.short,
        wait.place,
    )


def _wait_at(where: ExecutionContext) -> BlockedOn | None:
    return wait_of(list(reversed(live(where))))


def _holder(graph: LockGraph, start: Node, wait: BlockedOn) -> Holder | None:
    """Return who holds what *start* waits for, or whose end it waits for."""
    if wait.nodes:
        return _who(graph, graph.actor(wait.nodes[0]), "certain")
    if wait.word not in HELD:
        return None
    found = graph.holders(wait)
    if found:
        node, hold = next((one for one in found if not is_same(one[0], start)), found[0])
        return _who(graph, node, "certain" if hold is None or wait.owner else hold.certainty)
    is_leaked = bool(wait.owner) or (wait.kind in _OF_THIS_PROCESS and not graph.others_busy(start))
    return Holder("", None, False, None, "nobody" if is_leaked else "unknown", None)


_OF_THIS_PROCESS: Final = frozenset({"threading.Lock", "threading.RLock", "threading.Condition", "asyncio.Lock"})


def _who(graph: LockGraph, node: Node, certainty: str) -> Holder:
    ident = node if type(node) is int else None
    return Holder(name_of(node), ident, futures.is_task(node), graph.location(node), certainty, known_by(node))


def _sentence(graph: LockGraph, circle: tuple[Node, ...], at: int, describe: Callable[[Any], str]) -> str:
    """Say what one of a circle holds, and what it waits for."""
    node, before, wait = circle[at], graph.wait(circle[at - 1]), graph.wait(circle[at])
    held = [hold for one, hold in graph.holders(before) if is_same(one, node)] if before is not None else []
    who = f"{'task' if futures.is_task(node) else 'thread'} {name_of(node)}"
    job = describe(node)
    who += f" ({job})" if job and job != name_of(node) else ""
    if held and before is not None:
        hold = held[0]
        name, place = (hold.expr.text, hold.place) if hold is not None else (before.short, graph.location(node) or "")
        who += f" holds {name or 'it'} at {place},"
    return f"{who} waits for {wait.short or 'a lock' if wait is not None else 'its event loop'}"
