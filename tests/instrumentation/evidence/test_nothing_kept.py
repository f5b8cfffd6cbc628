"""Nothing of the host lives longer for our having looked at it: no frame, local, task, greenlet, lock or exception.

The garbage collector is off: what a job had is gone with the job, in every kind of look, and where a look fails.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import io
import logging
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.trace import SpanKind
from tests.instrumentation.live import Live
from tests.instrumentation.live import live as live
from tests.instrumentation.worker import Worker, of, worker

from lastspan.instrumentation import job as as_job
from lastspan.instrumentation.announce import sampling
from lastspan.instrumentation.evidence import diagnosis, python
from lastspan.instrumentation.evidence.locks import find, graph, holders
from lastspan.instrumentation.evidence.stack import frames
from lastspan.instrumentation.guest.errors import describe_error
from lastspan.instrumentation.registry.run import Run
from lastspan.semconv import attributes as a
from lastspan.semconv import events


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Thing:
    """What a job has in a variable."""


class Job:
    """One job: it takes things, stands until it is let go, and ends."""

    def __init__(self, made: Worker) -> None:
        self._made = made
        self.lock = threading.Lock()
        self.lock.acquire()
        self.is_there = threading.Event()
        self.things: list[weakref.ref[Any]] = []
        """That its functions had."""

    def thing(self) -> Any:
        thing = Thing()
        self.things.append(weakref.ref(thing))
        return thing

    def view(self) -> Any:
        buffer = io.BytesIO(b"x" * 100)
        view = buffer.getbuffer()
        self.things += [weakref.ref(buffer), weakref.ref(view)]
        return view

    @contextmanager
    def span(self) -> Iterator[None]:
        run = Run("job")
        run.is_ours = True
        self._made.spans.claim(run)
        span = self._made._start("job", None, SpanKind.CONSUMER, {})
        try:
            yield
        finally:
            self._made.end_here(span)

    def leave(self) -> None:
        self.lock.release()


# --- where a job runs -------------------------------------------------------------------------------------------------


def body(job: Job) -> None:
    thing, view = job.thing(), job.view()
    with job.span():
        wait(job)
    assert thing, view


def wait(job: Job) -> None:
    thing = job.thing()
    job.is_there.set()
    job.lock.acquire()
    assert thing


def on_this_thread(job: Job) -> None:
    body(job)


def on_a_thread(job: Job) -> None:
    thread = threading.Thread(target=body, args=(job,))
    thread.start()
    thread.join()


def on_an_executor(job: Job) -> None:
    def outer() -> None:
        thing = job.thing()
        with job.span(), concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(wait, job).result()
        assert thing

    on_thread(outer)


def in_a_generator(job: Job) -> None:
    def steps() -> Iterator[int]:
        thing = job.thing()
        wait(job)
        yield 1
        assert thing

    def outer() -> None:
        with job.span():
            for _ in steps():
                pass

    on_thread(outer)


def in_a_managed_block(job: Job) -> None:
    """A suspended generator is inside of a lock."""
    held = threading.Lock()

    @contextmanager
    def locked() -> Iterator[None]:
        thing, view = job.thing(), job.view()
        with held:
            yield
        assert thing, view

    def outer() -> None:
        manager = locked()
        with job.span(), manager:
            wait(job)

    on_thread(outer)


def in_a_task(job: Job) -> None:
    """The task waits for a lock of asyncio's that another one holds, inside of two more awaits."""

    async def inner(lock: asyncio.Lock) -> None:
        thing = job.thing()
        job.is_there.set()
        async with lock:
            pass
        assert thing

    async def holder(lock: asyncio.Lock) -> None:
        thing = job.thing()
        async with lock:
            await asyncio.get_running_loop().run_in_executor(None, job.lock.acquire)
        assert thing

    async def outer() -> None:
        lock = asyncio.Lock()
        thing, view = job.thing(), job.view()
        other = asyncio.create_task(holder(lock))
        task = asyncio.current_task()
        assert task is not None
        job.things += [weakref.ref(lock), weakref.ref(other), weakref.ref(task)]
        await asyncio.sleep(0.01)
        with job.span():
            await asyncio.wait_for(inner(lock), 60)
        await other
        assert thing, view

    on_thread(lambda: asyncio.run(outer()))


def in_a_circle_of_tasks(job: Job) -> None:
    async def one(first: asyncio.Lock, second: asyncio.Lock) -> None:
        thing = job.thing()
        async with first:
            await asyncio.sleep(0.01)
            job.is_there.set()
            try:
                with job.span():
                    async with second:
                        pass
            except asyncio.CancelledError:
                pass
        assert thing

    async def outer() -> None:
        first, second = asyncio.Lock(), asyncio.Lock()
        job.things += [weakref.ref(first), weakref.ref(second)]
        pair = [asyncio.create_task(one(first, second)), asyncio.create_task(one(second, first))]
        job.things += [weakref.ref(task) for task in pair]
        await asyncio.get_running_loop().run_in_executor(None, job.lock.acquire)
        for task in pair:
            task.cancel()
        await asyncio.wait(pair)

    on_thread(lambda: asyncio.run(outer()))


def in_a_greenlet(job: Job) -> None:
    pytest.importorskip("gevent")
    greenlet = pytest.importorskip("greenlet")

    def inside() -> None:
        thing, view = job.thing(), job.view()
        with job.span():
            greenlet.getcurrent().parent.switch()
        assert thing, view

    def outer() -> None:
        fiber = greenlet.greenlet(inside)
        job.things.append(weakref.ref(fiber))
        fiber.switch()
        wait(job)
        fiber.switch()

    on_thread(outer)


def on_thread(function: Callable[[], None]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()
    thread = None  # type: ignore[assignment]


PLACES: list[Callable[[Job], None]] = [
    *(on_this_thread, on_a_thread, on_an_executor, in_a_generator, in_a_managed_block),
    *(in_a_task, in_a_circle_of_tasks, in_a_greenlet),
]


def watched(place: Callable[[Job], None], is_enough: Callable[[list[Any]], object]) -> list[str]:
    """Run a job in a place, under looks of all kinds, until that is enough; return what of it lives on."""
    said: list[Any] = []
    with worker() as made:
        run = Job(made)

        def watch() -> None:
            assert run.is_there.wait(20)
            deadline = time.monotonic() + 20
            while not is_enough(said) and time.monotonic() < deadline:
                said.extend(made.watch(40))
            run.leave()

        watcher = threading.Thread(target=watch)
        watcher.start()
        place(run)
        watcher.join()
        alive = [repr(thing) for one in run.things if (thing := one()) is not None]
        thing = None
        assert run.things
    assert is_enough(said)
    return alive


def is_diagnosed(said: list[Any]) -> bool:
    return any(record.attributes.get(a.WAIT_KIND) for record in of(said, events.SPAN_OPEN))


def is_seen(said: list[Any]) -> bool:
    return any(record.attributes.get(a.CODE_STACKTRACE) for record in of(said, events.SPAN_OPEN))


@pytest.mark.parametrize("place", PLACES)
def test_nothing_of_a_job_lives_longer_than_the_job(place: Callable[[Job], None]) -> None:
    """Sampled, diagnosed, its locks searched: what it had is gone with it, without a collection."""
    assert watched(place, lambda said: True) == [], "it keeps itself alive"
    assert watched(place, is_seen if place is in_a_greenlet else is_diagnosed) == []


PARTS: list[tuple[Any, str]] = [
    (sampling, "look"),
    (python, "in_reach"),
    (sampling, "diagnose"),
    (sampling, "find"),
    (diagnosis, "wait"),
    (diagnosis, "session"),
    (diagnosis, "_kernel"),
    (find, "wait_of"),
    (find, "_holder"),
    (graph, "holds_of"),
    (holders, "_acquired"),
    (frames, "_both_ends"),
    (python, "in_reach"),
    (python, "managers_of"),
]


@pytest.mark.parametrize(("module", "name"), PARTS, ids=lambda part: part if isinstance(part, str) else "")
def test_nothing_is_kept_where_a_look_fails(
    module: Any, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever part of it fails, with whatever in its hands, and though somebody keeps what was logged."""
    caplog.set_level(logging.DEBUG)

    def broken(*given: Any, **named: Any) -> Any:
        failed.append(name)
        raise RuntimeError("broken", given)  # with what is the host's

    failed: list[str] = []
    monkeypatch.setattr(module, name, broken)
    assert watched(in_a_managed_block, lambda said: failed) == []
    assert not [record for record in caplog.records if record.exc_info]


def test_what_is_told_of_an_error_lets_go_of_what_our_frames_held() -> None:
    """Its class and lines are told, not its message; and the frames of ours that it went through hold nothing more."""
    with pytest.raises(AttributeError) as raised:
        sampling.SampledSpan("").take("secret", 0.0)  # type: ignore[arg-type]
    *_, (frame, _) = traceback.walk_tb(raised.tb)
    assert frame.f_locals["seen"] == "secret"
    told = describe_error(raised.value)
    assert told.startswith("AttributeError < take, sampling.py:")
    assert "secret" not in told
    assert "seen" not in frame.f_locals


def test_what_is_told_of_an_error_leaves_the_hosts_frames_alone() -> None:
    """The host's error, while which ours happened, may have passed a generator that goes on."""

    def goes_on() -> Iterator[BaseException | str]:
        try:
            raise KeyError("the host's")
        except KeyError as error:
            yield error
        yield "goes on"

    steps = goes_on()

    def fails() -> None:
        try:
            raise next(steps)  # type: ignore[misc]
        except KeyError:
            raise ValueError("ours")  # noqa: B904

    with pytest.raises(ValueError) as raised:
        fails()
    assert describe_error(raised.value).startswith("ValueError < ")
    assert next(steps) == "goes on"


def test_a_block_that_is_a_job_does_not_keep_the_function_around_it(live: Live) -> None:
    """`with job(…)` asks who calls, and remembers no frame of it."""
    refs: list[weakref.ref[Thing]] = []

    def work() -> None:
        thing = Thing()
        refs.append(weakref.ref(thing))
        with as_job("nightly"):
            pass

    work()
    assert refs[0]() is None


def test_a_holder_that_is_gone_is_not_kept_by_those_who_waited_for_it() -> None:
    """What was found of a lock stays known until the next look; the task that held it does not live until then."""
    task = type("Task", (), {})()
    holder = find.Holder("one", None, True, None, "certain", find.known_by(task))
    assert holder.party is task
    del task
    assert holder.party is None


def test_a_task_that_nobody_will_wake_is_free_to_go(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its span is open for ever, and is in the task's own context: the registry keeps neither."""
    # The API logs that the context is another's when the task is ended; the record, with its frames, would be kept.
    monkeypatch.setattr(logging.getLogger("opentelemetry.context"), "disabled", True)
    gone: list[weakref.ref[Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # it says that a task was lost

        async def waits() -> None:
            thing = Thing()
            gone.append(weakref.ref(thing))
            with as_job("waits"):
                await asyncio.get_running_loop().create_future()

        task = asyncio.create_task(waits())
        gone.append(weakref.ref(task))
        await asyncio.sleep(0)
        del task
        for _ in range(2):  # the first ends its coroutine, which runs code: on 3.15 the task may outlive that one
            gc.collect()
        assert [one() for one in gone] == [None, None]

    asyncio.run(main())


VIEW = """
import faulthandler, gc, io, sys, threading
faulthandler.enable()
from lastspan.instrumentation.evidence.stack import frames
from lastspan.instrumentation.registry.spans import Where

gc.disable()
there, leave = threading.Event(), threading.Event()

def job():
    view = io.BytesIO(b"x" * 100).getbuffer()
    there.set()
    leave.wait()

thread = threading.Thread(target=job, daemon=True)
thread.start()
there.wait()
frames.look(Where(thread.ident, None, None))
leave.set()
thread.join()
print(sum(type(one).__name__ == "frame" and one.f_code is job.__code__ for one in gc.get_objects()))
gc.collect()
print("alive")
"""


def test_a_look_at_a_view_of_a_buffer_does_not_end_the_process() -> None:
    """As of every result that billiard pickles: on CPython 3.12.1 collecting a frame that has one is a crash."""
    done = subprocess.run([sys.executable, "-X", "dev", "-c", VIEW], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "0\nalive\n"), done.stderr
