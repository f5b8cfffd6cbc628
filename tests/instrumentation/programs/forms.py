"""Every form of a job of plain code, each under a name of its own."""

import asyncio
import functools
import threading

from opentelemetry import trace

from lastspan.instrumentation import job, progress


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@job
def bare() -> str:
    """Bare's docstring."""
    return "bare"


@job()
def called() -> str:
    return "called"


@job("named", expected="10m", queue="slow", attempt=3, id="42")
def named(first: int, *, second: int) -> int:
    return first + second


@job("bad expected", expected="soon")
def bad_expected() -> str:
    return "runs"


@job
async def coroutine() -> str:
    await asyncio.sleep(0)
    return "coroutine"


@job("cancelled")
async def cancelled() -> None:
    await asyncio.sleep(3600)


@job("partial")
def base(first: int, second: int) -> int:
    return first * second


@job("fails")
def fails() -> None:
    raise ValueError("hunter2")


@job("fails, unprintable")
def fails_unprintable() -> None:
    raise UnprintableError


@job("exits")
def exits() -> None:
    raise SystemExit(0)


class Service:
    @job("method")
    def run(self, value: int) -> int:
        return value


def raised(function: object, kind: type[BaseException]) -> bool:
    try:
        function()  # type: ignore[operator]
    except kind:
        return True
    return False


async def asynchronous() -> None:
    assert await coroutine() == "coroutine"
    async with job("async block"):
        await asyncio.sleep(0)
    task = asyncio.create_task(cancelled())
    await asyncio.sleep(0)
    task.cancel()
    assert (await asyncio.gather(task, return_exceptions=True))[0].__class__ is asyncio.CancelledError

    # One job, entered by many tasks at once, that leave in another order.
    shared = job("shared by tasks")

    async def enter(gil_yielder: int) -> None:
        async with shared:
            for _ in range(gil_yielder):
                await asyncio.sleep(0)

    await asyncio.gather(*(enter(gil_yielder) for gil_yielder in (5, 1, 3, 2, 4)))


assert bare() == "bare"
assert (bare.__name__, bare.__doc__) == ("bare", "Bare's docstring.")
assert called() == "called"
assert named(1, second=2) == 3
assert bad_expected() == "runs"
assert functools.partial(base, 6)(7) == 42
assert Service().run(7) == 7
assert raised(fails, ValueError)
assert raised(fails_unprintable, UnprintableError)
assert raised(exits, SystemExit)
asyncio.run(asynchronous())

with job("block"):
    progress(1, 2, "half")
    progress(float("nan"))
    progress("not a number")  # type: ignore[arg-type]
    with job("inner block"):
        pass
with job():
    pass

again = job("twice")
with again:
    with again:
        pass

shared = job("shared by threads")
barrier = threading.Barrier(4)


def enter() -> None:
    with shared:
        barrier.wait()


threads = [threading.Thread(target=enter) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()

progress(1)
assert trace.get_current_span() is trace.INVALID_SPAN
print("done")
