"""A look asks nothing of the host's objects that may wait or run code: objects that count whoever asks them."""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import importlib
import importlib.util
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.instrumentation.evidence.standing import soon, standing

from lastspan.instrumentation.evidence.diagnosis import Subject, diagnose
from lastspan.instrumentation.evidence.locks.find import find
from lastspan.instrumentation.evidence.loops.hubs import Hubs
from lastspan.instrumentation.evidence.loops.lag import Loops
from lastspan.instrumentation.evidence.objects import futures, reads, values
from lastspan.instrumentation.evidence.objects.reads import CALLS, READS
from lastspan.instrumentation.evidence.objects.values import MISSING
from lastspan.instrumentation.evidence.stack.frames import has_ended, live, sample_stack, worker_of
from lastspan.instrumentation.evidence.waits import sessions
from lastspan.instrumentation.evidence.waits.calls import call
from lastspan.instrumentation.evidence.waits.pools import keeps, waited_pool
from lastspan.instrumentation.evidence.waits.sessions import sessions_in_reach
from lastspan.instrumentation.registry.session import Session
from lastspan.instrumentation.registry.spans import ExecutionContext

COMPILED_BY_HAND = {"psycopg_c", "MySQLdb", "_mysql"}
"""Modules of which there is no wheel: tried where somebody has built them."""


def _can_be_tried(kind: str) -> bool:
    module = kind.partition(".")[0]
    return module not in COMPILED_BY_HAND or importlib.util.find_spec(module) is not None


ROWS = [
    (kind, name)
    for row in (*READS, *CALLS)
    for kind in filter(_can_be_tried, row.kinds.split())
    for name in row.names.split()
]
asked: list[str] = []


@pytest.fixture(autouse=True)
def nobody_asks() -> Iterator[None]:
    """None of the objects below was asked when the test is over."""
    asked.clear()
    yield
    assert asked == []


looking: set[int] = set()
"""Threads that look now: whoever else asks is the host itself, and gets what the class below would say."""


@contextmanager
def a_look() -> Iterator[None]:
    looking.add(threading.get_ident())
    try:
        yield
    finally:
        looking.discard(threading.get_ident())


def asking(name: str) -> Any:
    """Make a property that tells that a look asked for it, then waits, then fails."""

    def ask(self: Any) -> Any:
        if threading.get_ident() not in looking:
            return below(self, name)
        asked.append(name)
        time.sleep(0.1)
        raise RuntimeError(f"{name} was asked")

    return property(ask)


def method(name: str) -> Any:
    """Make a method that does the same; of those that an operator or a builtin function calls."""

    def ask(self: Any, *given: Any) -> Any:
        if threading.get_ident() not in looking:
            return below(self, name)(*given)
        asked.append(name)
        raise RuntimeError(f"{name} was called")

    return ask


def below(one: Any, name: str) -> Any:
    """Return what the class that the host's is derived from has under a name."""
    kinds = type.mro(type(one))
    found = next((vars(kind)[name] for kind in kinds[1:] if name in vars(kind)), None)
    if found is None:
        raise AttributeError(name)
    return found.__get__(one, kinds[1])


_OPERATORS = (
    "__eq__",
    "__hash__",
    "__bool__",
    "__len__",
    "__iter__",
    "__getattr__",
    "__str__",
    "__repr__",
    "__contains__",
)


def hostile(base: Any) -> Any:
    """Return a class of the host's whose every name and operator is its own, and asks for trouble."""
    names = {name for row in (*READS, *CALLS) for name in row.names.split()} | {"name", "native_id", "ident", "_asked"}
    names |= {"__class__", "acquire", "release", "cancelled", "result", "call_soon_threadsafe", "_call_soon"}
    methods: dict[str, Any] = {name: method(name) for name in _OPERATORS}
    properties: dict[str, Any] = {name: asking(name) for name in names if not name.startswith("__rep")}
    return type("Hostile", (base,), {**methods, **properties})


def made(path: str) -> Any:
    """Return a class of a listed module, or skip: its library is not here."""
    module, _, name = path.rpartition(".")
    if path == "_thread.lock":  # the module has it under this name since Python 3.13
        return type(_thread.allocate_lock())
    if module.startswith("psycopg_"):
        pytest.importorskip("psycopg")
    return getattr(pytest.importorskip(module, exc_type=ImportError), name)


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_what_is_listed_is_a_function_in_c(kind: str, name: str) -> None:
    """Of the library as it is installed here; a class that has no such name is not asked for it."""
    found = values.class_attribute(made(kind), name)
    assert found is MISSING or type(found).__name__ in _NATIVE, f"{kind}.{name} is a {type(found)}"


def makers() -> dict[str, Callable[[Any], Any]]:
    """How a class derived from a listed one is made."""
    loop = asyncio.new_event_loop()
    loop.close()
    return {
        "_asyncio.Future": lambda kind: kind(loop=loop),
        "_thread.RLock": lambda kind: kind(),
        "_socket.socket": lambda kind: kind(),
        "sqlite3.Cursor": lambda kind: kind(sqlite3.connect(":memory:")),
        "greenlet.greenlet": lambda kind: kind(),
    }


@pytest.mark.parametrize("kind", makers())
def test_a_property_of_a_derived_class_is_passed_by(kind: str) -> None:
    """The function of the listed class is called, whatever stands under its name further down."""
    names = [name for row in READS if kind in row.kinds.split() for name in row.names.split()]
    derived: Any = type("Hostile", (made(kind),), {name: asking(name) for name in (*names, "__class__")})
    one = makers()[kind](derived)
    with a_look():
        found = [reads.read(one, name) for name in names]
    assert any(value is not MISSING for value in found)
    if kind == "_socket.socket":
        one.close()
    if kind == "sqlite3.Cursor":
        below(one, "connection").close()


_NATIVE = {
    *("getset_descriptor", "member_descriptor", "method_descriptor", "wrapper_descriptor"),
    "cython_function_or_method",
}


def test_each_row_has_a_reason() -> None:
    assert all(row.why and row.kinds and row.names for row in (*READS, *CALLS))


def test_a_getter_of_sqlite_is_not_among_them() -> None:
    """From SQLite 3.53 on it waits for the statement that runs, with the interpreter in its hands."""
    assert not [row for row in READS if "in_transaction" in row.names.split() or "sqlite3.Connection" in row.kinds]


def test_a_class_of_the_same_name_is_not_asked() -> None:
    """It is not what it says it is: a property is in its place."""
    fake = type("Connection", (), {"info": asking("info"), "thread_id": method("thread_id")})
    for module, name in (("psycopg2.extensions", "connection"), ("MySQLdb._mysql", "connection")):
        fake.__module__, fake.__name__ = module, name
        with a_look():
            assert reads.read(fake(), "info") is MISSING
            assert reads.read(fake(), "thread_id") is MISSING
            assert sessions.session_of(fake()) is None


# --- in the hands of a job --------------------------------------------------------------------------------------------


def things() -> list[Any]:
    """Objects of the host's own classes, of each kind that evidence has an eye on."""
    bases: list[Any] = [object, dict, list, tuple, set, frozenset, str, int, bytes, Exception, socket.socket]
    bases += [sqlite3.Connection, sqlite3.Cursor, threading.Thread, threading.Condition, concurrent.futures.Future]
    bases += [asyncio.Future, asyncio.Task, asyncio.Lock, asyncio.Event]
    for path in ("psycopg2.extensions.connection", "psycopg2.extensions.cursor", "greenlet.greenlet"):
        module, _, name = path.rpartition(".")
        try:
            bases.append(getattr(importlib.import_module(module), name))
        except ImportError:
            continue
    found: list[Any] = []
    for base in bases:
        derived = hostile(base)
        found.append(base.__new__(derived))
    found.append(type("Meta", (type,), {"__name__": asking("__name__"), "__eq__": method("__eq__")})("Made", (), {})())
    return found


def looked_at(where: ExecutionContext) -> None:
    """Look in each way that there is."""
    with a_look():
        seen = sample_stack(where)
        has_ended(where)
        worker_of(where)
        frames = live(where)
        sessions_in_reach(frames)
        sessions.session(frames)
        call(frames)
        keeps(frames, waited_pool(frames) or (object(),))
        del frames
        diagnose(Subject(where, "", seen.thread_id, is_call=True, stood=1.0))
        for _ in find(where, lambda party: ""):
            pass


NAMES = ("cursor", "conn", "connection", "dbapi_connection", "con", "instance", "lock", "timeout", "fs", "pending")


@pytest.mark.parametrize("index", range(len(things())))
def test_what_a_job_has_in_its_hands_is_not_asked(index: int) -> None:
    """Under every name that a driver, a lock or a client would have it by, and as what its line calls."""
    thing = things()[index]
    leave = threading.Event()
    code = "\n".join(
        [
            "def wait(self, thing, leave, manager):",
            *(f"    {name} = thing" for name in NAMES),
            "    with manager as entered:",
            "        return [leave.wait(), thing, cursor]",
        ]
    )
    namespace: dict[str, Any] = {"__name__": "psycopg2.extras", "thing": thing}

    @contextmanager
    def manager() -> Iterator[Any]:
        kept = thing
        yield kept

    exec(compile(code, "<string>", "exec"), namespace)
    with standing(lambda: namespace["wait"](thing, thing, leave, manager()), leave.set) as where:
        soon(lambda: sample_stack(where).steps, lambda steps: any(step[0].co_name == "wait" for step in steps))
        looked_at(where)


def test_a_thread_of_the_hosts_own_class_is_not_asked() -> None:
    """Not for its name, its id, or whether it lives."""
    leave = threading.Event()
    derived: Any = type(
        "Hostile", (threading.Thread,), {one: asking(one) for one in ("name", "native_id", "ident", "__class__")}
    )
    thread = derived.__new__(derived)
    plain = threading.Thread(target=leave.wait, daemon=True)
    thread.__dict__.update(plain.__dict__)
    ident = start(thread)
    try:
        looked_at(ExecutionContext(ident, None, None))
    finally:
        leave.set()
        thread.join()


def start(thread: threading.Thread) -> int:
    threading.Thread.start(thread)
    return int(thread.__dict__["_ident"])


def test_a_task_of_the_hosts_own_class_is_not_asked() -> None:
    """Not whether it is done, for its loop, its coroutine or its name; nor those that it waits for and with."""
    asked_names = ("done", "get_loop", "get_coro", "get_name", "_fut_waiter", "_callbacks", "__class__", "_state")
    derived: Any = type("Hostile", (asyncio.Task,), {one: asking(one) for one in asked_names})
    future_class: Any = type("HostileFuture", (asyncio.Future,), {one: asking(one) for one in asked_names})
    loops, hubs = Loops(), Hubs()
    leave = threading.Event()
    known: list[Any] = []

    async def waits(future: Any) -> None:
        await future

    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = future_class(loop=loop)
        task = derived(waits(future), loop=loop)
        await asyncio.sleep(0)
        known.extend([task, loop])
        await loop.run_in_executor(None, leave.wait)
        asyncio.Future.set_result(future, None)
        while not asyncio.Future.done(task):
            await asyncio.sleep(0)
        task = None
        known.clear()

    def run() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()

    with standing(run, leave.set) as where:
        task, loop = soon(lambda: known, bool)
        at = ExecutionContext(where.thread, task, None)
        looked_at(at)
        with a_look():
            assert futures.loop_of(task) is loop
            assert not futures.is_done(task)
            assert futures.name_of(task).startswith("Task-")
            for now in (1.0, 2.0, 3.0):
                loops.ping(loop, now, where.thread)
                loops.lag(loop, now)
            loops.culprit(loop)
            assert hubs.of(task, None) is None
        del task, loop, at


def test_a_loop_with_methods_of_its_own_is_not_asked() -> None:
    """Whether it runs is told by its fields; a ping is not sent where it would run the host's code."""
    names = ("call_soon_threadsafe", "is_closed", "is_running")
    derived: Any = type("Hostile", (asyncio.SelectorEventLoop,), {one: method(one) for one in names})
    loop = derived()
    loops = Loops()
    with a_look():
        for now in (1.0, 2.0, 3.0, 9.0):
            loops.ping(loop, now, 1)
            assert loops.lag(loop, now) == 0
    loop.close()


def test_sqlite_is_not_asked_for_its_transaction(tmp_path: Path) -> None:
    """A connection that is in a statement: its session says that it is SQLite, and nothing was asked to say so."""
    names: dict[str, Any] = {one: asking(one) for one in ("in_transaction", "total_changes", "isolation_level")}
    derived: Any = type("Hostile", (sqlite3.Connection,), names)
    connection = sqlite3.connect(tmp_path / "db", factory=derived)
    cursor = sqlite3.Connection.cursor(connection)
    with a_look():
        assert sessions.session_of(connection) == sessions.session_of(cursor) == Session("sqlite")
    sqlite3.Connection.close(connection)
