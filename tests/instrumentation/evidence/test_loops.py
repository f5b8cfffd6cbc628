"""Event loops that do not run, and who keeps them busy."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvloop
from tests.instrumentation.evidence.standing import soon

from lastspan.instrumentation.evidence.loops.lag import Loops

NewLoop = Callable[[], asyncio.AbstractEventLoop]


@contextmanager
def running(new_loop: NewLoop) -> Iterator[tuple[asyncio.AbstractEventLoop, int]]:
    """Run a loop in a thread of its own."""
    loop = new_loop()
    runner = threading.Thread(target=loop.run_forever)
    runner.start()
    assert runner.ident is not None
    soon(loop.is_running, bool)
    try:
        yield loop, runner.ident
    finally:
        loop.call_soon_threadsafe(loop.stop)
        runner.join(20)
        loop.close()


def turn(loop: asyncio.AbstractEventLoop) -> None:
    """Return when the loop has done all that it was asked to do before."""
    passed = threading.Event()
    loop.call_soon_threadsafe(passed.set)
    assert passed.wait(20)


@contextmanager
def blocked(loop: asyncio.AbstractEventLoop) -> Iterator[asyncio.Task[None]]:
    """Let a task of the loop block it."""
    there, leave = threading.Event(), threading.Event()
    tasks: list[asyncio.Task[None]] = []

    async def blocks() -> None:
        tasks.append(asyncio.current_task())  # type: ignore[arg-type]
        there.set()
        leave.wait(60)

    submitted = asyncio.run_coroutine_threadsafe(blocks(), loop)
    assert there.wait(20)
    try:
        yield tasks[0]
    finally:
        leave.set()
        submitted.result(20)


LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


@LOOPS
def test_a_loop_that_runs(new_loop: NewLoop) -> None:
    """It answers: it is never late, however much time passes."""
    loops = Loops()
    with running(new_loop) as (loop, thread):
        for now in range(20):
            loops.ping(loop, float(now), thread)
            turn(loop)
            assert loops.lag(loop, now + 0.9) == 0


@LOOPS
def test_a_loop_that_is_blocked(new_loop: NewLoop) -> None:
    """Late from the second look on, since the ping that did not come back; the task that blocks it, and its thread."""
    loops = Loops()
    with running(new_loop) as (loop, thread):
        with blocked(loop) as task:
            lags = []
            for now in range(4):
                loops.ping(loop, float(now), thread)
                lags.append(loops.lag(loop, float(now)))
            assert lags == [0, 0, 2, 3]
            assert loops.culprit(loop) == (task, thread)
        turn(loop)
        loops.ping(loop, 4.0, thread)
        assert loops.lag(loop, 4.0) == 0
        assert loops.culprit(loop) == (None, thread)


def test_only_one_ping_is_on_its_way() -> None:
    """A loop that is blocked for long does not find a heap of them."""
    loops = Loops()
    with running(asyncio.new_event_loop) as (loop, thread):
        with blocked(loop):
            for now in range(100):
                loops.ping(loop, float(now), thread)
            assert len(loop._ready) <= 1  # type: ignore[attr-defined]


def test_a_watcher_that_overslept() -> None:
    """The process was stopped, or the watcher had no core: the time does not count, and it begins anew."""
    loops = Loops()
    with running(asyncio.new_event_loop) as (loop, thread):
        with blocked(loop):
            for now in (0.0, 1.0, 2.0):
                loops.ping(loop, now, thread)
            assert loops.lag(loop, 2.0) == 2
            loops.ping(loop, 500.0, thread)
            assert loops.lag(loop, 500.0) == 0
            loops.ping(loop, 501.0, thread)
            assert loops.lag(loop, 501.0) == 0
            loops.ping(loop, 502.0, thread)
            assert loops.lag(loop, 502.0) == 2


def test_a_short_delay_says_nothing() -> None:
    loops = Loops()
    with running(asyncio.new_event_loop) as (loop, thread):
        with blocked(loop):
            for now in (0.0, 0.1, 0.2):
                loops.ping(loop, now, thread)
            assert loops.lag(loop, 0.2) == 0


@LOOPS
def test_a_closed_loop(new_loop: NewLoop) -> None:
    """It is asked nothing, and is not late."""
    loops = Loops()
    loop = new_loop()
    loop.close()
    for now in range(5):
        loops.ping(loop, float(now))
        assert loops.lag(loop, float(now)) == 0
    assert loops.culprit(loop) == (None, 0)


def test_a_loop_that_has_stopped() -> None:
    """Between two `run_until_complete` nothing runs: that is no block."""
    loops = Loops()
    loop = asyncio.new_event_loop()
    for now in range(5):
        loops.ping(loop, float(now))
    assert loops.lag(loop, 4.0) == 0
    loop.close()


@LOOPS
def test_it_keeps_no_loop_alive(new_loop: NewLoop) -> None:
    loops = Loops()
    loop = new_loop()
    loops.ping(loop, 0.0)
    loop.close()
    del loop
    gc.collect()
    other = new_loop()
    loops.ping(other, 1.0)
    assert len(loops) == 1
    other.close()


def test_a_loop_whose_job_is_over_is_left_alone() -> None:
    """Nobody asks for it any more: it is forgotten, and may sleep."""
    loops = Loops()
    with running(asyncio.new_event_loop) as (loop, thread), running(asyncio.new_event_loop) as (other, other_thread):
        loops.ping(loop, 0.0, thread)
        turn(loop)
        for now in range(1, 70):
            loops.ping(other, float(now), other_thread)
        assert len(loops) == 1
    loops.clear()
    assert len(loops) == 0


def test_a_callback_that_blocks() -> None:
    """No task of its own: the thread is known all the same."""
    loops = Loops()
    leave = threading.Event()
    with running(asyncio.new_event_loop) as (loop, thread):
        loop.call_soon_threadsafe(leave.wait, 60)
        for now in range(4):
            loops.ping(loop, float(now), thread)
        assert loops.lag(loop, 3.0) == 3
        assert loops.culprit(loop) == (None, thread)
        leave.set()


def test_a_task_that_waits_is_a_victim() -> None:
    """The culprit is the one that runs, not the late job that was pinged for."""
    loops = Loops()
    victims: list[asyncio.Task[Any]] = []

    async def start(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        victims.append(asyncio.create_task(body()))

    async def victim() -> None:
        await asyncio.sleep(900)

    with running(asyncio.new_event_loop) as (loop, thread):
        asyncio.run_coroutine_threadsafe(start(victim), loop).result(20)
        with blocked(loop) as task:
            for now in range(4):
                loops.ping(loop, float(now), thread)
            assert loops.culprit(loop)[0] is task
            assert task is not victims[0]
        loop.call_soon_threadsafe(victims[0].cancel)
        turn(loop)
