"""Pretends to be a newer Python, whose instructions and internals are called otherwise, and prints what is told of it.

Arguments: the parts that are new, of `with`, `tasks`, `executors`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import concurrent.futures.thread
import dis
import json
import os
import sys
import threading
import time
import traceback
import weakref
from typing import Any

_ENTRIES = ("BEFORE_WITH", "BEFORE_ASYNC_WITH", "SETUP_WITH", "SETUP_ASYNC_WITH", "LOAD_SPECIAL", "WITH_EXCEPT_START")


def rename_instructions() -> None:
    vars(dis)["opmap"] = {f"{name}_ANEW" if name in _ENTRIES else name: at for name, at in dis.opmap.items()}


def move_tasks() -> None:
    """As 3.14 has done: the variables are there, and nothing is in them; and what is to be asked, asks for more."""
    names: dict[str, Any] = {"_scheduled_tasks": weakref.WeakSet(), "_eager_tasks": set(), "_all_tasks": set()}
    for name, empty in {**names, "_current_tasks": {}}.items():
        if hasattr(asyncio.tasks, name):
            setattr(asyncio.tasks, name, empty)

    def moved(loop: object, *, group: object) -> Any:
        raise NotImplementedError

    for module in (asyncio, asyncio.tasks):
        for name in ("all_tasks", "current_task"):
            setattr(module, name, moved)


def wrap_work() -> None:
    """As 3.14 has done: there is a function between the one that has the work and the work."""
    kind = concurrent.futures.thread._WorkItem
    before = kind.run

    def run(self: Any, *context: Any) -> None:
        before(self, *context)

    kind.run = run  # type: ignore[method-assign]


NEW = {"with": rename_instructions, "tasks": move_tasks, "executors": wrap_work}
for part in sys.argv[1:]:
    NEW[part]()

from lastspan.instrumentation.evidence import python  # noqa: E402
from lastspan.instrumentation.evidence.locks.find import WaitedLock, find  # noqa: E402
from lastspan.instrumentation.evidence.stack.frames import sample_stack  # noqa: E402
from lastspan.instrumentation.registry.spans import ExecutionContext  # noqa: E402

held, other, free, taken = threading.Lock(), threading.Lock(), threading.Lock(), asyncio.Lock()
work: concurrent.futures.Future[None] = concurrent.futures.ThreadPoolExecutor(1).submit(time.sleep, 60)


def holder() -> None:
    with held:
        time.sleep(60)


def enters() -> None:
    with held:
        pass


def enters_two() -> None:
    with free, held:
        pass


def acquires() -> None:
    held.acquire()


def awaits_work() -> None:
    work.result()


def first() -> None:
    with other:
        time.sleep(0.2)
        with held:
            pass


async def task_holds() -> None:
    async with taken:
        await asyncio.sleep(60)


async def task_waits() -> None:
    async with taken:
        pass


def run_tasks() -> None:
    loop = asyncio.new_event_loop()
    tasks.extend([loop.create_task(task_holds()), loop.create_task(task_waits())])
    loop.run_forever()


tasks: list[asyncio.Task[None]] = []


def told_of(where: ExecutionContext) -> dict[str, object]:
    """Return what is told at a second look."""
    found: WaitedLock | None = None
    for _ in range(2):
        search = find(where, lambda _: "")
        try:
            while True:
                next(search)
        except StopIteration as end:
            found = end.value
    who = found.holder if found is not None else None
    return {
        "line": bool(sample_stack(where).steps),
        "holder": [who.thread, who.certainty] if who is not None else None,
        "circle": list(found.cycle) if found is not None else [],
    }


def start(function: Any) -> ExecutionContext:
    thread = threading.Thread(target=function, name=function.__name__, daemon=True)
    thread.start()
    assert thread.ident is not None
    return ExecutionContext(thread.ident, None, None)


def main() -> None:
    start(holder)
    while not held.locked():
        time.sleep(0.01)
    waits = {function.__name__: start(function) for function in (enters, enters_two, acquires, awaits_work, first)}
    loop_thread = start(run_tasks)
    while len(tasks) < 2 or getattr(tasks[1], "_fut_waiter", None) is None:
        time.sleep(0.01)
    time.sleep(0.4)
    waits["task_waits"] = ExecutionContext(loop_thread.thread, tasks[1], None)
    told = {name: told_of(where) for name, where in waits.items()}
    print(json.dumps({"unknown": python.unknown(), **told}), flush=True)


try:
    main()
except BaseException:
    traceback.print_exc()
    os._exit(1)
os._exit(0)  # nobody is to be waited for, and asyncio's own end may ask what is not there any more
