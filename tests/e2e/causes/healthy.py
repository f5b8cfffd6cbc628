"""Healthy jobs of all kinds, one kind a program: `python -m tests.e2e.causes.healthy KIND`, until it is ended.

Each is busy in its own way, and each ends within what it is allowed; the batch takes longer, but says how far it is.
`quick_program` runs one job and ends, as a cron job does.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import queue
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import requests
from tests.e2e.causes.place import here

from lastspan.instrumentation import job, progress

SECONDS: Final = 8.0
"""How long most of the jobs take."""


def _until(seconds: float = SECONDS) -> Callable[[], bool]:
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() < deadline


@job
def computes() -> None:
    """One core, in the same few lines."""
    goes_on, number = _until(), 1
    while goes_on():
        number = sum(value * value % 97 for value in range(number % 5000))


@job
def writes_files() -> None:
    goes_on, path = _until(), Path(here().path("data.bin"))
    while goes_on():
        path.write_bytes(bytes(2_000_000))
        path.read_bytes()


@job
def sleeps() -> None:
    time.sleep(SECONDS)


@job
def polls() -> None:
    goes_on = _until()
    while goes_on():
        time.sleep(0.5)


@job
def streams() -> None:
    """Reads a body as it comes."""
    goes_on = _until()
    with requests.get(f"http://{here().trickle}/stream", stream=True, timeout=30) as answer:
        for _ in answer.iter_content(1):
            if not goes_on():
                return


@job
def batch_with_progress() -> None:
    """Longer than it is allowed, and it says how far it is."""
    items = 150
    for item in range(items):
        time.sleep(0.2)
        progress(item + 1, items, f"item {item + 1}")


@job
def reads_pages() -> None:
    """The same call again and again, to an end."""
    goes_on = _until()
    while goes_on():
        requests.get(f"http://{here().pages}/orders", timeout=30).json()


@job
def pages_with_progress() -> None:
    """The same, for longer than it is allowed, and it says how far it is."""
    for page in range(200):
        requests.get(f"http://{here().pages}/orders", params={"page": page}, timeout=30)
        progress(page + 1, 200)
        time.sleep(0.1)


@job
def is_short() -> None:
    time.sleep(random.uniform(0, 0.05))


@job
def makes_garbage() -> None:
    """Cycles by the million: the collector of garbage stops everything for a while."""
    goes_on = _until()
    while goes_on():
        rings: list[Any] = [[] for _ in range(300_000)]
        for ring in rings:
            ring.append(ring)
        del rings
        gc.collect()


@job
async def many_tasks() -> None:
    """A loop with much to do, which never stands."""
    goes_on = _until()

    async def worker() -> None:
        while goes_on():
            await asyncio.sleep(0.01)
            sum(range(500))

    await asyncio.gather(*(worker() for _ in range(200)))


_ledger = threading.Lock()


@job
def takes_turns() -> None:
    """Threads that wait for one lock, each for a moment."""
    goes_on = _until()

    def book() -> None:
        while goes_on():
            with _ledger:
                time.sleep(0.002)

    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(book)


@job
def consumes() -> None:
    """It waits for its next order for longer than for any lock it may, and gets one now and then."""
    orders: queue.Queue[int] = queue.Queue()

    def order() -> None:
        for number in range(7):
            time.sleep(3)
            orders.put(number)

    threading.Thread(target=order, daemon=True).start()
    while orders.get() < 6:
        pass


@job
def forks_children() -> None:
    """Processes that run a job each, and end at once when it is over, without `atexit`."""
    processes = multiprocessing.get_context("fork")
    for _ in range(3):
        child = processes.Process(target=is_forked)
        child.start()
        child.join()


@job
def is_forked() -> None:
    time.sleep(2)


@job
def uses_sqlite() -> None:
    goes_on = _until()
    connection = sqlite3.connect(here().path("app.db"), timeout=30)
    connection.execute("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text)")
    while goes_on():
        with connection:
            connection.execute("INSERT INTO notes (text) VALUES ('hello')")
        connection.execute("SELECT count(*) FROM notes").fetchall()
    connection.close()


@job
def uses_postgres() -> None:
    """Two sessions that want the same row, each for a moment."""
    import psycopg

    goes_on = _until()
    with psycopg.connect(here().postgres, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS counters (id int PRIMARY KEY, value int)")
        connection.execute("INSERT INTO counters VALUES (1, 0) ON CONFLICT DO NOTHING")

    def count() -> None:
        with psycopg.connect(here().postgres, autocommit=True) as connection:
            while goes_on():
                with connection.transaction():
                    connection.execute("UPDATE counters SET value = value + 1 WHERE id = 1")
                    connection.execute("SELECT pg_sleep(0.02)")

    with ThreadPoolExecutor(2) as pool:
        for counting in [pool.submit(count) for _ in range(2)]:
            counting.result()


@job
def runs_programs() -> None:
    """Child processes, one after the other."""
    goes_on = _until()
    while goes_on():
        subprocess.run(["sleep", "1"], check=True)


KINDS: Final[dict[str, Callable[[], Any]]] = {
    function.__name__: function
    for function in (
        *(computes, writes_files, sleeps, polls, streams, batch_with_progress, is_short, makes_garbage, many_tasks),
        *(reads_pages, pages_with_progress),
        *(takes_turns, consumes, forks_children, uses_sqlite, uses_postgres, runs_programs),
    )
}


@job
def quick_program() -> None:
    time.sleep(random.uniform(1, 4))


def main(kind: str) -> None:
    """Run jobs of a kind for ever; `quick_program` once."""
    if kind == quick_program.__name__:
        quick_program()
        return
    while True:
        result = KINDS[kind]()
        if asyncio.iscoroutine(result):
            asyncio.run(result)


if __name__ == "__main__":
    main(*sys.argv[1:])
