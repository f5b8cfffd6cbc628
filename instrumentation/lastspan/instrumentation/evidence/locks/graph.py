"""Who waits for whom: all threads and tasks of the process, the locks that they hold, and circles among them."""

from __future__ import annotations

import asyncio
import threading
import time
import types
from _thread import get_ident
from collections.abc import Generator, Iterable, Iterator, Mapping
from types import CodeType, FrameType
from typing import Any, Final

from .. import python
from ..kernel.threads import cpu_time_ns
from ..objects import futures, values
from ..stack import source, tasks
from ..stack.frames import CodeLine, _thread, is_application, line_of
from .blocked_on import HELD, BlockedOn, Node, is_same, key_of, task_wait, wait_of
from .holders import LockHold, holds_of

_SLICE_NS: Final = 2_000_000
_DEPTH_MAX: Final = 4096
_TASKS_MAX: Final = 10_000
_CIRCLE_MAX: Final = 16
_RUNS: Final[Mapping[FrameType, object]] = types.MappingProxyType({})
"""The coroutines of code that runs: they tell nothing."""


def learn() -> Iterator[None]:
    """Read the sources that the next look needs, in slices."""
    began = time.thread_time_ns()
    unknown = _unknown()
    for code, place in unknown:
        if time.thread_time_ns() - began > _SLICE_NS:
            yield
            began = time.thread_time_ns()
        source.learn(code, place)


def _unknown() -> list[tuple[CodeType, int]]:
    """Return where threads and tasks stand in code whose source was not read yet; by file: each is read once."""
    found = {}
    for frame in [*python.current_frames().values(), *(frame for task in all_tasks() for frame in _task_frames(task))]:
        for holding in source.holding(frame):
            if not source.is_known(holding.f_code, holding.f_lasti):
                found[id(holding.f_code), holding.f_lasti] = holding.f_code
    return sorted(((code, place) for (_, place), code in found.items()), key=lambda one: (one[0].co_filename, one[1]))


class LockGraph:
    """Who holds what, seen at once (or in slices); and, while it is asked, who waits for what. It keeps no frame."""

    def __init__(self, *, with_entries: bool = False) -> None:
        self._running: dict[int, asyncio.Task[Any]] = {}
        """By thread: the task that runs there."""
        self.with_entries = with_entries
        self._holds: dict[object, list[tuple[Node, LockHold]]] = {}
        self._waits: dict[object, tuple[Node, BlockedOn | None]] = {}
        self._loops: dict[int, asyncio.Task[Any]] = {}
        """By identity of an event loop: the task that it runs."""

    def collect(self, start: Node, greenlets: Iterable[Any] = ()) -> Iterator[None]:
        """Look at all threads and tasks, and at *greenlets* that wait, in slices."""
        began = time.thread_time_ns()
        for ident in list(python.current_frames()):
            if time.thread_time_ns() - began > _SLICE_NS:
                yield
                began = time.thread_time_ns()
            if ident != get_ident():
                self._add_thread(ident)
        for task in all_tasks():
            if time.thread_time_ns() - began > _SLICE_NS:
                yield
                began = time.thread_time_ns()
            self._add_task(task)
        own = () if type(start) is int or futures.is_task(start) else (start,)
        for greenlet in {id(one): one for one in (*own, *greenlets)}.values():
            if time.thread_time_ns() - began > _SLICE_NS:
                yield
                began = time.thread_time_ns()
            if (frame := tasks.greenlet_frame(greenlet)) is not None:
                self._add(greenlet, [frame])
            del frame

    def _add_thread(self, ident: int) -> None:
        frame = python.current_frames().get(ident)
        if frame is None:
            return
        task = python.running_task(frame)
        if task is not None:
            self._running[ident] = task
            self._loops[id(futures.loop_of(task))] = task
        self._add(ident if task is None else task, [frame])

    def _add_task(self, task: asyncio.Task[Any]) -> None:
        suspended = _suspended(task)
        self._add(task, list(suspended), suspended)

    def _add(self, node: Node, frames: list[FrameType], suspended: Mapping[FrameType, object] = _RUNS) -> None:
        for hold in holds_of(frames, suspended=suspended, with_entries=self.with_entries):
            self._holds.setdefault(hold.identity, []).append((node, hold))

    def actor(self, node: Node) -> Node:
        """Return the task that runs on a thread; or else what was given."""
        return self._running.get(node, node) if type(node) is int else node

    def thread(self, node: Node) -> int | None:
        """Return the thread that a node is, or runs on; None of a task or greenlet that waits."""
        if type(node) is int:
            return node
        return next((ident for ident, task in self._running.items() if task is node), None)

    def blocker(self, node: Node) -> asyncio.Task[Any] | None:
        """Return the task that the event loop of a task runs now."""
        return self._loops.get(id(futures.loop_of(node))) if futures.is_task(node) else None

    def wait(self, node: Node) -> BlockedOn | None:
        """Return what a thread or task waits for."""
        key = key_of(node)
        if key not in self._waits:
            self._waits[key] = node, self._look_for_wait(node)
        return self._waits[key][1]

    def _look_for_wait(self, node: Node) -> BlockedOn | None:
        stack = self._stack(node)
        if (wait := wait_of(stack)) is not None:
            return wait
        if futures.is_task(node):
            return task_wait(node, stack)
        task = tasks.main_task(stack[::-1])
        return None if task is None else BlockedOn.of_task(task, stack)

    def location(self, node: Node) -> CodeLine | None:
        """Say where a thread or task stands now; None: it does not run any more."""
        stack = self._stack(node)
        if not stack:
            return None
        frame = next((one for one in stack if is_application(one.f_code.co_filename)), stack[0])
        return CodeLine.of((frame.f_code, line_of(frame)))

    def others_busy(self, start: Node) -> bool:
        """Say whether another thread or task runs code of the application, which may hold a lock unseen."""
        if values.class_name(type(threading.Lock())) != "_thread.lock":
            return True  # gevent's, or somebody else's: greenlets that wait are not seen
        if python.unknown():
            return True
        nodes: list[Node] = [self.actor(ident) for ident in python.current_frames() if ident != get_ident()]
        return any(
            is_application(frame.f_code.co_filename)
            for node in [*nodes, *all_tasks()]
            if not is_same(node, start)
            for frame in self._stack(node)
        )

    def _stack(self, node: Node) -> list[FrameType]:
        """Return the frames of a thread, task or greenlet, innermost first."""
        if (thread := self.thread(node)) is not None:
            return _frames(python.current_frames().get(thread))
        if futures.is_task(node):
            return _task_frames(node)
        return _frames(tasks.greenlet_frame(node))

    def holders(self, wait: BlockedOn) -> list[tuple[Node, LockHold | None]]:
        """Return who holds what is waited for, the most certain first; without the place if only the lock knows."""
        if wait.word not in HELD:
            return []
        found = self._holds.get(wait.identity, [])
        if wait.owner:
            if wait.owner not in python.current_frames():
                return []
            owner = self.actor(wait.owner)
            return [(owner, next((hold for node, hold in found if is_same(node, owner)), None))]
        if not found and wait.entry is not None:
            found = self._holds.get(wait.entry, [])
        return [*sorted(found, key=lambda one: one[1].certainty != "certain")]

    def next(self, node: Node) -> list[Node]:
        """Return for whom a thread or task waits."""
        wait = self.wait(node)
        if wait is None:
            blocker = self.blocker(node)
            return [blocker] if blocker is not None and blocker is not node else []
        if wait.nodes:
            return [self.actor(one) for one in wait.nodes]
        found = [holder for holder, _ in self.holders(wait)]
        if wait.word == "semaphore" and not all(self._is_bound(holder) for holder in found):
            return []  # one of them will give its share back
        return found

    def _is_bound(self, node: Node) -> bool:
        wait = self.wait(node)
        return wait is not None and (wait.word in HELD or bool(wait.nodes))


def lasting_circle(graph: LockGraph, start: Node) -> Generator[None, None, tuple[Node, ...]]:
    """Return the circle that the waiting of *start* leads into, if none of it moves during a second look.

    One look proves nothing: while it went on, those who seemed to wait may have gone on too.
    """
    found = circle(graph, start)
    if not found:
        return ()
    yield
    before = [_standstill(graph, node) for node in found]
    again = LockGraph(with_entries=graph.with_entries)
    yield from again.collect(start)
    is_again = _are_same(circle(again, start), found)
    after = [_standstill(graph, node) for node in found]
    return found if is_again and all(_has_not_moved(*pair) for pair in zip(before, after, strict=True)) else ()


def _are_same(some: tuple[Node, ...], others: tuple[Node, ...]) -> bool:
    return len(some) == len(others) and all(map(is_same, some, others))


def _standstill(graph: LockGraph, node: Node) -> object:
    """Return what stays the same while a thread does not run, or while a task awaits the same thing."""
    thread = graph.thread(node)
    if thread is None and futures.is_task(node):
        if (awaited := futures.awaited_by(node)) is not None:
            return awaited
        thread = graph.thread(graph.blocker(node))  # it may go on as soon as its loop does
    return cpu_time_ns(_thread(thread)[0]) if thread is not None else object()


def _has_not_moved(before: object, after: object) -> bool:
    return before == after if type(before) is int and type(after) is int else before is after


def circle(graph: LockGraph, start: Node) -> tuple[Node, ...]:
    """Return those who wait for each other, at the end of the waiting of *start*; nobody, if somebody can go on."""
    return _follow(graph, start, [], set())


def _follow(graph: LockGraph, node: Node, path: list[Node], done: set[object]) -> tuple[Node, ...]:
    """Go on from the end of *path*. A function that knew itself by its closure would keep them all alive."""
    begins = next((index for index, passed in enumerate(path) if is_same(passed, node)), None)
    if begins is not None:
        return tuple(path[begins:])
    if key_of(node) in done or len(path) >= _CIRCLE_MAX:
        return ()
    path.append(node)
    for other in graph.next(node):
        if found := _follow(graph, other, path, done):
            return found
    done.add(key_of(path.pop()))
    return ()


def name_of(node: Node) -> str:
    """Return the name of a thread or task."""
    if futures.is_task(node):
        return futures.name_of(node)
    thread = threading._active.get(node) if type(node) is int else None  # type: ignore[attr-defined]
    name = values.attribute(thread, "_name")  # the property could be anybody's
    return name if type(name) is str else ""


def all_tasks() -> list[asyncio.Task[Any]]:
    """Return the tasks of all loops that run, those that are not done."""
    return python.all_tasks(python.current_frames().values())[:_TASKS_MAX]


def _task_frames(task: asyncio.Task[Any]) -> list[FrameType]:
    """Return the frames of a task that waits, innermost first; they are not linked to each other."""
    return list(_suspended(task))


def _suspended(task: asyncio.Task[Any]) -> dict[FrameType, object]:
    """Return the same, each with its coroutine."""
    if python.is_running(task):
        return {}
    return dict(list(tasks.coroutines(futures.coroutine_of(task)))[::-1][:_DEPTH_MAX])


def _frames(frame: FrameType | None) -> list[FrameType]:
    found: list[FrameType] = []
    while frame is not None and len(found) < _DEPTH_MAX:
        found.append(frame)
        frame = frame.f_back
    return found
