"""Where a span's code stands: thread, asyncio task, and the innermost line of the application."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from concurrent.futures import wait as wait_for_all
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from tests.instrumentation.evidence.standing import soon, standing

from lastspan.instrumentation.evidence import (
    StackSample,
    cpu_time_ns,
    is_application,
    qualname,
    sample_stack,
    stack_text,
)
from lastspan.instrumentation.evidence.stack import frames
from lastspan.instrumentation.evidence.stack.frames import has_ended, live
from lastspan.instrumentation.registry.spans import ExecutionContext


def functions(seen: StackSample) -> list[str]:
    return [code.co_name for code, _ in seen.steps]


@contextmanager
def thread(function: Callable[[threading.Event, threading.Event], object]) -> Iterator[threading.Thread]:
    """Run *function* until it says that it is where it should be."""
    there, leave = threading.Event(), threading.Event()
    runner = threading.Thread(target=function, args=(there, leave), name="runner")
    runner.start()
    assert there.wait(20)
    try:
        yield runner
    finally:
        leave.set()
        runner.join(20)


def outer(there: threading.Event, leave: threading.Event) -> None:
    inner(there, leave)


def inner(there: threading.Event, leave: threading.Event) -> None:
    there.set()
    leave.wait(60)  # the line


def test_a_thread_that_waits() -> None:
    """Its stack, outermost first; the place is our line, not the standard library's below it."""
    with thread(outer) as runner:
        assert runner.ident is not None
        seen = sample_stack(ExecutionContext(runner.ident, None, None))
        assert functions(seen)[functions(seen).index("outer") + 1] == "inner"
        place = seen.place()
        assert place is not None
        assert place[0] is inner.__code__
        assert place[1] == inner.__code__.co_firstlineno + 2
        assert (seen.thread_id, seen.thread_name) == (runner.native_id, "runner")
        assert seen.unseen == ""


def test_the_live_frames_are_those_of_the_look() -> None:
    """Of a thread that stands still both walk the same; of one that has ended there are none."""
    with thread(outer) as runner:
        assert runner.ident is not None
        where = ExecutionContext(runner.ident, None, None)
        deadline = time.monotonic() + 20
        while (first := sample_stack(where)).steps != sample_stack(where).steps:
            assert time.monotonic() < deadline
        assert tuple((frame.f_code, frame.f_lineno) for frame in live(where)) == first.steps
    assert live(where) == ()


def test_two_looks_at_the_same_place_are_equal() -> None:
    """So that a stack that stands still can be told."""
    with thread(outer) as runner:
        assert runner.ident is not None
        deadline = time.monotonic() + 20
        where = ExecutionContext(runner.ident, None, None)
        while sample_stack(where).steps != sample_stack(where).steps:  # it may still be on its way into wait()
            assert time.monotonic() < deadline
        assert sample_stack(where) == sample_stack(where)


def test_a_thread_that_has_ended() -> None:
    """No stack, and it says why."""
    runner = threading.Thread(target=lambda: None)
    runner.start()
    runner.join()
    assert runner.ident is not None
    seen = sample_stack(ExecutionContext(runner.ident, None, None))
    assert (seen.steps, seen.unseen) == ((), "its thread has ended")
    assert seen.place() is None
    assert has_ended(ExecutionContext(runner.ident, None, None))
    assert not has_ended(ExecutionContext(threading.get_ident(), None, None))


def test_a_deep_stack_keeps_its_inner_end() -> None:
    """At most 128 frames, the innermost ones."""

    def deep(depth: int, there: threading.Event, leave: threading.Event) -> None:
        if depth:
            deep(depth - 1, there, leave)
        else:
            inner(there, leave)

    with thread(lambda there, leave: deep(300, there, leave)) as runner:
        assert runner.ident is not None
        seen = sample_stack(ExecutionContext(runner.ident, None, None))
        assert len(seen.steps) == 128
        assert "inner" in functions(seen)


# --- asyncio ----------------------------------------------------------------------------------------------------------


async def job(wait: Callable[[], Awaitable[object]]) -> None:
    await step(wait)


async def step(wait: Callable[[], Awaitable[object]]) -> None:
    await wait()


@contextmanager
def loop(main: Callable[[threading.Event, asyncio.Event], Coroutine[Any, Any, None]]) -> Iterator[asyncio.Task[None]]:
    """Run *main* as a task of a loop in a thread of its own, until it says that it is there."""
    started: list[asyncio.Task[None]] = []
    events: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def run(there: threading.Event, leave: threading.Event) -> None:
        async def top() -> None:
            release = asyncio.Event()
            events.append((asyncio.get_running_loop(), release))
            task = asyncio.create_task(main(there, release), name="the task")
            started.append(task)
            await task

        asyncio.run(top())

    with thread(run):
        try:
            yield started[0]
        finally:
            running, release = events[0]
            running.call_soon_threadsafe(release.set)


def where(task: asyncio.Task[None]) -> ExecutionContext:
    idents = {one.name: one.ident for one in threading.enumerate()}
    ident = idents["runner"]
    assert ident is not None
    return ExecutionContext(ident, task, None)


def test_a_task_that_waits_in_nested_awaits() -> None:
    """The coroutines down to the innermost await, though the thread itself runs the loop."""

    async def main(there: threading.Event, release: asyncio.Event) -> None:
        asyncio.get_running_loop().call_soon(there.set)  # when this task has let go
        await job(release.wait)

    with loop(main) as task:
        seen = sample_stack(where(task))
        assert functions(seen)[:4] == ["main", "job", "step", "wait"]
        place = seen.place()
        assert place is not None
        assert place[0] is step.__code__


def test_a_loop_that_is_blocked() -> None:
    """The running task is on the thread's own stack: that shows the call which blocks."""
    block = threading.Event()

    async def main(there: threading.Event, release: asyncio.Event) -> None:
        there.set()
        block.wait(60)

    with loop(main) as task:
        try:
            seen = sample_stack(where(task))
            assert functions(seen).index("run_until_complete") < functions(seen).index("main")
            place = seen.place()
            assert place is not None
            assert place[0].co_name == "main"
        finally:
            block.set()


def test_a_task_beside_one_that_blocks_the_loop() -> None:
    """Its own await, not the other's call."""
    block = threading.Event()
    waiting: list[asyncio.Task[None]] = []

    async def main(there: threading.Event, release: asyncio.Event) -> None:
        waiting.append(asyncio.create_task(job(release.wait)))
        await asyncio.sleep(0)
        there.set()
        block.wait(60)
        await waiting[0]

    with loop(main) as task:
        try:
            seen = sample_stack(where(task)._replace(task=waiting[0]))
            assert functions(seen)[:2] == ["job", "step"]
        finally:
            block.set()


def test_a_task_that_has_ended() -> None:
    """No stack, and it says why."""
    ended: list[asyncio.Task[None]] = []

    async def nothing() -> None:
        return

    async def main(there: threading.Event, release: asyncio.Event) -> None:
        ended.append(asyncio.create_task(nothing()))
        await ended[0]
        there.set()
        await release.wait()

    with loop(main) as task:
        seen = sample_stack(where(task)._replace(task=ended[0]))
        assert (seen.steps, seen.unseen) == ((), "its asyncio task has ended")
        assert has_ended(where(task)._replace(task=ended[0]))
        assert not has_ended(where(task))


@pytest.mark.parametrize(
    ("files", "place"),
    [
        (["/srv/shop/tasks.py", "<string>", f"{sysconfig.get_path('purelib')}/sqlalchemy/engine/base.py"], 0),
        (["<string>", f"{sysconfig.get_path('stdlib')}/queue.py"], 0),  # python -c
        ([f"{sysconfig.get_path('stdlib')}/queue.py", f"{sysconfig.get_path('stdlib')}/threading.py"], 1),
    ],
)
def test_generated_code_is_a_place_only_if_there_is_no_other(files: list[str], place: int) -> None:
    steps = tuple((compile("0", file, "exec"), 1) for file in files)
    assert StackSample(steps, None, "").place() == steps[place]


def named(name: str, file: str) -> CodeType:
    """A function of that name, in that file."""
    namespace: dict[str, Any] = {}
    exec(compile(f"def {name}(): pass", file, "exec"), namespace)
    code: CodeType = namespace[name].__code__
    return code


SCRIPT = ("main", "/srv/venv/bin/celery")
TRACE = ("trace_task", f"{sysconfig.get_path('purelib')}/celery/app/trace.py")
STORE = ("mark_as_done", f"{sysconfig.get_path('purelib')}/celery/backends/base.py")
CLIENT = ("read_response", f"{sysconfig.get_path('purelib')}/redis/connection.py")


@pytest.mark.parametrize(
    ("stack", "place"),
    [
        ([SCRIPT, TRACE, ("charge", "/srv/shop/tasks.py"), CLIENT], 2),  # the job's own code
        ([SCRIPT, TRACE, STORE, CLIENT], 2),  # its result is stored: the script that started the worker is not it
        ([SCRIPT, TRACE], 1),
        ([SCRIPT, CLIENT], 0),  # no job is run here
        ([SCRIPT, ("trace_task", "/srv/shop/tasks.py"), CLIENT], 1),  # the application's own function of that name
    ],
)
def test_a_job_whose_code_is_over_is_where_its_framework_is(stack: list[tuple[str, str]], place: int) -> None:
    steps = tuple((named(*one), 1) for one in stack)
    assert StackSample(steps, None, "").place() == steps[place]


# --- whose code -------------------------------------------------------------------------------------------------------

SITE = sysconfig.get_path("purelib")
STD = sysconfig.get_path("stdlib")


@pytest.mark.parametrize(
    ("filename", "package", "expected"),
    [
        (__file__, "", True),
        ("/srv/shop/tasks.py", "", True),
        # The environment is in a folder that is called like the package.
        ("/app/.venv/lib/python3.12/site-packages/requests/api.py", "app", False),
        ("/app/.venv/lib/python3.12/site-packages/app/tasks.py", "app", True),
        ("/app/tasks.py", "app", True),
        (f"{STD}/threading.py", "lib", False),
        (f"{STD}/threading.py", "python3", False),
        (str(Path(frames.__file__).parent / "place.py"), "lastspan", False),
        ("<string>", "", False),  # a library's, mostly, that has written a function
        ("<attrs generated init shop.Order>", "", False),
        (f"{STD}/threading.py", "", False),
        (f"{STD}/asyncio/events.py", "", False),
        ("<frozen importlib._bootstrap>", "", False),
        (f"{SITE}/requests/api.py", "", False),
        ("/opt/other/lib/python3.9/site-packages/requests/api.py", "", False),
        ("/usr/lib/python3/dist-packages/requests/api.py", "", False),
        (is_application.__code__.co_filename, "", False),  # ours
        # the application may itself be installed, as in most images
        (f"{SITE}/shop/tasks.py", "shop", True),
        (f"{SITE}/shop/tasks.py", "", False),
        (f"{SITE}/shopping/tasks.py", "shop", False),
        (f"{SITE}/requests/api.py", "shop", False),
    ],
)
def test_whose_code_it_is(filename: str, package: str, expected: bool) -> None:
    """The application's: not the standard library, not installed (unless the job's own package is), not ours."""
    assert is_application(filename, package) is expected


def test_without_an_application_frame_the_innermost() -> None:
    """A job of an installed package shows at least where it stands."""
    step = (threading.Event.wait.__code__, 1)
    assert StackSample((step,), None, "").place() == step


def test_a_stack_as_text() -> None:
    """Like a traceback, innermost last; too long, it loses its outer end."""
    short = stack_text(((outer.__code__, 1), (inner.__code__, 2)))
    assert short.splitlines() == [
        f'File "{__file__}", line 1, in {qualname(outer.__code__)}',
        f'File "{__file__}", line 2, in {qualname(inner.__code__)}',
    ]
    long = stack_text(((outer.__code__, 1),) * 10_000 + ((inner.__code__, 2),))
    assert len(long) < 9000
    assert long.startswith("…\n")
    assert long.endswith("in inner")


def test_cpu_time_of_a_thread() -> None:
    """It rises with work; of a thread that has ended, or a platform that does not tell, None."""
    own = threading.get_native_id()
    before = cpu_time_ns(own)
    assert before is not None
    while (after := cpu_time_ns(own)) is not None and after == before:
        pass
    assert after is not None
    assert after > before
    assert cpu_time_ns(None) is None
    ended = threading.Thread(target=lambda: None)
    ended.start()
    ended.join()
    deadline = time.monotonic() + 20
    while cpu_time_ns(ended.native_id) is not None:  # join() returns before the kernel's thread is gone
        assert time.monotonic() < deadline


GARBAGE = """
import gc, threading
from lastspan.instrumentation.evidence import sample_stack
from lastspan.instrumentation.registry.spans import ExecutionContext

class Cycle:
    def __init__(self):
        self.me, self.local = self, threading.local()
        self.local.value = 1

other = threading.Thread(target=threading.Event().wait, daemon=True)
other.start()
where = ExecutionContext(other.ident, None, None)
gc.set_threshold(1)
for _ in range(3000):
    Cycle()
    assert sample_stack(where).steps
assert gc.isenabled()
gc.disable()
sample_stack(where)
assert not gc.isenabled()
print("alive")
"""


def test_a_look_in_the_middle_of_garbage_does_not_stop_the_process() -> None:
    """A collection inside `sys._current_frames` may wait for the lock that it holds: none takes place meanwhile."""
    done = subprocess.run([sys.executable, "-c", GARBAGE], capture_output=True, text=True, timeout=60)
    assert done.stdout == "alive\n", done.stderr


@pytest.mark.parametrize("form", ["result", "map", "wait", "as completed", "two deep"])
def test_on_into_the_thread_of_an_executor(form: str) -> None:
    """A thread that waits for work of an executor stands where that work stands; the thread is the one that does it."""
    leave = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="outer") as outer, ThreadPoolExecutor(1, "inner") as inner:

        def work() -> None:
            leave.wait()

        forms: dict[str, Callable[[], object]] = {
            "result": lambda: inner.submit(work).result(),
            "map": lambda: list(inner.map(lambda _: work(), range(2))),
            "wait": lambda: wait_for_all([inner.submit(work), inner.submit(work)]),
            "as completed": lambda: list(as_completed([inner.submit(work), inner.submit(work)])),
            "two deep": lambda: outer.submit(lambda: inner.submit(work).result()).result(),
        }
        with standing(forms[form], leave.set) as where:
            seen = soon(lambda: sample_stack(where), lambda one: "work" in functions(one))
            assert "work" in functions(seen)
            assert seen.thread_name.startswith("inner")
            assert "_worker" not in functions(seen)[1:]


def test_on_into_a_thread_of_anyio() -> None:
    """It has threads of its own, and no executor."""
    anyio = pytest.importorskip("anyio")
    leave = threading.Event()

    def work() -> None:
        leave.wait()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, work)

    with standing(lambda: asyncio.run(main()), leave.set) as where:
        seen = soon(lambda: sample_stack(where), lambda one: "work" in functions(one))
        assert "work" in functions(seen)
        assert seen.is_on_thread
        assert seen.thread_name != "runner"


def test_work_that_has_not_begun_is_not_followed() -> None:
    """Queued behind other work: the thread stands where it waits for the result."""
    leave = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(leave.wait)
        with standing(lambda: pool.submit(int).result(), leave.set) as where:
            seen = soon(lambda: sample_stack(where), lambda one: "result" in functions(one))
            assert "result" in functions(seen)
            assert seen.thread_name == "runner"


# --- whom it waits for ------------------------------------------------------------------------------------------------


def test_a_thread_that_is_joined_is_followed() -> None:
    """The job's thread says nothing but that it waits; the other one stands where it stopped."""
    over, seen = threading.Event(), threading.Event()

    def work() -> None:
        seen.set()
        over.wait(20)

    def body() -> None:
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()

    with standing(body, over.set) as where:
        assert seen.wait(20)
        found = soon(lambda: functions(sample_stack(where)), lambda names: "work" in names)
        assert [name for name in found if name in {"body", "join", "work"}] == ["body", "join", "work"]


def test_the_end_of_an_executor_is_followed() -> None:
    over, seen = threading.Event(), threading.Event()

    def work() -> None:
        seen.set()
        over.wait(20)

    def body() -> None:
        with ThreadPoolExecutor(2) as pool:
            pool.submit(work)

    with standing(body, over.set) as where:
        assert seen.wait(20)
        assert "work" in soon(lambda: functions(sample_stack(where)), lambda names: "work" in names)


def test_a_loop_of_another_thread_is_followed() -> None:
    """`run_coroutine_threadsafe`: the coroutine stands where it stopped."""
    loop, over = asyncio.new_event_loop(), asyncio.Event()
    runner = threading.Thread(target=loop.run_forever)
    runner.start()

    async def answer() -> None:
        await over.wait()

    def body() -> None:
        asyncio.run_coroutine_threadsafe(answer(), loop).result(20)

    with standing(body, lambda: loop.call_soon_threadsafe(over.set)) as where:
        assert "answer" in soon(lambda: functions(sample_stack(where)), lambda names: "answer" in names)
    loop.call_soon_threadsafe(loop.stop)
    runner.join(20)
    loop.close()


def nested_loops(there: threading.Event, leave: threading.Event) -> None:
    there.set()
    while not leave.is_set():
        for one in range(300):
            for two in range(300):
                if (one * two) % 977 == 1_000:
                    there.clear()


def test_an_instruction_without_a_line_has_that_of_the_one_before_it() -> None:
    """The jump from the end of an inner loop has none: there a thread is met most of the time."""
    with thread(nested_loops) as runner:
        assert runner.ident is not None
        lines = [step[1] for _ in range(200) for step in sample_stack(ExecutionContext(runner.ident, None, None)).steps]
    assert all(type(line) is int for line in lines)


def deeper(depth: int, there: threading.Event, leave: threading.Event) -> None:
    if depth:
        deeper(depth - 1, there, leave)
    else:
        inner(there, leave)


def test_of_a_deep_stack_both_ends_are_seen() -> None:
    """Who called a recursion of a library is at the outer end."""
    with thread(lambda there, leave: deeper(500, there, leave)) as runner:
        assert runner.ident is not None
        names = functions(sample_stack(ExecutionContext(runner.ident, None, None)))
    assert "<lambda>" in names
    assert "inner" in names
    assert len(names) <= 128
