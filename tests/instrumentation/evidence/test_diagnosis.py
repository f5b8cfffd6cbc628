"""The whole diagnosis of one wait: what frames, system call and drivers say, put together."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import multiprocessing
import os
import pty
import select
import socket
import sqlite3
import subprocess
import sys
import threading
import tty
from collections.abc import Callable, Coroutine, Iterator
from multiprocessing import connection as pipes
from pathlib import Path
from types import ModuleType

import pytest
from tests.instrumentation.evidence.standing import Silent, soon, standing
from tests.servers import MariaDB, Postgres

from lastspan.instrumentation.evidence.diagnosis import Attributes, Subject, diagnose
from lastspan.instrumentation.evidence.stack.frames import live, sample_stack
from lastspan.instrumentation.evidence.waits.sessions import sessions_in_reach
from lastspan.instrumentation.registry.spans import ExecutionContext
from lastspan.semconv import attributes as a

# A client that is cut off may leave its socket to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


def diagnosed(where: ExecutionContext, *, package: str = "") -> Attributes:
    seen = sample_stack(where)
    thread_id = seen.thread_id if seen.is_on_thread else None
    at_hand = sessions_in_reach(live(where), package)
    return diagnose(Subject(where, package, thread_id, is_call=False, stood=1.0, sessions=at_hand))


def until_kind(where: ExecutionContext, kind: str) -> Attributes:
    found = soon(lambda: diagnosed(where), lambda one: one.get(a.WAIT_KIND) == kind)
    assert found.get(a.WAIT_KIND) == kind
    return found


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


def in_a_loop(
    body: Callable[[], Coroutine[object, object, None]],
) -> tuple[Callable[[], None], Callable[[], None], list[asyncio.Task[None]]]:
    """What runs a coroutine in a loop of its own; what cancels it; its task."""
    tasks: list[asyncio.Task[None]] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        tasks.append(asyncio.ensure_future(body()))
        with contextlib.suppress(asyncio.CancelledError):
            await tasks[0]

    def leave() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: its server ended the wait
            loops[0].call_soon_threadsafe(tasks[0].cancel)

    return lambda: asyncio.run(main()), leave, tasks


def test_a_stream_of_a_child_is_a_pipe() -> None:
    """To asyncio it is a stream like one of a socket; the transport behind it knows better, and who writes."""
    pids: list[int] = []

    async def body() -> None:
        child = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        pids.append(child.pid)
        assert child.stdout is not None
        try:
            await child.stdout.readline()
        finally:
            child.kill()
            await child.wait()

    run, leave, tasks = in_a_loop(body)
    with standing(run, leave) as where:
        assert soon(lambda: len(pids), lambda count: count == 1) == 1
        found = until_kind(ExecutionContext(where.thread, tasks[0], None), "pipe")
        assert found[a.WAIT_PIDS] == pids
        assert (found[a.WAIT_PROGRAMS], found[a.WAIT_PROCESS_STATES]) == (["cat"], ["S"])


def test_a_stream_of_a_socket_has_its_peer(silent: Silent) -> None:
    async def body() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", silent.port)
        try:
            await reader.readline()
        finally:
            writer.close()

    run, leave, tasks = in_a_loop(body)
    with standing(run, leave) as where:
        assert soon(lambda: len(tasks), lambda count: count == 1) == 1
        found = until_kind(ExecutionContext(where.thread, tasks[0], None), "socket")
        assert found[a.WAIT_PEER] == silent.address
        assert found[a.WAIT_IDLE] >= 0


@pytest.mark.applies(hasattr(os, "sendfile"), reason="no sendfile here")
def test_a_file_that_nobody_takes(tmp_path: Path) -> None:
    """The kernel sends it by itself: the peer is that of the socket, not of the file."""
    silent = Silent()
    path = tmp_path / "dump"
    path.write_bytes(bytes(20_000_000))

    def block() -> None:
        with socket.create_connection(("127.0.0.1", silent.port)) as connection, path.open("rb") as dump:
            connection.sendfile(dump)

    with standing(block, silent.close) as where:
        found = until_kind(where, "socket")
        assert found[a.THREAD_SYSCALL] == "sendfile"
        assert found[a.WAIT_PEER] == silent.address


def test_a_connection_of_multiprocessing_may_be_a_socket() -> None:
    silent = Silent()
    with standing(lambda: pipes.Client(("127.0.0.1", silent.port), authkey=b"k"), silent.close) as where:
        assert until_kind(where, "socket")[a.WAIT_PEER] == silent.address


def test_a_pipe_with_two_ways_is_a_pipe() -> None:
    """To the kernel it is a pair of sockets that nobody gave a name."""
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs, standing(ours.recv, lambda: theirs.send(1)) as where:
        until_kind(where, "pipe")


@pytest.mark.parametrize(("end", "kind"), [(0, "pipe"), (1, "input")])
def test_select_takes_any_descriptor(end: int, kind: str) -> None:
    """The program at the other end of a terminal writes as into a pipe; at a terminal somebody types."""
    ends = pty.openpty()
    tty.setraw(ends[1])
    with standing(lambda: select.select([ends[end]], [], []), lambda: os.write(ends[1 - end], b"a")) as where:
        until_kind(where, kind)
    for descriptor in ends:
        os.close(descriptor)


def test_a_cursor_that_fetches(postgres: Postgres) -> None:
    """The line names a cursor, and calls nothing; the socket is that of a connection at hand."""
    psycopg2 = pytest.importorskip("psycopg2")
    connection = psycopg2.connect(postgres.dsn)
    pid = connection.info.backend_pid

    def block() -> None:
        with connection.cursor("rows") as rows:
            rows.itersize = 10
            rows.execute("select n, case when n > 10 then pg_sleep(600) end from generate_series(1, 100) as n")
            for _ in rows:
                pass

    def leave() -> None:
        postgres.execute(f"select pg_terminate_backend({pid})")

    with standing(block, leave) as where:
        found = soon(lambda: diagnosed(where), lambda one: a.DB_SESSION in one)  # not yet while it declares the cursor
        assert (found[a.WAIT_KIND], found[a.DB_SESSION]) == ("db", str(pid))
    connection.close()


@pytest.mark.applies(sys.platform == "linux", reason="the kernel's table of calls")
def test_a_client_that_copies_what_does_not_come(postgres: Postgres) -> None:
    """It reads from the pipe that it was given: the database waits for it, not it for the database."""
    psycopg2 = pytest.importorskip("psycopg2")
    postgres.execute("create table if not exists copied (n int)")
    reading, writing = os.pipe()
    connection = psycopg2.connect(postgres.dsn)

    def block() -> None:
        with os.fdopen(reading) as source, connection.cursor() as cursor:
            cursor.copy_expert("copy copied from stdin", source)

    with standing(block, lambda: os.close(writing)) as where:
        found = until_kind(where, "pipe")
        assert a.DB_SESSION not in found
        assert not str(found.get(a.WAIT_PEER)).endswith(str(postgres.port))
    connection.close()


def test_a_compiled_client(mariadb: MariaDB) -> None:
    """asyncmy's coroutines have no frames to be seen: the line that awaits one says whose it is."""
    asyncmy = pytest.importorskip("asyncmy")
    ids: list[int] = []

    async def body() -> None:
        connection = await asyncmy.connect(
            host=mariadb.host, port=mariadb.port, user=mariadb.user, password=mariadb.password
        )
        ids.append(connection.thread_id())
        async with connection.cursor() as cursor:
            await cursor.execute("select sleep(600)")

    run, leave, tasks = in_a_loop(body)
    with standing(run, leave) as where:
        assert len(soon(lambda: ids, bool)) == 1
        found = until_kind(ExecutionContext(where.thread, tasks[0], None), "db")
        assert found[a.DB_SESSION] == str(ids[0])
        assert found[a.WAIT_PEER] == mariadb.address
        mariadb.execute(f"kill {ids[0]}")


def test_sqlite_behind_asyncio(tmp_path: Path) -> None:
    """The thread that aiosqlite has for the connection sleeps until the file is free: a lock, not a query."""
    aiosqlite = pytest.importorskip("aiosqlite")
    path = tmp_path / "app.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("create table notes (text)")
    holder.execute("begin exclusive")

    async def body() -> None:
        async with aiosqlite.connect(path, timeout=600) as connection:
            await connection.execute("insert into notes values ('x')")

    run, _, tasks = in_a_loop(body)
    with contextlib.closing(holder), standing(run, holder.rollback) as where:
        assert len(soon(lambda: tasks, bool)) == 1
        found = until_kind(ExecutionContext(where.thread, tasks[0], None), "db_lock")
        assert found[a.WAIT_PEER] == str(path)
        assert "of this very process" in found[a.EVIDENCE_UNSEEN]


LIBRARY = """
import fcntl, os, time

class LeaseLock:
    def __init__(self, path=None):
        self.path = path

    def __enter__(self):
        self._acquire()

    def __exit__(self, *exc):
        return None

    def _acquire(self, timeout=900):
        file = os.open(self.path, os.O_RDWR | os.O_CREAT) if self.path else None
        try:
            while not over.is_set():
                if file is not None:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        pass
                time.sleep(0.05)
        finally:
            if file is not None:
                os.close(file)

class Locker:
    def __enter__(self):
        over.wait()

    def __exit__(self, *exc):
        return None
"""


@pytest.fixture
def library(tmp_path: Path) -> ModuleType:
    """An installed library with a lock that nobody has told us of."""
    file = tmp_path / "site-packages" / "leases.py"
    file.parent.mkdir()
    file.write_text(LIBRARY)
    spec = importlib.util.spec_from_file_location("leases", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.over = threading.Event()  # type: ignore[attr-defined]
    return module


def enter(manager: contextlib.AbstractContextManager[None]) -> None:
    with manager:
        pass


def test_a_librarys_lock_is_known_by_its_name(library: ModuleType) -> None:
    """It tries again and sleeps; a sleep is not what the job waits for."""
    with standing(lambda: enter(library.LeaseLock()), library.over.set) as where:
        assert until_kind(where, "lock")[a.WAIT_CALL] == "LeaseLock.__enter__"


def test_what_only_sounds_like_a_lock_is_none(library: ModuleType) -> None:
    with standing(lambda: enter(library.Locker()), library.over.set) as where:
        assert until_kind(where, "event")[a.WAIT_CALL] == "Event.wait"


HOLDS = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
input()
"""


@pytest.mark.applies(sys.platform == "linux", reason="the kernel's list of locks")
def test_the_holder_of_a_file_lock_that_is_polled(library: ModuleType, tmp_path: Path) -> None:
    path = str(tmp_path / "app.lock")
    command = [sys.executable, "-c", HOLDS, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        with standing(lambda: enter(library.LeaseLock(path)), library.over.set) as where:
            found = soon(lambda: diagnosed(where), lambda one: a.LOCK_HOLDER_PID in one)
            assert found[a.WAIT_KIND] == "file_lock"
            assert found[a.WAIT_PEER] == os.path.realpath(path)
            assert found[a.LOCK_HOLDER_PID] == holder.pid
        holder.stdin.write(b"\n")
        holder.stdin.close()
