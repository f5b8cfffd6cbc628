"""Which lock a blocked thread or task waits for, who holds it, and whether they wait for each other."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import multiprocessing
import queue
import sys
import threading
import time
import types
import weakref
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lastspan.instrumentation.evidence.locks.find import Holder, WaitedLock, find
from lastspan.instrumentation.registry.spans import ExecutionContext

HERE = "evidence/test_locks.py"
Pair = tuple[Callable[[Callable[[], None]], None], Callable[[], object]]


def marked(function: Callable[..., object], mark: str = "# waits") -> int:
    """Return the line that a comment marks."""
    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if line.rstrip().endswith(mark))


def jobs(key: int | asyncio.Task[Any]) -> str:
    """Name a job after its thread or task."""
    return f"job-{key.get_name()}" if isinstance(key, asyncio.Task) else ""


def look(where: ExecutionContext) -> WaitedLock | None:
    search = find(where, jobs)
    while True:
        try:
            next(search)
        except StopIteration as end:
            found: WaitedLock | None = end.value
            return found


def until(where: ExecutionContext, is_there: Callable[[WaitedLock], bool] = lambda _: True) -> WaitedLock:
    """Look until it stands where it should."""
    deadline = time.monotonic() + 20
    while True:
        found = look(where)
        if found is not None and is_there(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.001)


class Threads:
    """Threads of a test; they are let go and joined at its end."""

    def __init__(self) -> None:
        self._leave = threading.Event()
        self._all: list[threading.Thread] = []
        self.at_end: list[Callable[[], object]] = []

    def start(self, function: Callable[[], object], name: str) -> threading.Thread:
        def run() -> None:
            with contextlib.suppress(RuntimeError, ValueError):  # a lock that the test released for it
                function()

        started = threading.Thread(target=run, name=name, daemon=True)
        started.start()
        self._all.append(started)
        return started

    def hold(self, hold: Callable[[Callable[[], None]], object], name: str = "holder") -> threading.Thread:
        """Start a function that takes a lock; return when it is where the lock is held."""
        there = threading.Event()

        def work() -> None:
            there.set()
            self._leave.wait(60)

        started = self.start(lambda: hold(work), name)
        assert there.wait(20)
        return started

    def end(self) -> None:
        self._leave.set()
        for action in self.at_end:
            action()
        for one in self._all:
            one.join(20)
            assert not one.is_alive(), one


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads()
    yield made
    made.end()


def of(runner: threading.Thread) -> ExecutionContext:
    assert runner.ident is not None
    return ExecutionContext(runner.ident, None, None)


# --- holders, seen from the waiting thread ----------------------------------------------------------------------------


def with_attribute() -> Pair:
    class Pool:
        def __init__(self) -> None:
            self._lock = threading.Lock()

        def hold(self, work: Callable[[], None]) -> None:
            with self._lock:
                work()

        def want(self) -> None:
            with self._lock:  # waits
                pass

    pool = Pool()
    return pool.hold, pool.want


def private_name() -> Pair:
    class Pool:
        def __init__(self) -> None:
            self.__lock = threading.Lock()

        def hold(self, work: Callable[[], None]) -> None:
            with self.__lock:
                work()

        def want(self) -> None:
            self.__lock.acquire()  # waits
            self.__lock.release()

    pool = Pool()
    return pool.hold, pool.want


def element() -> Pair:
    locks = {"a": [threading.Lock(), threading.Lock()]}

    def hold(work: Callable[[], None]) -> None:
        with locks["a"][0 + 1]:
            work()

    def want() -> None:
        key = "a"
        with locks[key][1]:  # waits
            pass

    return hold, want


def second_item() -> Pair:
    one, two = threading.Lock(), threading.Lock()

    def hold(work: Callable[[], None]) -> None:
        with two:
            work()

    def want() -> None:
        with one, two:  # waits
            pass

    return hold, want


def several_frames_above() -> Pair:
    lock = threading.Lock()

    def middle(work: Callable[[], None]) -> None:
        try:
            sorted([1], key=lambda _: work() or 0)  # type: ignore[func-returns-value]
        finally:
            pass

    def hold(work: Callable[[], None]) -> None:
        with contextlib.nullcontext(), lock:
            for _ in range(1):
                middle(work)

    def want() -> None:
        with lock:  # waits
            pass

    return hold, want


def acquired_above() -> Pair:
    lock = threading.Lock()

    def hold(work: Callable[[], None]) -> None:
        lock.acquire()
        try:
            work()
        finally:
            lock.release()

    def want() -> None:
        with lock:  # waits
            pass

    return hold, want


def recursive() -> Pair:
    lock = threading.RLock()

    def take() -> None:  # the frame that took it is gone: the lock itself knows its owner
        lock.acquire()

    def hold(work: Callable[[], None]) -> None:
        take()
        work()
        lock.release()

    def want() -> None:
        with lock:  # waits
            pass

    return hold, want


def condition() -> Pair:
    changed = threading.Condition()

    def hold(work: Callable[[], None]) -> None:
        with changed:
            work()

    def want() -> None:
        with changed:  # waits
            pass

    return hold, want


def condition_is_its_lock() -> Pair:
    lock = threading.Lock()
    changed = threading.Condition(lock)

    def hold(work: Callable[[], None]) -> None:
        with changed:
            work()

    def want() -> None:
        with lock:  # waits
            pass

    return hold, want


def semaphore() -> Pair:
    slots = threading.BoundedSemaphore(1)

    def hold(work: Callable[[], None]) -> None:
        with slots:
            work()

    def want() -> None:
        with slots:  # waits
            pass

    return hold, want


def exit_stack() -> Pair:
    lock = threading.Lock()

    def hold(work: Callable[[], None]) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(lock)
            work()

    def want() -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(lock)  # waits

    return hold, want


def context_manager_made_before() -> Pair:
    lock = threading.Lock()

    @contextmanager
    def locked() -> Generator[None, None, None]:
        with lock:
            yield

    def hold(work: Callable[[], None]) -> None:
        manager = locked()
        with manager:
            work()

    def want() -> None:
        with lock:  # waits
            pass

    return hold, want


def same_call() -> Pair:
    locks: dict[str, threading.Lock] = {}

    def lock_for(key: str) -> threading.Lock:
        return locks.setdefault(key, threading.Lock())

    def hold(work: Callable[[], None]) -> None:
        with lock_for("a"):
            work()

    def want() -> None:
        key = "a"
        with lock_for(key):  # waits
            pass

    return hold, want


def own_context_manager() -> Pair:
    class Guard:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __enter__(self) -> None:
            self.lock.acquire()

        def __exit__(self, *error: object) -> None:
            self.lock.release()

    guard = Guard()

    def hold(work: Callable[[], None]) -> None:
        with guard:
            work()

    def want() -> None:
        with guard.lock:  # waits
            pass

    return hold, want


def decorator() -> Pair:
    lock = threading.Lock()

    def synchronized(function: Callable[..., None]) -> Callable[..., None]:
        def wrapper(*arguments: Any) -> None:
            with lock:
                function(*arguments)

        return wrapper

    @synchronized
    def hold(work: Callable[[], None]) -> None:
        work()

    def want() -> None:
        with lock:  # waits
            pass

    return hold, want


def rebound() -> Pair:
    one, two = threading.Lock(), threading.Lock()

    def hold(work: Callable[[], None]) -> None:
        with two:
            work()

    def want() -> None:
        lock = one
        with lock:  # what it holds is not what it is called by now
            lock = two
            with lock:  # waits
                pass

    return hold, want


def rebound_and_acquired() -> Pair:
    one, two = threading.Lock(), threading.Lock()

    def hold(work: Callable[[], None]) -> None:
        with two:
            work()

    def want() -> None:
        lock = one
        lock.acquire()
        lock = two
        lock.acquire()  # waits
        two.release()

    return hold, want


def of_processes() -> Pair:
    lock = multiprocessing.get_context("spawn").Lock()

    def hold(work: Callable[[], None]) -> None:
        with lock:
            work()

    def want() -> None:
        lock.acquire()  # waits
        lock.release()

    return hold, want


def parenthesised() -> Pair:
    lock = threading.Lock()

    def hold(work: Callable[[], None]) -> None:
        with (
            lock,
        ):
            work()

    def want() -> None:
        with (taken := lock):  # waits
            assert taken

    return hold, want


def of_a_key() -> Pair:
    locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def hold(work: Callable[[], None]) -> None:
        customer = "acme"
        with locks[f"of {customer}"]:
            work()

    def want() -> None:
        key = "of acme"
        with locks[key]:  # waits
            pass

    return hold, want


def behind_a_property() -> Pair:
    class Pool:
        def __init__(self) -> None:
            self._lock = threading.Lock()

        @property
        def lock(self) -> threading.Lock:
            return self._lock

    pool = Pool()

    def hold(work: Callable[[], None]) -> None:
        with pool._lock:
            work()

    def want() -> None:
        with pool.lock:  # waits
            pass

    return hold, want


def below_a_recursion() -> Pair:
    lock = threading.Lock()

    def deeper(work: Callable[[], None], depth: int) -> None:
        if depth:
            deeper(work, depth - 1)
        else:
            work()

    def hold(work: Callable[[], None]) -> None:
        with lock:
            deeper(work, 300)

    def want() -> None:
        with lock:  # waits
            pass

    return hold, want


HELD = [
    # scene, what the source calls it, class, certainty
    (with_attribute, "self._lock", "threading.Lock", "certain"),
    (private_name, "self.__lock", "threading.Lock", "certain"),
    (element, "locks[key][1]", "threading.Lock", "certain"),
    (second_item, "two", "threading.Lock", "certain"),
    (several_frames_above, "lock", "threading.Lock", "certain"),
    (acquired_above, "lock", "threading.Lock", "likely"),
    (recursive, "lock", "threading.RLock", "certain"),
    (condition, "changed", "threading.Condition", "certain"),
    (condition_is_its_lock, "lock", "threading.Lock", "certain"),
    (semaphore, "slots", "threading.BoundedSemaphore", "certain"),
    (exit_stack, "lock", "threading.Lock", "certain"),
    (context_manager_made_before, "lock", "threading.Lock", "certain"),
    (same_call, "lock_for(key)", "unknown", "likely"),
    (own_context_manager, "guard.lock", "threading.Lock", "likely"),
    (decorator, "lock", "threading.Lock", "certain"),
    (rebound, "lock", "threading.Lock", "certain"),
    (rebound_and_acquired, "lock", "threading.Lock", "certain"),
    (of_processes, "lock", "multiprocessing.Lock", "certain"),
    (of_a_key, "locks[key]", "threading.Lock", "certain"),
    (behind_a_property, "pool.lock", "threading.Lock", "certain"),
    (below_a_recursion, "lock", "threading.Lock", "certain"),
]


@pytest.mark.parametrize(("scene", "name", "kind", "certainty"), HELD, ids=[row[0].__name__ for row in HELD])
def test_who_holds_it(scene: Callable[[], Pair], name: str, kind: str, certainty: str, threads: Threads) -> None:
    """The lock by its name in the source and the waiting line; the thread that holds it, and where that one stands."""
    hold, want = scene()
    holder = threads.hold(hold)
    found = until(of(threads.start(want, "waiting")))
    assert found.name == f"{name} in {HERE}:{marked(scene)}"
    assert (found.kind, found.wait) == (kind, "semaphore" if "Semaphore" in kind else "lock")
    assert found.cycle == ()
    assert found.holder is not None
    assert (found.holder.thread, found.holder.ident, found.holder.certainty) == ("holder", holder.ident, certainty)
    assert (found.holder.task, found.holder.key) == (False, holder.ident)
    assert f"work, {HERE}:" in str(found.holder.code)


def test_a_name_that_means_another_object_by_now_is_no_evidence(threads: Threads) -> None:
    """Its holder is not known then."""
    lock, other = threading.Lock(), threading.Lock()

    def hold(work: Callable[[], None]) -> None:
        mine = lock
        with mine:
            work()
            mine = other

    def hold_other(work: Callable[[], None]) -> None:
        mine = other
        with mine:
            mine = lock
            work()

    threads.hold(hold)
    threads.hold(hold_other, "other")
    assert until(of(threads.start(partial(take, lock), "waiting"))).holder == UNKNOWN


def with_lock(lock: Any) -> Callable[[Callable[[], None]], None]:
    def hold(work: Callable[[], None]) -> None:
        with lock:
            work()

    return hold


def take(lock: threading.Lock) -> None:
    lock.acquire()
    lock.release()


UNKNOWN = Holder("", None, False, None, "unknown", None)
NOBODY = Holder("", None, False, None, "nobody", None)


def test_a_lock_that_was_never_released(threads: Threads) -> None:
    """Held by nobody: no other thread runs code of the application. With such a thread: unknown."""
    lock, recursive_lock = threading.Lock(), threading.RLock()

    def leak() -> None:
        lock.acquire()
        recursive_lock.acquire()

    def want() -> None:
        with lock:
            pass

    threads.start(leak, "leaking").join(20)
    threads.at_end.append(lock.release)
    waiting = threads.start(want, "waiting")
    # Threads that other tests have left behind might hold it, for all that can be seen.
    assert until(of(waiting)).holder in (NOBODY, UNKNOWN)
    threads.hold(lambda work: work(), "busy")
    assert until(of(waiting)).holder == UNKNOWN


def test_a_condition_is_given_back_while_it_is_waited_for(threads: Threads) -> None:
    """Who waits to be notified holds no lock, though it is inside the block; who has notified does."""
    changed = threading.Condition()
    waiting_there = threading.Event()

    def wait() -> None:
        with changed:
            waiting_there.set()
            changed.wait()  # waits

    def want() -> None:
        with changed:
            changed.notify_all()

    waiting = threads.start(wait, "waiting")
    assert waiting_there.wait(20)
    found = until(of(waiting), lambda one: one.wait == "condition")
    assert found.name == f"changed in {HERE}:{marked(test_a_condition_is_given_back_while_it_is_waited_for)}"
    assert (found.kind, found.holder) == ("threading.Condition", None)
    holder = threads.hold(with_lock(changed))
    found = until(of(threads.start(want, "wanting")), lambda one: one.wait == "lock")
    assert found.holder is not None
    assert found.holder.ident == holder.ident


class Named:
    """Things that are waited for, but that nobody holds."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.barrier = threading.Barrier(2)
        self.queue: queue.Queue[int] = queue.Queue()
        self.quick: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.future: Future[int] = Future()

    def wait_event(self) -> None:
        self.event.wait(60)

    def wait_barrier(self) -> None:
        self.barrier.wait(60)

    def wait_queue(self) -> None:
        self.queue.get(timeout=60)

    def wait_quick(self) -> None:
        self.quick.get(timeout=60)

    def wait_future(self) -> None:
        self.future.result(timeout=60)


@pytest.mark.parametrize(
    ("what", "kind", "end"),
    [
        ("event", "threading.Event", lambda it: it.event.set()),
        ("barrier", "threading.Barrier", lambda it: it.barrier.abort()),
        ("queue", "queue.Queue", lambda it: it.queue.put(1)),
        ("quick", "queue.SimpleQueue", lambda it: it.quick.put(1)),
        ("future", "concurrent.futures.Future", lambda it: it.future.set_result(1)),
    ],
)
def test_what_nobody_holds(what: str, kind: str, end: Callable[[Named], None], threads: Threads) -> None:
    """It has a name and a class, and no holder."""
    named = Named()
    threads.at_end.append(lambda: end(named))
    function = getattr(named, f"wait_{what}")
    found = until(of(threads.start(function, "waiting")))
    line = function.__func__.__code__.co_firstlineno + 1
    assert (found.name, found.kind) == (f"self.{what} in {HERE}:{line}", kind)
    assert found.wait == {"quick": "queue"}.get(what, what)
    assert (found.holder, found.cycle) == (None, ())


def test_a_thread_that_waits_for_nothing(threads: Threads) -> None:
    """There is nothing to tell; nor of a thread that has ended."""
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            pass

    threads.at_end.append(stop.set)
    assert look(of(threads.start(compute, "computing"))) is None
    ended = threads.start(lambda: None, "ended")
    ended.join(20)
    assert look(of(ended)) is None


def test_everybody_who_waits_for_a_lock_sees_the_same(threads: Threads) -> None:
    """By its identity, whatever each one calls it."""
    lock = threading.Lock()
    other_name = lock

    def want() -> None:
        with other_name:
            pass

    threads.hold(with_lock(lock))
    one = until(of(threads.start(partial(take, lock), "one")))
    assert one.identity == until(of(threads.start(want, "two"))).identity == id(lock)


# --- circles ----------------------------------------------------------------------------------------------------------


def turn(own: Any, others: Any, all_there: threading.Barrier) -> None:
    with own:
        all_there.wait(20)
        with others:  # waits
            pass


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    "make",
    [threading.Lock, partial(threading.Semaphore, 1), lambda: threading.Condition(threading.Lock())],
    ids=["lock", "semaphore", "condition"],
)
def test_locks_in_a_circle(make: Callable[[], Any], count: int, threads: Threads) -> None:
    """Each holds what the one before it waits for; from whichever it is seen, it is the same circle."""
    locks = [make() for _ in range(count)]
    all_there = threading.Barrier(count)
    turning = [
        threads.start(partial(turn, locks[at], locks[(at + 1) % count], all_there), f"t{at}") for at in range(count)
    ]
    threads.at_end.append(locks[0].release)
    for at, one in enumerate(turning):
        found = until(of(one), lambda seen: len(seen.cycle) == count)
        order = [(at + step) % count for step in range(count)]
        line = turn.__code__.co_firstlineno + 1
        assert found.cycle == tuple(
            f"thread t{member} holds own at turn, {HERE}:{line}, waits for others" for member in order
        )
        assert found.name == f"others in {HERE}:{marked(turn)}"
        assert found.holder is not None
        assert found.holder.thread == f"t{(at + 1) % count}"


def test_a_circle_of_locks_that_know_their_owner(threads: Threads) -> None:
    """Though the frames that took them are gone, and though they would give up in the end."""
    one, two = threading.RLock(), threading.RLock()
    both = threading.Barrier(2)
    stop = threading.Event()

    def take(lock: Any) -> None:
        lock.acquire()

    def run(own: Any, others: Any) -> None:
        take(own)
        both.wait(20)
        while not stop.is_set() and not others.acquire(timeout=0.5):
            pass

    first = threads.start(lambda: run(one, two), "first")
    threads.start(lambda: run(two, one), "second")
    threads.at_end.append(stop.set)
    found = until(of(first), lambda seen: bool(seen.cycle))
    assert [line.partition(" holds ")[0] for line in found.cycle] == ["thread first", "thread second"]
    assert all(line.endswith("waits for others") for line in found.cycle)


def test_who_waits_for_a_circle_is_told(threads: Threads) -> None:
    """Though it is not part of it: it waits for a thread of it, so for what that one waits for."""
    one, two = threading.Lock(), threading.Lock()
    both = threading.Barrier(2)
    first = threads.start(lambda: turn(one, two, both), "first")
    threads.start(lambda: turn(two, one, both), "second")
    threads.at_end.append(one.release)
    until(of(first), lambda seen: bool(seen.cycle))
    found = until(of(threads.start(first.join, "outside")), lambda seen: bool(seen.cycle))
    assert (found.wait, found.kind) == ("lock", "threading.Lock")
    assert found.holder is not None
    assert (found.holder.thread, found.holder.certainty) == ("second", "certain")
    assert [line.partition(" holds ")[0] for line in found.cycle] == ["thread first", "thread second"]


def test_a_semaphore_with_a_share_left_to_give_is_no_circle(threads: Threads) -> None:
    """One of its holders can go on."""
    slots, lock = threading.Semaphore(2), threading.Lock()  # the other share is with a thread that waits for no lock
    taken = threading.Event()

    def run() -> None:
        with slots:
            taken.set()
            with lock:
                pass

    def want() -> None:
        with lock:
            assert taken.wait(20)
            with slots:
                pass

    threads.hold(with_lock(slots), "free")
    wanting = threads.start(want, "wanting")
    running = threads.start(run, "running")
    until(of(running), lambda seen: seen.wait == "lock")
    found = until(of(wanting), lambda seen: seen.wait == "semaphore")
    assert found.cycle == ()


def test_a_thread_that_is_joined_inside_the_lock_it_wants(threads: Threads) -> None:
    """Lock and join make a circle too."""
    lock = threading.Lock()

    def want() -> None:
        with lock:
            pass

    def run() -> None:
        with lock:
            threads.start(want, "child").join()

    threads.at_end.append(lock.release)
    found = until(of(threads.start(run, "parent")), lambda seen: bool(seen.cycle))
    assert found.wait == "lock"
    assert [line.split(" ")[1] for line in found.cycle] == ["parent", "child"]


def test_a_result_that_is_awaited_inside_the_lock_it_needs(threads: Threads) -> None:
    """Lock and future make a circle, where the thread that works for the future is known."""
    lock = threading.Lock()

    def want() -> None:
        with lock:
            pass

    with ThreadPoolExecutor(1, thread_name_prefix="pool") as pool:

        def run() -> None:
            with lock:
                pool.submit(want).result()

        try:
            found = until(of(threads.start(run, "submitter")), lambda seen: bool(seen.cycle))
        finally:
            lock.release()
        assert found.wait == "lock"  # where the work stands that it waits for
        assert [line.split(" ")[1] for line in found.cycle] == ["submitter", "pool_0"]


# --- asyncio ----------------------------------------------------------------------------------------------------------


class Loop:
    """An event loop in a thread, with tasks by name."""

    def __init__(self, threads: Threads) -> None:
        self.loop = asyncio.new_event_loop()
        self.runner = threads.start(self._run, "loop")
        self.tasks: dict[str, asyncio.Task[Any]] = {}
        threads.at_end.append(lambda: self.loop.call_soon_threadsafe(self.loop.stop))

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(self.loop), return_exceptions=True))
        finally:
            self.loop.close()

    def start(self, coroutine: Coroutine[Any, Any, object], name: str) -> None:
        def create() -> None:
            self.tasks[name] = self.loop.create_task(coroutine, name=name)
            self.loop.call_soon(there.set)

        there = threading.Event()
        self.loop.call_soon_threadsafe(create)
        assert there.wait(20)

    def where(self, name: str) -> ExecutionContext:
        assert self.runner.ident is not None
        return ExecutionContext(self.runner.ident, self.tasks[name], None)


async def hold_async(lock: Any) -> None:
    async with lock:
        await asyncio.sleep(60)


async def want_async(lock: Any) -> None:
    async with lock:  # waits
        pass


async def want_within(lock: Any) -> None:
    await asyncio.wait_for(lock.acquire(), 50)  # waits


async def want_gathered(lock: Any) -> None:
    await asyncio.gather(asyncio.sleep(0), want_async(lock))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (asyncio.Lock, "asyncio.Lock"),
        (asyncio.Condition, "asyncio.Condition"),
        (partial(asyncio.BoundedSemaphore, 1), "asyncio.BoundedSemaphore"),
    ],
)
@pytest.mark.parametrize(
    ("want", "mark"),
    [(want_async, want_async), (want_within, want_within), (want_gathered, want_async)],
)
def test_a_lock_of_tasks(
    make: Callable[[], Any],
    kind: str,
    want: Callable[[Any], Coroutine[Any, Any, None]],
    mark: Callable[..., object],
    threads: Threads,
) -> None:
    """Held by the task whose coroutine is inside `async with` the same object."""
    if want is want_within and kind == "asyncio.Condition":
        kind = "asyncio.Lock"  # its method is the lock's own
    loop = Loop(threads)
    lock = asyncio.run_coroutine_threadsafe(_made(make), loop.loop).result(20)
    loop.start(hold_async(lock), "holder")
    loop.start(want(lock), "waiting")
    found = until(loop.where("waiting"))
    assert (found.name, found.kind) == (f"lock in {HERE}:{marked(mark)}", kind)
    assert found.holder is not None
    assert (found.holder.thread, found.holder.task, found.holder.certainty) == ("holder", True, "certain")
    assert found.holder.party is loop.tasks["holder"]
    assert found.holder.ident is None
    assert str(found.holder.code).endswith(f"hold_async, {HERE}:{hold_async.__code__.co_firstlineno + 2}")
    assert found.cycle == ()


class Tokens:
    """Gives its lock out by a method, and so hides it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        async with self._lock:  # waits
            yield


def test_a_lock_of_asyncio_that_a_context_manager_hides(threads: Threads) -> None:
    """Who is inside the block of a context manager is inside of its blocks too, whatever the source calls it."""
    loop = Loop(threads)
    tokens = asyncio.run_coroutine_threadsafe(_made(Tokens), loop.loop).result(20)

    async def run(seconds: float) -> None:
        made = {"tokens": tokens}
        async with made.pop("tokens").exclusive():  # nothing names it any more
            await asyncio.sleep(seconds)

    loop.start(run(60), "holder")
    loop.start(run(0), "waiting")
    found = until(loop.where("waiting"), lambda seen: seen.holder is not None and seen.holder.key is not None)
    assert found.name == f"self._lock in {HERE}:{marked(Tokens.exclusive.__wrapped__)}"  # type: ignore[attr-defined]
    assert found.holder is not None
    assert (found.holder.thread, found.holder.certainty) == ("holder", "certain")
    assert found.cycle == ()


async def _made(make: Callable[[], Any]) -> Any:
    """Make it inside the loop that uses it."""
    return make()


async def turn_async(own: Any, others: Any, seconds: float) -> None:
    async with own:
        await asyncio.sleep(seconds)
        async with others:
            pass


def test_tasks_in_a_circle(threads: Threads) -> None:
    """With the jobs that they run, as the caller names them."""
    loop = Loop(threads)
    one, two = asyncio.Lock(), asyncio.Lock()
    loop.start(turn_async(one, two, 0.01), "first")
    loop.start(turn_async(two, one, 0.01), "second")
    found = until(loop.where("first"), lambda seen: bool(seen.cycle))
    at = f"turn_async, {HERE}:{turn_async.__code__.co_firstlineno + 1}"
    assert found.cycle == (
        f"task first (job-first) holds own at {at}, waits for others",
        f"task second (job-second) holds own at {at}, waits for others",
    )


def test_a_task_that_awaits_a_task_that_wants_its_lock(threads: Threads) -> None:
    """Lock and await make a circle."""
    loop = Loop(threads)
    lock = asyncio.Lock()

    async def run() -> None:
        async with lock:
            await asyncio.create_task(want_async(lock), name="child")

    loop.start(run(), "parent")
    found = until(loop.where("parent"), lambda seen: bool(seen.cycle))
    assert found.name == f"lock in {HERE}:{marked(want_async)}"
    assert [line.split(" ")[1] for line in found.cycle] == ["parent", "child"]


def test_a_task_that_stops_its_loop_for_a_lock_of_another_task(threads: Threads) -> None:
    """A lock of threads, held over an await: its holder cannot go on, for the loop stands still."""
    loop = Loop(threads)
    lock = threading.Lock()

    async def hold() -> None:
        with lock:
            await asyncio.sleep(0.01)

    async def want() -> None:
        with lock:  # waits
            pass

    loop.start(hold(), "holder")
    loop.loop.call_soon_threadsafe(lambda: loop.tasks.update(wanting=loop.loop.create_task(want(), name="wanting")))
    threads.at_end.insert(0, lock.release)
    while "wanting" not in loop.tasks:
        time.sleep(0.001)
    found = until(loop.where("wanting"), lambda seen: bool(seen.cycle))
    assert (found.kind, found.holder and found.holder.party) == ("threading.Lock", loop.tasks["holder"])
    assert found.cycle[0] == "task wanting (job-wanting) waits for lock"
    assert found.cycle[1].endswith("waits for its event loop")
    assert found.cycle[1].startswith("task holder (job-holder) holds lock at ")


def test_a_loop_that_waits_for_a_lock_of_a_thread(threads: Threads) -> None:
    """The holder is the thread."""
    loop = Loop(threads)
    lock = threading.Lock()
    holder = threads.hold(with_lock(lock))

    async def want() -> None:
        with lock:
            pass

    loop.loop.call_soon_threadsafe(lambda: loop.tasks.update(wanting=loop.loop.create_task(want(), name="wanting")))
    while "wanting" not in loop.tasks:
        time.sleep(0.001)
    found = until(loop.where("wanting"))
    assert found.holder is not None
    assert (found.holder.key, found.holder.task) == (holder.ident, False)


# --- a guest ----------------------------------------------------------------------------------------------------------


def test_it_keeps_nothing_of_the_code_it_looked_at(threads: Threads) -> None:
    """What a function lets go of is gone, though its frame was read."""

    class Thing:
        pass

    lock = threading.Lock()
    gone = threading.Event()
    alive: list[weakref.ref[Thing]] = []

    def hold(work: Callable[[], None]) -> None:
        thing: Thing | None = Thing()
        alive.append(weakref.ref(thing))  # type: ignore[arg-type]
        with lock:
            work()
            thing = None
            gone.set()
            threading.Event().wait(0.01)

    threads.hold(hold)
    waiting = threads.start(partial(take, lock), "waiting")
    search = find(of(waiting), jobs)
    while look(of(waiting)) is None:
        time.sleep(0.001)
    search = find(of(waiting), jobs)
    next(search)
    next(search)  # in the middle of it
    threads._leave.set()
    assert gone.wait(20)
    assert alive[0]() is None
    search.close()


def test_it_looks_in_slices(threads: Threads) -> None:
    """The caller has its turn between them, and may stop there."""
    lock = threading.Lock()
    threads.hold(with_lock(lock))
    waiting = threads.start(partial(take, lock), "waiting")
    until(of(waiting))
    search = find(of(waiting), jobs)
    next(search)
    search.close()
    assert sum(1 for _ in find(of(waiting), jobs)) >= 2


def test_an_import_of_a_module_that_another_thread_imports(threads: Threads, tmp_path: Path, monkeypatch: Any) -> None:
    """The lock of a module knows its thread, and its name."""
    (tmp_path / "slow_settings.py").write_text("import threading\nimport slow_gate\nslow_gate.wait()\n")
    gate = threading.Event()
    module = types.ModuleType("slow_gate")
    arrived = threading.Event()

    def wait() -> None:
        arrived.set()
        gate.wait(20)

    module.wait = wait  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "slow_gate", module)
    monkeypatch.syspath_prepend(str(tmp_path))
    threads.at_end.append(gate.set)
    holder = threads.start(lambda: importlib.import_module("slow_settings"), "first")
    assert arrived.wait(20)
    waiter = threads.start(lambda: importlib.import_module("slow_settings"), "second")
    assert waiter.ident is not None
    found = until(ExecutionContext(waiter.ident, None, None), lambda one: one.holder is not None)
    assert found.name.startswith("import of slow_settings in ")
    assert found.holder is not None
    assert (found.holder.thread, found.holder.ident, found.holder.certainty) == ("first", holder.ident, "certain")
    gate.set()
    for thread in (holder, waiter):
        thread.join(20)
    del sys.modules["slow_settings"]
