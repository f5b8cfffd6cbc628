"""asyncio: tasks that wait for each other, and what keeps the loop from running."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import AsyncIterator

import requests
from tests.e2e.causes.place import here, ready, split
from tests.e2e.causes.way import JOB, lock, own_wait, wait, way

HOUR = 3600

# --- locks, events, queues -------------------------------------------------------------------------------------------

_rates = asyncio.Lock()


async def refresh_rates() -> None:
    async with _rates:
        ready()
        await asyncio.sleep(HOUR)


@way("lock_wait", span=lock("_rates"), beside=(refresh_rates,), where="task", held_by="refresh_rates")
async def asyncio_lock() -> None:
    async with _rates:  # <- stops here
        pass


@way("lock_wait", span=lock("_rates"), beside=(refresh_rates,), where="task", held_by="refresh_rates", host="uvloop")
async def asyncio_lock_under_uvloop() -> None:
    async with _rates:  # <- stops here
        pass


class Tokens:
    """Hides its lock behind a context manager."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        async with self._lock:  # <- lock_behind_a_context_manager stops here
            yield


_tokens = functools.cache(Tokens)


async def refresh_token() -> None:
    async with _tokens().exclusive():
        ready()
        await asyncio.sleep(HOUR)


@way("lock_wait", span=lock("_lock"), beside=(refresh_token,), where="task", held_by="refresh_token")
async def lock_behind_a_context_manager() -> None:
    async with _tokens().exclusive():
        pass


_left, _right = asyncio.Lock(), asyncio.Lock()


async def right_then_left() -> None:
    async with _right:
        ready()
        await asyncio.sleep(1)
        async with _left:
            pass


@way("deadlock", span=lock("_right"), beside=(right_then_left,), where="task", held_by="right_then_left")
async def deadlock_of_two_asyncio_locks() -> None:
    async with _left:
        await asyncio.sleep(2)
        async with _right:  # <- stops here
            pass


_slots = asyncio.Semaphore(1)


async def take_slot() -> None:
    async with _slots:
        ready()
        await asyncio.sleep(HOUR)


@way("lock_wait", span=lock("_slots"), beside=(take_slot,), where="task")
async def asyncio_semaphore() -> None:
    await _slots.acquire()  # <- stops here


_started = asyncio.Event()


@way("waiting", span=wait("_started") + "|job ")
async def asyncio_event() -> None:
    await _started.wait()  # <- stops here


@way("waiting", span=own_wait())
async def asyncio_queue() -> None:
    inbox: asyncio.Queue[int] = asyncio.Queue()
    await inbox.get()  # <- stops here


@way("waiting", span=own_wait())
async def asyncio_future() -> None:
    reply: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    await reply  # <- stops here


@way("waiting", span=own_wait())
async def asyncio_sleep() -> None:
    await asyncio.sleep(900)  # <- stops here


@way("waiting", span=own_wait())
async def asyncio_subprocess() -> None:
    child = await asyncio.create_subprocess_exec("sleep", "3600")
    await child.wait()  # <- stops here


# --- through other tasks ---------------------------------------------------------------------------------------------


async def _read_answer() -> None:
    reader, _writer = await asyncio.open_connection(*split(here().silent))
    await reader.readline()  # <- gather_of_which_one_hangs stops here  # <- shielded_task stops here


@way("socket_wait", span=own_wait(), peer="silent")
async def gather_of_which_one_hangs() -> None:
    await asyncio.gather(asyncio.sleep(0.1), _read_answer(), asyncio.sleep(0.2))


@way("socket_wait", span=own_wait(), peer="silent")
async def shielded_task() -> None:
    await asyncio.shield(_read_answer())


async def _wait_for_approval() -> None:
    await _started.wait()  # <- wait_for_with_a_long_timeout stops here  # <- task_group stops here


@way("waiting", span=wait("_started") + "|job ")
async def wait_for_with_a_long_timeout() -> None:
    await asyncio.wait_for(_wait_for_approval(), timeout=900)


@way("waiting", span=wait("_started") + "|job ", python=(3, 11))
async def task_group() -> None:
    async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined, unused-ignore]
        group.create_task(asyncio.sleep(0.1))
        group.create_task(_wait_for_approval())


@way("waiting", span=own_wait())
async def thread_of_an_executor() -> None:
    await asyncio.get_running_loop().run_in_executor(None, _sleep_long)


def _sleep_long() -> None:
    time.sleep(HOUR)  # <- thread_of_an_executor stops here


# --- the loop does not run -------------------------------------------------------------------------------------------


async def sync_call() -> None:
    """The culprit: a library that is not async."""
    ready()
    await asyncio.sleep(2)
    requests.get(f"http://{here().silent}/rates")


@way("event_loop_blocked", beside=(sync_call,), where="task", held_by="sync_call", in_test=True)
async def victim_of_a_sync_call() -> None:
    while True:
        await asyncio.sleep(0.2)  # <- stops here


async def sleeper() -> None:
    ready()
    await asyncio.sleep(2)
    time.sleep(HOUR)


@way("event_loop_blocked", beside=(sleeper,), where="task", held_by="sleeper", host="uvloop")
async def victim_of_a_sleep_under_uvloop() -> None:
    while True:
        await asyncio.sleep(0.2)  # <- stops here


async def cruncher() -> None:
    ready()
    await asyncio.sleep(2)
    number = 1
    while number:
        number = number % 1000 + 1


@way("event_loop_blocked", beside=(cruncher,), where="task", held_by="cruncher", is_heavy=True)
async def victim_of_a_computation() -> None:
    while True:
        await asyncio.sleep(0.2)  # <- stops here


async def _ticker() -> None:
    """Another task, that would like to run."""
    while True:
        await asyncio.sleep(0.1)


@way("event_loop_blocked", span=JOB)
async def sleep_that_blocks_the_loop() -> None:
    ticker = asyncio.create_task(_ticker())
    await asyncio.sleep(1)
    time.sleep(HOUR)  # <- stops here
    await ticker


@way(
    "event_loop_blocked",
    "cpu_loop",
    because="it computes without an end, and so keeps the loop from running",
    span=JOB,
    is_heavy=True,
)
async def computation_that_blocks_the_loop() -> None:
    ticker = asyncio.create_task(_ticker())
    await asyncio.sleep(1)
    number = 1
    while number:  # <- stops here
        number = number % 1000 + 1  # <- stops here
    await ticker


_guard = threading.Lock()


def hold_guard() -> None:
    with _guard:
        ready()
        time.sleep(HOUR)


@way(
    "event_loop_blocked",
    "lock_wait",
    because="it waits for a lock of threads, and so keeps the loop from running",
    span=r"(job|lock) ",
    beside=(hold_guard,),
)
async def thread_lock_that_blocks_the_loop() -> None:
    ticker = asyncio.create_task(_ticker())
    await asyncio.sleep(1)
    with _guard:  # <- stops here
        pass
    await ticker
