"""What an asyncio task waits for, through the tasks and threads below it."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import uvloop

from lastspan.instrumentation.evidence import StackSample, sample_stack
from lastspan.instrumentation.registry.spans import ExecutionContext

Body = Callable[[asyncio.Event], Awaitable[object]]


def functions(seen: StackSample) -> list[str]:
    return [code.co_name for code, _ in seen.steps]


@contextmanager
def waiting(body: Body, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[ExecutionContext]:
    """Run *body* as a task of a loop in a thread of its own; yield its place; then set the event that it was given."""
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, ExecutionContext]] = []
    there = threading.Event()

    async def main() -> None:
        async def job() -> None:
            await body(leave)

        leave = asyncio.Event()
        task = asyncio.create_task(job())
        started.append((asyncio.get_running_loop(), leave, ExecutionContext(threading.get_ident(), task, None)))
        there.set()
        await task

    def run() -> None:
        loop = new_loop()
        try:
            loop.run_until_complete(main())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    runner = threading.Thread(target=run, name="loop")
    runner.start()
    assert there.wait(20)
    loop, leave, where = started[0]
    try:
        yield where
    finally:
        release.set()
        if not loop.is_closed():
            loop.call_soon_threadsafe(leave.set)
        runner.join(20)
        release.clear()


def soon(where: ExecutionContext, expected: list[str]) -> StackSample:
    """Look until the task stands where it will stay."""
    deadline = time.monotonic() + 20
    while functions(seen := sample_stack(where)) != expected and time.monotonic() < deadline:
        time.sleep(0.001)
    assert functions(seen) == expected
    return seen


release = threading.Event()
"""Lets go of what waits in a thread."""


async def leaf(leave: asyncio.Event) -> None:
    await leave.wait()


async def nothing() -> None:
    return


async def gather(leave: asyncio.Event) -> None:
    await asyncio.gather(nothing(), leaf(leave), nothing())


async def gather_of_gather(leave: asyncio.Event) -> None:
    await asyncio.gather(asyncio.gather(leaf(leave)), nothing())


async def wait_for(leave: asyncio.Event) -> None:
    await asyncio.wait_for(leaf(leave), 1000)


async def shield(leave: asyncio.Event) -> None:
    await asyncio.shield(leaf(leave))


async def wait(leave: asyncio.Event) -> None:
    await asyncio.wait([asyncio.create_task(leaf(leave))])


async def other_task(leave: asyncio.Event) -> None:
    await asyncio.create_task(leaf(leave))


async def completed(leave: asyncio.Event) -> None:
    for one in asyncio.as_completed([nothing(), leaf(leave)]):
        await one


async def generator(leave: asyncio.Event) -> AsyncIterator[int]:
    yield 1
    await leaf(leave)


async def loop_over_a_generator(leave: asyncio.Event) -> None:
    async for _ in generator(leave):
        pass


@asynccontextmanager
async def context(leave: asyncio.Event) -> AsyncIterator[None]:
    await leaf(leave)
    yield


async def context_manager(leave: asyncio.Event) -> None:
    async with context(leave):
        pass


class OfALibrary:
    """Of a library: awaits by a method of its own."""

    def __init__(self, leave: asyncio.Event) -> None:
        self.leave = leave

    def __await__(self) -> Generator[Any, Any, Any]:
        return leaf(self.leave).__await__()


async def awaitable(leave: asyncio.Event) -> None:
    await OfALibrary(leave)


def blocks() -> None:
    release.wait(60)


async def in_a_thread(leave: asyncio.Event) -> None:
    await asyncio.to_thread(blocks)


async def in_an_executor(leave: asyncio.Event) -> None:
    await asyncio.gather(nothing(), asyncio.get_running_loop().run_in_executor(None, blocks))


async def blocking() -> None:
    release.wait(60)


async def beside_one_that_blocks(leave: asyncio.Event) -> None:
    await asyncio.gather(leaf(leave), blocking())


WAIT_FOR = ["wait_for", "leaf", "wait"]
LEAF = ["leaf", "wait"]

FORMS: list[tuple[Body, list[str]]] = [
    (gather, LEAF),
    (gather_of_gather, LEAF),
    (wait_for, WAIT_FOR),
    (shield, LEAF),
    (wait, ["wait", "_wait", *LEAF]),
    (other_task, LEAF),
    (completed, ["_wait_for_one", "get", *LEAF]),
    (loop_over_a_generator, ["generator", *LEAF]),
    (context_manager, ["__aenter__", "context", *LEAF]),
    (awaitable, LEAF),
]


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(("form", "expected"), FORMS, ids=[form.__name__ for form, _ in FORMS])
def test_down_to_the_innermost_await(
    form: Body, expected: list[str], new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """The steps of the task that is waited for follow those of the one that waits, whatever stands between them."""
    with waiting(form, new_loop) as where:
        seen = soon(where, ["job", form.__name__, *expected])
        place = seen.place()
        assert place is not None
        assert place[0] is leaf.__code__
        assert not seen.is_on_thread


@pytest.mark.applies(sys.version_info >= (3, 11), reason="asyncio.TaskGroup is new in 3.11")
def test_a_task_group() -> None:
    """The oldest of its tasks that has not ended, though the group keeps them in a set."""

    async def younger(leave: asyncio.Event) -> None:
        await leave.wait()

    async def group(leave: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(nothing())
            tasks.create_task(leaf(leave))
            for _ in range(20):
                tasks.create_task(younger(leave))

    with waiting(group, asyncio.new_event_loop) as where:
        expected = ["job", "group", "__aexit__", *LEAF]  # which has an `_aexit` inside, in some releases
        deadline = time.monotonic() + 20
        while [name for name in functions(sample_stack(where)) if name != "_aexit"] != expected:
            assert time.monotonic() < deadline


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("form", "expected"), [(in_a_thread, ["in_a_thread", "to_thread"]), (in_an_executor, ["in_an_executor"])]
)
def test_on_into_the_thread_of_an_executor(
    form: Body, expected: list[str], new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """What the task waits for runs there: its frames, without the executor's own, and its thread."""
    with waiting(form, new_loop) as where:
        seen = soon(where, ["job", *expected, "blocks", "wait", "wait"])
        assert seen.is_on_thread
        assert seen.thread_name.endswith("_0")
        assert seen.thread_id != threading.get_native_id()


def test_on_into_plain_code_that_sqlalchemy_runs() -> None:
    """In a greenlet, which waits for what the coroutine around it awaits: ORM, pools, the application's `run_sync`."""
    sqlalchemy = pytest.importorskip("sqlalchemy.util")

    async def bridged(leave: asyncio.Event) -> None:
        def plain() -> None:
            sqlalchemy.await_only(leaf(leave))

        await sqlalchemy.greenlet_spawn(plain)

    with waiting(bridged, asyncio.new_event_loop) as where:
        soon(where, ["job", "bridged", "greenlet_spawn", "plain", "await_only", *LEAF])


def test_on_into_the_thread_of_a_librarys_own() -> None:
    """aiosqlite has one for each connection."""
    aiosqlite = pytest.importorskip("aiosqlite")
    released = threading.Event()

    async def connected(leave: asyncio.Event) -> None:
        async with aiosqlite.connect(":memory:") as connection:
            await connection.create_function("stands", 0, released.wait)
            asyncio.get_running_loop().run_in_executor(None, leave_with, leave)
            await connection.execute("select stands()")

    def leave_with(leave: asyncio.Event) -> None:
        while not leave.is_set():
            time.sleep(0.01)
        released.set()

    with waiting(connected, asyncio.new_event_loop) as where:
        deadline = time.monotonic() + 20
        while functions(seen := sample_stack(where))[-3:] != ["_connection_worker_thread", "wait", "wait"]:
            assert time.monotonic() < deadline, functions(seen)
        assert seen.is_on_thread
        assert seen.thread_id != threading.get_native_id()


def test_work_that_no_thread_runs_yet() -> None:
    """It waits for its turn: the task's own frames are all that there is."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(blocks)

        async def queued(leave: asyncio.Event) -> None:
            await asyncio.get_running_loop().run_in_executor(executor, nothing_at_all)

        with waiting(queued, asyncio.new_event_loop) as where:
            assert not soon(where, ["job", "queued"]).is_on_thread


def nothing_at_all() -> None:
    return


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_child_that_blocks_the_loop(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """It comes before its elder sister: she cannot end before it lets go. Its frames are the thread's."""
    with waiting(beside_one_that_blocks, new_loop) as where:
        seen = soon(where, ["job", "beside_one_that_blocks", "blocking", "wait", "wait"])
        assert seen.is_on_thread
        assert seen.thread_name == "loop"


def test_tasks_that_wait_for_each_other() -> None:
    """The walk ends where it has been before."""
    tasks: list[asyncio.Task[None]] = []

    async def other(leave: asyncio.Event) -> None:
        await asyncio.shield(tasks[0])

    async def one(leave: asyncio.Event) -> None:
        tasks.append(asyncio.current_task())  # type: ignore[arg-type]
        tasks.append(asyncio.create_task(other(leave)))
        await asyncio.wait(tasks[1:])

    with waiting(one, asyncio.new_event_loop) as where:
        soon(where, ["job", "one", "wait", "_wait", "other"])
        where.task.get_loop().call_soon_threadsafe(tasks[1].cancel)  # type: ignore[union-attr]


def test_a_deep_chain_keeps_its_inner_end() -> None:
    """At most 128 frames."""

    async def deep(depth: int, leave: asyncio.Event) -> None:
        await (deep(depth - 1, leave) if depth else leaf(leave))

    with waiting(lambda leave: deep(300, leave), asyncio.new_event_loop) as where:
        deadline = time.monotonic() + 20
        while functions(sample_stack(where))[-2:] != LEAF:
            assert time.monotonic() < deadline
        assert len(sample_stack(where).steps) == 128


def test_whoever_looks_runs_nothing_of_the_application() -> None:
    """An awaitable of the application's own class is not asked for attributes."""
    asked: list[str] = []

    class Own:
        def __init__(self, future: asyncio.Future[Any]) -> None:
            self.future = future

        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            raise AttributeError(name)

        def __await__(self) -> Own:
            return self

        def __iter__(self) -> Own:
            return self

        def __next__(self) -> Any:
            if self.future.done():
                raise StopIteration
            self.future._asyncio_future_blocking = True
            return self.future

    async def own(leave: asyncio.Event) -> None:
        await Own(asyncio.ensure_future(leaf(leave)))

    with waiting(own, asyncio.new_event_loop) as where:
        asked.clear()
        soon(where, ["job", "own", *LEAF])
        assert asked == []


def test_reading_keeps_nothing_alive() -> None:
    """What a waiting function was given is let go of when it lets go, though its variables were read."""
    held: list[weakref.ref[asyncio.Task[None]]] = []

    async def lets_go(leave: asyncio.Event) -> None:
        first, second = asyncio.Event(), asyncio.create_task(leaf(leave))
        task = asyncio.create_task(leaf(first))
        held.append(weakref.ref(task))
        stop.append(first)
        await asyncio.wait([task])
        del task
        await second

    stop: list[asyncio.Event] = []
    with waiting(lets_go, asyncio.new_event_loop) as where:
        soon(where, ["job", "lets_go", "wait", "_wait", *LEAF])
        where.task.get_loop().call_soon_threadsafe(stop[0].set)  # type: ignore[union-attr]
        soon(where, ["job", "lets_go", *LEAF])
        gc.collect()
        assert held[0]() is None


def test_plain_code_that_runs_a_loop() -> None:
    """A job that calls `asyncio.run` stands where its coroutine does, not in the loop's selector."""
    there = threading.Event()
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        leave = asyncio.Event()
        started.append((asyncio.get_running_loop(), leave))
        there.set()
        await leaf(leave)

    runner = threading.Thread(target=lambda: asyncio.run(main()), name="job")
    runner.start()
    assert there.wait(20)
    assert runner.ident is not None
    where = ExecutionContext(runner.ident, None, None)
    deadline = time.monotonic() + 20
    while functions(seen := sample_stack(where))[-3:] != ["main", *LEAF]:
        assert time.monotonic() < deadline
    assert functions(seen)[-4] == "run_until_complete"
    assert not seen.is_on_thread
    loop, leave = started[0]
    loop.call_soon_threadsafe(leave.set)
    runner.join(20)
