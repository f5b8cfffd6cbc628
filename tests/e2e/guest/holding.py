"""Bodies of jobs that stand with their hands full: buffers, views, iterators in C, locks, threads, tasks.

Each takes *data* and stands for *seconds*, a moment at a time, with what it made of the data in its variables. Nothing
but the standard library and billiard: these run on any interpreter.
"""

from __future__ import annotations

import asyncio
import csv
import gc
import io
import pickle
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any, Final

_MOMENT: Final = 0.02
_STEPS_MAX: Final = 1000


def stand(seconds: float, steps: Iterator[Any]) -> int:
    """Take one step, sleep a moment, until the time is over; return how many steps there were."""
    until, taken = time.monotonic() + seconds, 0
    for step in steps:
        one = step
        taken += one is not None
        if time.monotonic() >= until:
            break
        time.sleep(_MOMENT)
    return taken


def views(data: bytes, seconds: float) -> int:
    """A view of a buffer, and slices of it, as billiard has one of each result."""
    buffer = io.BytesIO(data)
    view = buffer.getbuffer()
    return stand(seconds, (bytes(view[at : at + 64]) for at in range(0, len(view), 64)))


def pickled(data: bytes, seconds: float) -> int:
    """What billiard itself makes of a result: the view is all that holds its buffer."""
    try:
        from billiard.reduction import ForkingPickler
    except ImportError:
        view = io.BytesIO(pickle.dumps(data)).getbuffer()
    else:
        view = ForkingPickler.dumps(data)
    return stand(seconds, (view[at] for at in range(len(view))))


def rows(data: bytes, seconds: float) -> int:
    """A reader in C over an iterator in C."""
    reader = csv.reader(io.StringIO(data[:65_536].hex(",", 4)))
    return stand(seconds, (row for row in reader for _ in range(_STEPS_MAX)))


def matches(data: bytes, seconds: float) -> int:
    """An iterator over matches, which holds the buffer."""
    found = re.finditer(rb"..", memoryview(data))
    return stand(seconds, (match.span() for match in found))


def pairs(data: bytes, seconds: float) -> int:
    """Iterators of iterators, over views."""
    view = memoryview(data)
    both = zip(map(int, view), reversed(view), enumerate(view.cast("b")), strict=True)
    return stand(seconds, both)


def cursors(data: bytes, seconds: float) -> int:
    """A cursor of SQLite in the middle of its rows."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table parts (at integer, part blob)")
        parts = ((at, data[at : at + 16]) for at in range(0, min(len(data), 16 * _STEPS_MAX), 16))
        connection.executemany("insert into parts values (?, ?)", parts)
        cursor = connection.execute("select at, part from parts")
        return stand(seconds, cursor)


def generators(data: bytes, seconds: float) -> int:
    """A generator inside of a block, suspended in the middle of a view."""

    @contextmanager
    def opened() -> Iterator[memoryview]:
        with io.BytesIO(data) as buffer, buffer.getbuffer() as view, threading.Lock():
            yield view

    with opened() as view:
        return stand(seconds, (part for part in view))


def locked(data: bytes, seconds: float) -> int:
    """A lock that another thread has, and a view in both."""
    lock, is_taken = threading.Lock(), threading.Event()

    def holder() -> None:
        view = io.BytesIO(data).getbuffer()
        with lock:
            is_taken.set()
            time.sleep(seconds)
        assert len(view) == len(data)

    thread = threading.Thread(target=holder)
    thread.start()
    is_taken.wait()
    view = io.BytesIO(data).getbuffer()
    with lock:
        pass
    thread.join()
    return len(view)


def executed(data: bytes, seconds: float) -> int:
    """Work that an executor does, while another thread waits for it."""
    with ThreadPoolExecutor(2) as pool:
        view = io.BytesIO(data).getbuffer()
        parts = [pool.submit(views, data, seconds), pool.submit(pairs, data, seconds)]
        return sum(part.result() for part in parts) + len(view)


def awaited(data: bytes, seconds: float) -> int:
    """Tasks that wait for a lock, for each other, and for an executor."""

    async def waits(lock: asyncio.Lock) -> int:
        view = io.BytesIO(data).getbuffer()
        async with lock:
            return len(view)

    async def main() -> int:
        asyncio.get_running_loop().slow_callback_duration = 60  # in `-X dev` each wait for a core would be told
        lock = asyncio.Lock()
        async with lock:
            waiting = [asyncio.create_task(waits(lock)) for _ in range(3)]
            await asyncio.get_running_loop().run_in_executor(None, views, data, seconds)
        return sum(await asyncio.gather(*waiting))

    return asyncio.run(main())


def collected(data: bytes, seconds: float) -> int:
    """Rings of views and buffers that only the garbage collector frees."""
    for _ in islice(iter(int, 1), 20):
        ring: list[Any] = [io.BytesIO(data[:4096])]
        ring.append(ring)
        time.sleep(seconds / 20)
    return gc.collect()


BODIES: Final[dict[str, Callable[[bytes, float], int]]] = {
    body.__name__: body
    for body in (*(views, pickled, rows, matches, pairs, cursors, generators, locked, executed, awaited, collected),)
}
