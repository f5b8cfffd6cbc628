"""Runs one way as a program of its own: `python -m tests.e2e.causes.program FAMILY NAME [PARTY]`.

With PARTY it is the job beside it, of that name. The parties in the same program are started first, one by one.
"""

from __future__ import annotations

import os
import sys

if os.environ.get("CAUSES_HOST") == "gevent":
    from gevent import monkey

    monkey.patch_all()

import asyncio
import importlib
import inspect
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from tests.e2e.causes.place import expect_ready, is_ready
from tests.e2e.causes.way import WAYS, Way

from lastspan.instrumentation import job


def main(family: str, name: str, party: str | None = None) -> None:
    """Run the way, or one of the parties beside it."""
    importlib.import_module(f"tests.e2e.causes.ways.{family}")
    way = WAYS[name]
    if party is not None:
        _run(next(function for function in way.beside if function.__name__ == party), f"{name}.{party}")
    elif inspect.iscoroutinefunction(way.function):
        _run_loop(way)
    else:
        if way.where == "thread":
            _start_threads(way)
        job(name)(way.function)()


def _run(function: Callable[..., Any], name: str) -> None:
    result = job(name)(function)()
    if inspect.iscoroutine(result):
        asyncio.run(result)


def _start_threads(way: Way) -> None:
    for function in way.beside:
        expect_ready()
        arguments = (function, f"{way.name}.{function.__name__}")
        threading.Thread(target=_run, args=arguments, name=function.__name__, daemon=True).start()
        while not is_ready():
            time.sleep(0.05)


def _run_loop(way: Way) -> None:
    if way.host == "uvloop":
        import uvloop

        uvloop.run(_with_tasks(way))
    else:
        asyncio.run(_with_tasks(way))


async def _with_tasks(way: Way) -> None:
    if way.where == "thread":
        _start_threads(way)
    beside = [await _start_task(way, function) for function in way.beside if way.where == "task"]
    await asyncio.create_task(job(way.name)(way.function)(), name=way.name)
    await asyncio.gather(*beside)


async def _start_task(way: Way, function: Callable[..., Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
    expect_ready()
    name = f"{way.name}.{function.__name__}"
    task = asyncio.create_task(job(name)(function)(), name=name)
    while not is_ready():
        await asyncio.sleep(0.05)
    return task


if __name__ == "__main__":
    main(*sys.argv[1:])
