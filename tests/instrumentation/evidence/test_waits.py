"""What a job waits for, read from its frames: the call, its timeout, and what is awaited."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import multiprocessing
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from multiprocessing import connection as pipes
from pathlib import Path
from time import sleep
from typing import Any, TypeAlias

import pytest
import requests
from tests.instrumentation.evidence.standing import Silent, soon, standing
from tests.servers import Redis

from lastspan.instrumentation.evidence.clients.table import CALLS, NATIVE, PACKAGES
from lastspan.instrumentation.evidence.stack.frames import live
from lastspan.instrumentation.evidence.waits.known_calls import WaitingCall, named, wait
from lastspan.instrumentation.registry.spans import ExecutionContext
from lastspan.semconv.vocabulary import WAITS

# A client that is cut off may leave its socket to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

Blocking: TypeAlias = "tuple[Callable[[], object], Callable[[], object]]"
"""What blocks, and what lets it go."""


def seen(where: ExecutionContext) -> WaitingCall | None:
    return wait(live(where))


def check(blocking: Blocking, expected: WaitingCall) -> None:
    with standing(*blocking) as where:
        assert soon(lambda: seen(where), lambda found: found == expected) == expected


@pytest.mark.parametrize(
    ("line", "kind"), [("thing.join()", "task"), ("thing.acquire(True)", "lock"), ("thing.paint()", None)]
)
def test_by_its_name_alone(line: str, kind: str | None, tmp_path: Path) -> None:
    """Of a frame that is known to wait, though nothing of its object can be read."""
    program = tmp_path / "program.py"
    program.write_text(f"def wait(thing):\n    {line}\n    return 0\n")
    namespace: dict[str, Any] = {}
    exec(compile(program.read_text(), str(program), "exec"), namespace)
    found: list[WaitingCall | None] = []

    class Thing:
        def join(self, *_: object) -> None:
            found.append(named(sys._getframe(1)))

        acquire = paint = join

    namespace["wait"](Thing())
    assert [one.kind for one in found if one is not None] == ([] if kind is None else [kind])


# --- threads ----------------------------------------------------------------------------------------------------------


def event() -> Blocking:
    it = threading.Event()
    return lambda: it.wait(), it.set


def event_with_timeout() -> Blocking:
    it = threading.Event()
    return lambda: it.wait(900), it.set


def condition() -> Blocking:
    it, is_over = threading.Condition(), threading.Event()

    def block() -> None:
        with it:
            it.wait_for(is_over.is_set)

    def leave() -> None:
        is_over.set()
        with it:
            it.notify_all()

    return block, leave


def semaphore() -> Blocking:
    it = threading.Semaphore(0)
    return lambda: it.acquire(timeout=900), it.release


def barrier() -> Blocking:
    it = threading.Barrier(2)
    return lambda: it.wait(), it.abort


def lock() -> Blocking:
    it = threading.Lock()
    it.acquire()
    return lambda: it.acquire(), it.release


def lock_of_with() -> Blocking:
    it = threading.Lock()
    it.acquire()

    def block() -> None:
        with it:
            pass

    return block, it.release


def thread() -> Blocking:
    it = threading.Event()
    other = threading.Thread(target=it.wait, name="exporter", daemon=True)
    other.start()
    return lambda: other.join(), it.set


def get_of_queue() -> Blocking:
    it: queue.Queue[int] = queue.Queue()
    return lambda: it.get(), lambda: it.put(1)


def get_of_priority_queue() -> Blocking:
    it: queue.Queue[int] = queue.PriorityQueue()
    return lambda: it.get(timeout=900), lambda: it.put(1)


def put_into_queue() -> Blocking:
    it: queue.Queue[int] = queue.Queue(1)
    it.put(1)
    return lambda: it.put(2), it.get


def join_of_queue() -> Blocking:
    it: queue.Queue[int] = queue.Queue()
    it.put(1)
    return lambda: it.join(), it.task_done


def simple_queue() -> Blocking:
    it: queue.SimpleQueue[int] = queue.SimpleQueue()
    return lambda: it.get(), lambda: it.put(1)


def sleeping() -> Blocking:
    reads, writes = os.pipe()  # a sleep cannot be ended: short ones, until told
    os.close(writes)
    over = threading.Event()

    def block() -> None:
        while not over.is_set():
            time.sleep(0.2)
        os.close(reads)

    return block, over.set


def sleeping_by_its_own_name() -> Blocking:
    over = threading.Event()

    def block() -> None:
        while not over.is_set():
            sleep(0.2)

    return block, over.set


def future() -> Blocking:
    it = threading.Event()
    executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="pool")
    submitted = executor.submit(it.wait)
    return lambda: submitted.result(), it.set


def futures() -> Blocking:
    it: concurrent.futures.Future[None] = concurrent.futures.Future()
    return lambda: concurrent.futures.wait([it], timeout=900), lambda: it.set_result(None)


def futures_completed() -> Blocking:
    it: concurrent.futures.Future[None] = concurrent.futures.Future()
    return lambda: list(concurrent.futures.as_completed([it])), lambda: it.set_result(None)


def mapped() -> Blocking:
    it = threading.Event()
    executor = concurrent.futures.ThreadPoolExecutor(1)
    executor.submit(it.wait)  # work that has begun is followed to where it stands
    return lambda: list(executor.map(abs, [1])), it.set


def executor_ends() -> Blocking:
    it = threading.Event()

    def block() -> None:
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            executor.submit(it.wait)

    return block, it.set


NATIVES: list[tuple[Callable[[], Blocking], WaitingCall]] = [
    (lock, WaitingCall("lock", "lock.acquire")),
    (lock_of_with, WaitingCall("lock", "lock.__enter__")),
    (simple_queue, WaitingCall("queue", "SimpleQueue.get")),
    (sleeping, WaitingCall("sleep", "time.sleep")),
    (sleeping_by_its_own_name, WaitingCall("sleep", "time.sleep")),
]

THREADS: list[tuple[Callable[[], Blocking], WaitingCall]] = [
    (event, WaitingCall("event", "Event.wait", None, True)),
    (event_with_timeout, WaitingCall("event", "Event.wait", 900, False)),
    (condition, WaitingCall("condition", "Condition.wait_for", None, True)),
    (semaphore, WaitingCall("semaphore", "Semaphore.acquire", 900, False)),
    (barrier, WaitingCall("barrier", "Barrier.wait", None, True)),
    (thread, WaitingCall("thread", "Thread.join", None, True, "exporter")),
    # the call of the application, not the condition inside of it
    (get_of_queue, WaitingCall("queue", "Queue.get", None, True)),
    (get_of_priority_queue, WaitingCall("queue", "Queue.get", 900, False)),
    (put_into_queue, WaitingCall("queue", "Queue.put", None, True)),
    (join_of_queue, WaitingCall("queue", "Queue.join", None, True)),
    (future, WaitingCall("future", "Future.result", None, True, "pool_0")),
    (futures, WaitingCall("future", "futures.wait", 900, False)),
    (futures_completed, WaitingCall("future", "futures.as_completed", None, True)),
    (mapped, WaitingCall("future", "Executor.map")),
    (executor_ends, WaitingCall("thread", "ThreadPoolExecutor.shutdown", None, True)),
]


COLUMNS = pytest.mark.applies(sys.version_info >= (3, 11), reason="a native call is told by its columns, new in 3.11")
"""The kernel still tells that it sleeps, or reads a socket."""


@COLUMNS
@pytest.mark.parametrize(("scenario", "expected"), NATIVES, ids=[one.__name__ for one, _ in NATIVES])
def test_native_calls(scenario: Callable[[], Blocking], expected: WaitingCall) -> None:
    """Calls without a frame of their own: by the line that makes them."""
    check(scenario(), expected)


@pytest.mark.parametrize(("scenario", "expected"), THREADS, ids=[one.__name__ for one, _ in THREADS])
def test_threads(scenario: Callable[[], Blocking], expected: WaitingCall) -> None:
    """The primitive that the application called, its timeout, and the thread where it can be told."""
    check(scenario(), expected)


# --- processes and files ----------------------------------------------------------------------------------------------

SLEEPER = [sys.executable, "-c", "import time; time.sleep(100)"]


def test_a_child_process() -> None:
    """With its pid."""
    child = subprocess.Popen(SLEEPER)
    check(
        (lambda: child.wait(timeout=900), child.kill), WaitingCall("process", "Popen.wait", 900, False, pid=child.pid)
    )


def test_what_a_child_process_prints() -> None:
    """`subprocess.run` and its like wait in `communicate`."""
    found: list[WaitingCall | None] = []

    def leave() -> None:
        assert found[0] is not None
        os.kill(found[0].pid or 0, signal.SIGKILL)

    with standing(lambda: subprocess.run(SLEEPER, stdout=subprocess.PIPE, check=False), leave) as where:
        found.append(soon(lambda: seen(where), lambda one: one is not None and one.call == "Popen.communicate"))
        assert found[0] is not None
        assert (found[0].kind, found[0].is_unbounded) == ("process", True)


def test_a_process_of_multiprocessing() -> None:
    """With its name and pid."""
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(100,), name="child")
    child.start()
    expected = WaitingCall("process", "BaseProcess.join", None, True, "child", pid=child.pid)
    check((lambda: child.join(), child.kill), expected)


def test_a_pipe() -> None:
    """Between processes."""
    ours, theirs = pipes.Pipe()
    check((lambda: ours.recv(), lambda: theirs.send(1)), WaitingCall("pipe", "_ConnectionBase.recv", None, True))
    ours.close()
    theirs.close()


def test_a_queue_of_processes() -> None:
    """By the queue, not by its semaphores and pipes."""
    it: Any = multiprocessing.get_context("spawn").Queue()
    check((lambda: it.get(), lambda: it.put(1)), WaitingCall("queue", "Queue.get", None, True))
    it.close()
    it.join_thread()


def test_a_lock_of_processes() -> None:
    """Whose holder is in another process perhaps."""
    it = multiprocessing.get_context("spawn").Lock()
    it.acquire()

    def block() -> None:
        with it:
            pass

    check((block, it.release), WaitingCall("lock", "SemLock.__enter__", None, True))


@COLUMNS
def test_a_descriptor() -> None:
    """`select` and its relatives, called by the application itself."""
    reads, writes = os.pipe()
    check((lambda: select.select([reads], [], []), lambda: os.close(writes)), WaitingCall("socket", "select.select"))
    os.close(reads)


@COLUMNS
def test_a_socket() -> None:
    """Of no known protocol."""
    one, other = socket.socketpair()
    with one, other:
        check((lambda: one.recv(1), lambda: other.send(b"1")), WaitingCall("socket", "socket.recv"))


def test_connections_that_nobody_makes() -> None:
    """A server that waits for clients."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        check((lambda: server.accept()[0].close(), lambda: socket.create_connection(address).close()), ACCEPT)


ACCEPT = WaitingCall("accept", "socket.accept")


def test_a_job_that_calls_nothing() -> None:
    """It computes: it waits for nothing."""
    over = threading.Event()

    def block() -> None:
        while not over.is_set():
            pass

    with standing(block, over.set) as where:
        for _ in range(20):
            found = seen(where)
            assert found is None


def test_no_frames() -> None:
    assert wait(()) is None


# --- asyncio ----------------------------------------------------------------------------------------------------------


@contextmanager
def looping(body: Callable[[], Coroutine[Any, Any, object]]) -> Iterator[ExecutionContext]:
    """Run a coroutine as a job whose own code is plain, and awaits: most are."""
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        await body()

    def leave() -> None:
        soon(lambda: bool(loops), bool)
        loop = loops[0]
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])

    def run() -> None:
        try:
            asyncio.run(main())
        except asyncio.CancelledError:
            pass

    with standing(run, leave) as where:
        yield where


async def a_lock() -> None:
    it = asyncio.Lock()
    await it.acquire()
    async with it:
        pass


async def a_lock_with_a_timeout() -> None:
    await asyncio.wait_for(a_lock(), 900)


async def an_event() -> None:
    await asyncio.Event().wait()


async def a_condition() -> None:
    it = asyncio.Condition()
    async with it:
        await it.wait()


async def a_semaphore() -> None:
    await asyncio.Semaphore(0).acquire()


async def a_queue() -> None:
    await asyncio.Queue[int]().get()


async def a_sleep() -> None:
    await asyncio.gather(asyncio.sleep(900), asyncio.sleep(0))


async def completed() -> None:
    for one in asyncio.as_completed([asyncio.sleep(900)]):
        await one


async def a_future() -> None:
    await asyncio.get_running_loop().create_future()


async def a_future_with_a_timeout() -> None:
    await asyncio.wait_for(asyncio.get_running_loop().create_future(), 900)


async def a_stream() -> None:
    one, other = socket.socketpair()
    with other:
        reader, writer = await asyncio.open_connection(sock=one)
        try:
            await reader.readline()
        finally:
            writer.close()


class Answers:
    """Of a library, by its module: its calls hand out futures, which say nothing of whose they are."""

    __module__ = "pycurl.fake"

    def fetch(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()


async def a_future_of_a_library() -> None:
    client = Answers()
    await client.fetch()


async def a_future_of_a_librarys_new_object() -> None:
    await Answers().fetch()


TASKS: list[tuple[Callable[[], Coroutine[Any, Any, object]], WaitingCall]] = [
    (a_lock, WaitingCall("lock", "Lock.acquire")),
    (a_lock_with_a_timeout, WaitingCall("lock", "Lock.acquire", 900, False)),
    (an_event, WaitingCall("event", "Event.wait")),
    (a_condition, WaitingCall("condition", "Condition.wait")),
    (a_semaphore, WaitingCall("semaphore", "Semaphore.acquire")),
    (a_queue, WaitingCall("queue", "Queue.get")),
    (a_sleep, WaitingCall("sleep", "asyncio.sleep", 900, False)),
    (completed, WaitingCall("sleep", "asyncio.sleep", 900, False)),
    (a_future, WaitingCall("future", "await")),
    (a_future_with_a_timeout, WaitingCall("future", "asyncio.wait_for", 900, False)),
    (a_future_of_a_library, WaitingCall("http", "Answers.fetch")),
    (a_future_of_a_librarys_new_object, WaitingCall("http", "Answers.fetch")),
    (a_stream, WaitingCall("socket", "StreamReader.readline")),
]


@pytest.mark.parametrize(("body", "expected"), TASKS, ids=[one.__name__ for one, _ in TASKS])
def test_asyncio(body: Callable[[], Coroutine[Any, Any, object]], expected: WaitingCall) -> None:
    """What the innermost coroutine awaits, seen from the plain job that runs the loop; bounded by a `wait_for`."""
    with looping(body) as where:
        assert soon(lambda: seen(where), lambda found: found == expected) == expected


def test_a_child_process_of_asyncio() -> None:
    """With its pid."""

    async def body() -> None:
        child = await asyncio.create_subprocess_exec(*SLEEPER)
        try:
            await child.wait()
        finally:
            child.kill()
            await child.wait()

    with looping(body) as where:
        found = soon(lambda: seen(where), lambda one: one is not None and one.call == "Process.wait")
        assert found is not None
        assert found.pid is not None


# --- clients ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


def by_requests(server: Silent) -> object:
    with requests.Session() as session:
        return session.get(server.url)


def by_http_client(server: Silent) -> object:
    connection = HTTPConnection("127.0.0.1", server.port)
    try:
        connection.request("GET", "/")
        return connection.getresponse()
    finally:
        connection.close()


def by_urllib(server: Silent) -> object:
    return urllib.request.urlopen(server.url, timeout=900)


def by_urllib3(server: Silent) -> object:
    with pytest.importorskip("urllib3").PoolManager() as pool:
        return pool.request("GET", server.url, retries=False)


def by_httpx(server: Silent) -> object:
    with pytest.importorskip("httpx").Client(trust_env=False) as client:
        return client.get(server.url, timeout=900)


def by_redis(server: Silent) -> object:
    redis = pytest.importorskip("redis")
    with redis.Redis(port=server.port, retry=None) as client:  # it would try for seconds after it was cut off
        return client.get("key")


def by_pymysql(server: Silent) -> object:
    return pytest.importorskip("pymysql").connect(host="127.0.0.1", port=server.port)


def by_psycopg2(server: Silent) -> object:
    return pytest.importorskip("psycopg2").connect(host="127.0.0.1", port=server.port)


def by_psycopg(server: Silent) -> object:
    return pytest.importorskip("psycopg").connect(host="127.0.0.1", port=server.port)


CLIENTS: list[tuple[Callable[[Silent], object], str, str]] = [
    (by_requests, "http", "requests.get"),
    (by_http_client, "http", "HTTPConnection.getresponse"),
    (by_urllib, "http", "urllib.urlopen"),
    (by_urllib3, "http", "urllib3.request"),
    (by_httpx, "http", "httpx.get"),
    (by_redis, "db", "redis.get"),
    (by_pymysql, "db", "Connection.__init__"),
    (by_psycopg2, "db", "psycopg2.connect"),
    (by_psycopg, "db", "Connection.connect"),
]


@pytest.mark.parametrize(("client", "kind", "call"), CLIENTS, ids=[one.__name__ for one, _, _ in CLIENTS])
def test_clients(client: Callable[[Silent], object], kind: str, call: str) -> None:
    """A client whose server says nothing: by the function that the application called, not by what is inside."""
    server = Silent()
    with standing(lambda: client(server), server.close) as where:
        found = soon(lambda: seen(where), lambda one: one is not None and (one.kind, one.call) == (kind, call))
        assert found is not None
        assert (found.kind, found.call) == (kind, call)


async def by_aiohttp(server: Silent) -> object:
    aiohttp = pytest.importorskip("aiohttp")
    async with aiohttp.ClientSession() as session, session.get(server.url) as answer:
        return await answer.read()


async def by_httpx_async(server: Silent) -> object:
    async with pytest.importorskip("httpx").AsyncClient(trust_env=False) as client:
        return await client.get(server.url, timeout=900)


async def by_asyncpg(server: Silent) -> object:
    return await pytest.importorskip("asyncpg").connect(host="127.0.0.1", port=server.port, timeout=900)


async def by_aiomysql(server: Silent) -> object:
    return await pytest.importorskip("aiomysql").connect(host="127.0.0.1", port=server.port)


ASYNC_CLIENTS: list[tuple[Callable[[Silent], Coroutine[Any, Any, object]], str, str]] = [
    (by_aiohttp, "http", "aiohttp.request"),
    (by_httpx_async, "http", "httpx.get"),
    (by_asyncpg, "db", "asyncpg.connect"),
    (by_aiomysql, "db", "aiomysql._connect"),
]


@pytest.mark.parametrize(("client", "kind", "call"), ASYNC_CLIENTS, ids=[one.__name__ for one, _, _ in ASYNC_CLIENTS])
def test_asyncio_clients(
    client: Callable[[Silent], Coroutine[Any, Any, object]], kind: str, call: str, silent: Silent
) -> None:
    """The same for those of asyncio."""
    with looping(lambda: client(silent)) as where:
        found = soon(lambda: seen(where), lambda one: one is not None and (one.kind, one.call) == (kind, call))
        assert found is not None
        assert (found.kind, found.call) == (kind, call)


# --- other jobs, locks and pools --------------------------------------------------------------------------------------


GIVE_UP = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}


def of_celery(server: Redis) -> Awaited:
    celery = pytest.importorskip("celery")
    app = celery.Celery(broker="memory://", backend=server.dsn)
    app.conf.result_backend_transport_options = {"retry_policy": GIVE_UP}
    return "celery", "7f1c", lambda: app.AsyncResult("7f1c").get(timeout=900, disable_sync_subtasks=False)


def of_a_celery_group(server: Redis) -> Awaited:
    result = pytest.importorskip("celery.result")
    app = pytest.importorskip("celery").Celery(broker="memory://", backend=server.dsn)
    app.conf.result_backend_transport_options = {"retry_policy": GIVE_UP}
    both = result.ResultSet([app.AsyncResult("7f1d"), app.AsyncResult("7f1e")], app=app)
    return "celery", "7f1d", lambda: both.join(timeout=900, disable_sync_subtasks=False)


def of_rq(server: Redis) -> Awaited:
    job = pytest.importorskip("rq.job").Job("7f1c", connection=client_of(server))
    return "rq", "7f1c", lambda: job.latest_result(timeout=900)


def of_huey(server: Redis) -> Awaited:
    huey = pytest.importorskip("huey").RedisHuey("lastspan", url=server.dsn)
    task = huey.task()(time.sleep).s(1)
    result = pytest.importorskip("huey.api").Result(huey, task)
    return "huey", str(task.id), lambda: result.get(blocking=True, timeout=900)


def of_dramatiq(server: Redis) -> Awaited:
    dramatiq = pytest.importorskip("dramatiq")
    backend = pytest.importorskip("dramatiq.results.backends").RedisBackend(url=server.dsn)
    message = dramatiq.Message(queue_name="q", actor_name="a", args=(), kwargs={}, options={}, message_id="7f1c")
    return "dramatiq", "7f1c", lambda: message.get_result(backend=backend, block=True, timeout=900_000)


Awaited: TypeAlias = "tuple[str, str, Callable[[], object]]"
"""Framework, job id, what waits for that job."""
SYSTEMS = [of_celery, of_a_celery_group, of_rq, of_huey, of_dramatiq]


def client_of(server: Redis) -> Any:
    return pytest.importorskip("redis").Redis.from_url(server.dsn)


@pytest.mark.parametrize("system", SYSTEMS, ids=[one.__name__ for one in SYSTEMS])
def test_other_jobs(system: Callable[[Redis], Awaited], redis_server: Redis) -> None:
    """The framework and the id of the job that is waited for, and its timeout."""
    name, job_id, block = system(redis_server)

    def leave() -> None:
        redis_server.stop()

    try:
        with standing(block, leave) as where:
            found = soon(lambda: seen(where), lambda one: one is not None and one.kind == "job")
            assert found is not None
            assert (found.kind, found.job_system, found.job_id) == ("job", name, job_id)
            assert (found.timeout, found.is_unbounded) == (900, False)
    finally:
        redis_server.start()


def test_a_queue_in_redis(redis_server: Redis) -> None:
    """A blocking pop: what is waited for is an item; the queue's name, not the timeout that Redis is sent."""
    client = client_of(redis_server)
    expected = WaitingCall("queue", "ListCommands.blpop", None, True, "parcels")
    check((lambda: client.blpop("parcels"), lambda: client_of(redis_server).rpush("parcels", "1")), expected)


def test_a_lock_in_redis(redis_server: Redis) -> None:
    """By its name, though it sleeps and asks again."""
    client = client_of(redis_server)
    held = client.lock("nightly")
    held.acquire()

    def block() -> None:
        with client.lock("nightly", blocking_timeout=900):
            pass

    check((block, held.release), WaitingCall("redis_lock", "Lock.acquire", 900, False, "nightly"))


def test_a_file_lock(tmp_path: Path) -> None:
    """By its path."""
    filelock = pytest.importorskip("filelock")
    path = str(tmp_path / "app.lock")
    held = filelock.FileLock(path)
    held.acquire()

    def block() -> None:
        with filelock.FileLock(path):
            pass

    with standing(block, held.release) as where:
        found = soon(lambda: seen(where), lambda one: one is not None and one.target != "")
        assert found is not None
        assert (found.kind, found.call, found.target, found.peer) == (
            "file_lock",
            "BaseFileLock.acquire",
            path,
            path,
        )


def test_a_pool_that_connects_waits_for_the_server() -> None:
    """It has room: nobody keeps a connection from it."""
    sqlalchemy, psycopg2 = pytest.importorskip("sqlalchemy"), pytest.importorskip("psycopg2")
    silent = Silent()
    url = f"postgresql+psycopg2://u:p@{silent.address}/d"
    engine = sqlalchemy.create_engine(url, pool_size=1, max_overflow=0)

    def block() -> None:
        with contextlib.suppress(sqlalchemy.exc.OperationalError, psycopg2.OperationalError), engine.connect():
            pass

    with standing(block, silent.close) as where:
        assert soon(lambda: seen(where), lambda one: one is not None and one.kind == "db") is not None


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_pool_of_httpx(is_async: bool) -> None:
    """A free connection, though the library waits for it in an event of its own making."""
    httpx = pytest.importorskip("httpx")
    server = Silent()
    limits = {"limits": httpx.Limits(max_connections=1), "timeout": None, "trust_env": False}

    def wants(where: ExecutionContext) -> None:
        found = soon(lambda: seen(where), lambda one: one is not None and one.kind == "pool")
        call = f"{'Async' if is_async else ''}PoolRequest.wait_for_connection"
        assert found == WaitingCall("pool", call, is_unbounded=True)

    if is_async:

        async def body() -> None:
            async with httpx.AsyncClient(**limits) as client:
                first = asyncio.ensure_future(client.get(server.url))
                await asyncio.sleep(0.1)
                try:
                    await client.get(server.url)
                finally:
                    first.cancel()

        with looping(body) as where:
            wants(where)
        server.close()
        return
    client = httpx.Client(**limits)

    def fetch() -> None:
        with contextlib.suppress(httpx.HTTPError):
            client.get(server.url)

    first = threading.Thread(target=fetch, daemon=True)
    first.start()
    soon(lambda: len(server._taken), lambda count: count == 1)
    with standing(fetch, server.close) as where:
        wants(where)
    first.join(20)
    client.close()


def test_a_pool_of_sqlalchemy() -> None:
    """A free connection, not the database."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    pool = pytest.importorskip("sqlalchemy.pool").QueuePool
    limits = {"poolclass": pool, "pool_size": 1, "max_overflow": 0, "pool_timeout": 900}
    engine = sqlalchemy.create_engine("sqlite://", connect_args={"check_same_thread": False}, **limits)
    held = engine.connect()

    def block() -> None:
        with engine.connect():
            pass

    check((block, held.close), WaitingCall("pool", "QueuePool._do_get", 900, False))
    engine.dispose()


# --- gevent -----------------------------------------------------------------------------------------------------------

GREENLETS = """
from gevent import monkey; monkey.patch_all()
import queue, threading, time
import gevent, gevent.event, gevent.lock, gevent.queue
from lastspan.instrumentation.evidence.clients.table import CALLS, NATIVE, PACKAGES
from lastspan.instrumentation.evidence.stack.frames import live
from lastspan.instrumentation.evidence.waits.known_calls import wait
from lastspan.instrumentation.registry.spans import ExecutionContext

ident = monkey.get_original("_thread", "get_ident")()
event, items, room = gevent.event.Event(), gevent.queue.Queue(), gevent.lock.Semaphore(0)
lock, plain = threading.Lock(), queue.Queue()
lock.acquire()
other = gevent.spawn(event.wait)
result = gevent.event.AsyncResult()

def an_event(): event.wait()
def an_item(): items.get()
def room_(): room.acquire()
def a_lock(): lock.acquire()
def a_plain_item(): plain.get()
def a_sleep(): time.sleep(900)
def a_greenlet(): other.join()
def greenlets(): gevent.joinall([other])
def a_result(): result.get()
def inside():
    with room:
        pass
def each_item():
    for item in items:
        pass

for stands in (
    an_event, an_item, room_, a_lock, a_plain_item, a_sleep, a_greenlet, greenlets, a_result, inside, each_item
):
    greenlet = gevent.spawn(stands)
    gevent.sleep(0)
    found = wait(live(ExecutionContext(ident, None, greenlet)))
    print(stands.__name__, found.kind if found else None, found.call if found else None)
"""


@COLUMNS
def test_greenlets(tmp_path: Path) -> None:
    """What gevent's own functions wait for, compiled or not, patched in or called by name."""
    pytest.importorskip("gevent")
    program = tmp_path / "greenlets.py"  # a file: the lines tell which native function is called
    program.write_text(GREENLETS)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == [
        "an_event event Event.wait",
        "an_item queue Queue.get",
        "room_ semaphore Semaphore.acquire",
        "a_lock lock LockType.acquire",
        "a_plain_item queue Queue.get",
        "a_sleep sleep gevent.sleep",
        "a_greenlet task Greenlet.join",
        "greenlets task gevent.joinall",
        "a_result future AsyncResult.get",
        "inside semaphore Semaphore.acquire",
        "each_item queue Queue.__next__",
    ], done.stderr


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_table_speaks_the_vocabulary() -> None:
    """Each kind is declared."""
    rows = [row for names in CALLS.values() for row in names.values()]
    assert {row.kind for row in (*rows, *NATIVE.values())} | set(PACKAGES.values()) <= WAITS.keys()
    assert all(row.system for row in rows if row.kind == "job")


def test_the_table_names_what_exists() -> None:
    """A row whose function an installed library does not have would never be met."""
    assert [name for name in _missing() if name.partition(".")[0] in sys.stdlib_module_names] == []


def _missing() -> Iterator[str]:
    for module, rows in CALLS.items():
        try:
            loaded = __import__(module, fromlist=["*"])
        except Exception:  # not installed, or not for this version
            continue
        for name in rows:
            target: Any = loaded
            for part in name.partition(".<locals>")[0].split("."):
                target = inspect.getattr_static(target, part, None)
            if target is None and (module, name) not in OF_OTHER_VERSIONS:
                yield f"{module}.{name}"


OF_OTHER_VERSIONS = {
    ("asyncio.locks", "Barrier.wait"),
    ("asyncio.taskgroups", "TaskGroup._aexit"),
    ("asyncio.tasks", "_AsCompletedIterator._wait_for_one"),
    ("asyncio.runners", "Runner.run"),
    ("threading", "_RLock.acquire"),
    ("asyncio.selector_events", "BaseSelectorEventLoop.sock_recvfrom"),
}
