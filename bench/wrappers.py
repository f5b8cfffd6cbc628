"""What the wrappers of libraries add to a lock that is free, and to a query, on the job's own thread."""

from __future__ import annotations

import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from statistics import median
from typing import Any, Final

import filelock
import redis
from opentelemetry.instrumentation.dbapi import CursorTracer, DatabaseApiIntegration
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from tests.servers import MissingProgramError, Redis

from lastspan.instrumentation import job
from lastspan.instrumentation.agent import start, stop
from lastspan.instrumentation.libraries.db_sessions import DbSessionsInstrumentor
from lastspan.instrumentation.libraries.file_locks import FileLocksInstrumentor
from lastspan.instrumentation.libraries.redis_locks import RedisLocksInstrumentor

from .report import Bound, Column, Options, Progress, Report

_CYCLES: Final = 200
_ROUNDS: Final = 60
_LOCK_LIMIT: Final = 1.05
_QUERY_LIMIT_US: Final = 0.3

Cycle = Callable[[], Any]


def run(options: Options) -> Report:
    """Each cycle with and without its wrapper, in turn, within one job."""
    count, number = options.of(_CYCLES, 5), options.rounds_of(_ROUNDS)
    os.environ["OTEL_LASTSPAN_ENDPOINT"] = "http://127.0.0.1:9"  # nobody is there
    start()
    try:
        with ExitStack() as stack, job("bench"):
            rows: list[dict[str, Any]] = [
                _row(name, instrumentor, cycle, count, number) if cycle is not None else {"variant": name, "means": why}
                for name, instrumentor, cycle, why in _subjects(stack)
            ]
    finally:
        stop()
    by_name = {row["variant"]: row for row in rows}
    return Report(
        "wrappers",
        "CPU that wrappers of libraries add",
        [
            Column("without", "µs without"),
            Column("us", "µs with"),
            Column("added", "added µs"),
            Column("times", "× without", 3),
        ],
        rows,
        bounds=[
            *(
                Bound(f"{name}: at most × {_LOCK_LIMIT} of a lock's cycle", by_name[name].get("times"), _LOCK_LIMIT)
                for name in ("redis.lock", "filelock")
            ),
            Bound(f"a query: at most +{_QUERY_LIMIT_US} µs", by_name["query"].get("added"), _QUERY_LIMIT_US),
        ],
        ratios={f"{row['variant']} × without": row.get("times") for row in rows},
        notes=[f"{number} rounds of {count} cycles with and without, in shuffled order; medians; thread CPU time."],
        packages=("redis", "filelock", "opentelemetry-instrumentation-dbapi"),
    )


def _subjects(stack: ExitStack) -> Iterator[tuple[str, BaseInstrumentor, Cycle | None, str]]:
    yield "redis.lock", RedisLocksInstrumentor(), _redis_cycle(stack), "skipped: no redis-server here"
    yield "filelock", FileLocksInstrumentor(), _file_cycle(stack), ""
    yield "query", DbSessionsInstrumentor(), _query_cycle(stack), ""


def _redis_cycle(stack: ExitStack) -> Cycle | None:
    try:
        server = stack.enter_context(Redis())
    except MissingProgramError:
        return None
    client = stack.enter_context(closing(redis.Redis.from_url(server.dsn)))

    def cycle() -> None:
        with client.lock("bench", timeout=10):
            pass

    return cycle


def _file_cycle(stack: ExitStack) -> Cycle:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    lock = filelock.FileLock(os.path.join(folder, "bench.lock"))

    def cycle() -> None:
        with lock:
            pass

    return cycle


class _Connection(sqlite3.Connection):
    """As those of network databases, it knows weak references."""


def _query_cycle(stack: ExitStack) -> Cycle:
    connection = stack.enter_context(closing(sqlite3.connect(":memory:", factory=_Connection)))
    cursor = connection.cursor()
    tracer: CursorTracer[Any] = CursorTracer(DatabaseApiIntegration("bench", "sqlite"))
    return lambda: tracer.traced_execution(cursor, cursor.execute, "select 1")


def _row(name: str, instrumentor: BaseInstrumentor, cycle: Cycle, count: int, number: int) -> dict[str, Any]:
    taken: dict[bool, list[float]] = {True: [], False: []}
    progress = Progress(f"wrappers: {name}", number)
    for _ in range(number):
        for is_wrapped in random.sample((True, False), 2):
            with _instrumented(instrumentor) if is_wrapped else ExitStack():
                taken[is_wrapped].append(_us(cycle, count))
        progress.step()
    without, us = median(taken[False]), median(taken[True])
    added = median(mine - theirs for mine, theirs in zip(taken[True], taken[False], strict=True))
    return {
        "variant": name,
        "without": without,
        "us": us,
        "added": added,
        "times": 1 + added / without,
        "means": _MEANS[name],
    }


_MEANS: Final = {
    "redis.lock": "acquire and release of redis-py's lock, free, with a real server",
    "filelock": "acquire and release of filelock's FileLock, free",
    "query": "a query through the official DB-API instrumentation (SQLite in memory), whose connection is noted",
}


@contextmanager
def _instrumented(instrumentor: BaseInstrumentor) -> Iterator[None]:
    instrumentor.instrument()
    try:
        yield
    finally:
        instrumentor.uninstrument()


def _us(cycle: Cycle, count: int) -> float:
    cycle()
    began = time.thread_time_ns()
    for _ in range(count):
        cycle()
    return (time.thread_time_ns() - began) / count / 1000
