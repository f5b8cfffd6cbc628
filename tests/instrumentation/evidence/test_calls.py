"""The timeout in force for a call, and its peer, where the system call does not show them."""

from __future__ import annotations

import asyncio
import http.client
import threading
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests
from tests.instrumentation.evidence.standing import Silent, soon, standing

from lastspan.instrumentation.evidence.clients.table import TIMEOUTS
from lastspan.instrumentation.evidence.stack.frames import live
from lastspan.instrumentation.evidence.waits.calls import CallFacts, call
from lastspan.instrumentation.registry.spans import ExecutionContext

# A client that is cut off may leave its socket to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


def plain_requests(server: Silent, timeout: float | None) -> None:
    with requests.Session() as session:
        session.get(server.url, timeout=timeout)


def with_a_password(server: Silent, timeout: float | None) -> None:
    with requests.Session() as session:
        session.get(server.url.replace("//", "//user:secret@") + "?token=secret", timeout=timeout)


def by_urllib3(server: Silent, timeout: float | None) -> None:
    urllib3 = pytest.importorskip("urllib3")
    with urllib3.PoolManager() as pool:
        pool.request("GET", server.url, timeout=urllib3.Timeout(connect=5, read=timeout), retries=False)


def by_urllib(server: Silent, timeout: float | None) -> None:
    if timeout is None:
        urllib.request.urlopen(server.url)
    else:
        urllib.request.urlopen(server.url, timeout=timeout)


def by_http_client(server: Silent, timeout: float | None) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    connection.request("GET", "/")
    try:
        connection.getresponse()
    finally:
        connection.close()


def by_httpx(server: Silent, timeout: float | None) -> None:
    with pytest.importorskip("httpx").Client(trust_env=False) as client:
        client.get(server.url, timeout=timeout)


def by_grpc(server: Silent, timeout: float | None) -> None:
    grpc = pytest.importorskip("grpc")
    with grpc.insecure_channel(server.address) as channel:
        channel.unary_unary("/a.Service/Method")(b"", timeout=timeout)


def by_redis(server: Silent, timeout: float | None) -> None:
    redis = pytest.importorskip("redis")
    # Without retries: it would try for seconds after it was cut off.
    with redis.Redis(host="127.0.0.1", port=server.port, socket_timeout=timeout, retry=None) as client:
        client.get("key")


def by_botocore(server: Silent, timeout: float | None) -> None:
    config = pytest.importorskip("botocore.config").Config(read_timeout=timeout, retries={"max_attempts": 0})
    session = pytest.importorskip("botocore.session").Session()
    session.set_credentials("key", "secret")
    client = session.create_client("sqs", "eu-west-1", endpoint_url=f"http://{server.address}", config=config)
    client.list_queues()


PLAIN = [
    plain_requests,
    with_a_password,
    by_urllib3,
    by_urllib,
    by_http_client,
    by_httpx,
    by_grpc,
    by_redis,
    by_botocore,
]


@pytest.mark.parametrize("timeout", [None, 700.0])
@pytest.mark.parametrize("client", PLAIN, ids=[client.__name__ for client in PLAIN])
def test_plain_clients(client: Callable[[Silent, float | None], None], timeout: float | None) -> None:
    """As the application gave it, with the peer as host:port and nothing else of the URL."""
    server = Silent()
    expected = CallFacts(timeout, timeout is None, server.address)
    with standing(lambda: client(server, timeout), server.close) as where:
        found = soon(lambda: call(live(where)), lambda one: one == expected)
        assert found == expected


async def aiohttp_total(server: Silent, timeout: float | None) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    limits = aiohttp.ClientTimeout(total=timeout)
    async with aiohttp.ClientSession(timeout=limits) as session, session.get(server.url) as answer:
        await answer.read()


async def aiohttp_read(server: Silent, timeout: float | None) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    limits = aiohttp.ClientTimeout(total=None, sock_read=timeout)
    async with aiohttp.ClientSession() as session, session.get(server.url, timeout=limits) as answer:
        await answer.read()


async def httpx_async(server: Silent, timeout: float | None) -> None:
    async with pytest.importorskip("httpx").AsyncClient(trust_env=False) as client:
        await client.get(server.url, timeout=timeout)


async def redis_async(server: Silent, timeout: float | None) -> None:
    async with pytest.importorskip("redis.asyncio").Redis(
        host="127.0.0.1", port=server.port, socket_timeout=timeout, retry=None
    ) as client:
        await client.get("key")


async def waited_for(server: Silent, timeout: float | None) -> None:
    await asyncio.wait_for(aiohttp_total(server, 5000), timeout)


TASKS = [aiohttp_total, aiohttp_read, httpx_async, redis_async]


def looped(body: Callable[[], Coroutine[Any, Any, None]]) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return what runs a coroutine in a loop, and what cancels it."""
    running: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        running.append(asyncio.get_running_loop())
        await body()

    def run() -> None:
        try:
            asyncio.run(main())
        except asyncio.CancelledError:
            pass

    def leave() -> None:
        loop = running[0]
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])

    return run, leave


@pytest.mark.parametrize("timeout", [None, 700.0])
@pytest.mark.parametrize("client", TASKS, ids=[client.__name__ for client in TASKS])
def test_asyncio_clients(
    client: Callable[[Silent, float | None], Coroutine[Any, Any, None]], timeout: float | None, silent: Silent
) -> None:
    """The system call is the loop's: the client's own frames tell."""

    def is_expected(one: CallFacts | None) -> bool:
        return one is not None and (one.timeout, one.is_unbounded, one.peer) == (
            timeout,
            timeout is None,
            silent.address,
        )

    with standing(*looped(lambda: client(silent, timeout))) as where:
        found = soon(lambda: call(live(where)), is_expected)
        assert is_expected(found), found


def test_the_default_of_aiohttp(silent: Silent) -> None:
    """Five minutes: a call that names no timeout has one."""

    async def body() -> None:
        aiohttp = pytest.importorskip("aiohttp")
        async with aiohttp.ClientSession() as session, session.get(silent.url):
            pass

    with standing(*looped(body)) as where:
        found = soon(lambda: call(live(where)), lambda one: one is not None and one.local != "")
        assert found is not None
        assert (found.timeout, found.is_unbounded) == (300, False)
        assert found.local.startswith("127.0.0.1:")


@pytest.mark.parametrize(("timeout", "expected"), [(700.0, 700.0), (9000.0, 5000.0), (None, 5000.0)])
def test_of_two_timeouts_the_shorter(timeout: float | None, expected: float, silent: Silent) -> None:
    """The client's, and that of an `asyncio.wait_for` around it."""
    with standing(*looped(lambda: waited_for(silent, timeout))) as where:
        found = soon(lambda: call(live(where)), lambda one: one is not None and one.timeout == expected)
        assert found is not None
        assert (found.timeout, found.is_unbounded) == (expected, False)


async def within_a_block(server: Silent, _: float | None = None) -> None:
    async with pytest.importorskip("async_timeout" if not hasattr(asyncio, "timeout") else "asyncio").timeout(900):
        await aiohttp_total(server, None)


def test_a_block_with_a_timeout_is_not_called_unbounded(silent: Silent) -> None:
    """Its limit is not seen, but that there may be one."""
    with standing(*looped(lambda: within_a_block(silent))) as where:
        found = soon(lambda: call(live(where)), lambda one: one is not None and one.local != "")
        assert found is not None
        assert (found.timeout, found.is_unbounded) == (None, None)


GRPC: list[Callable[[Any], object]] = [
    lambda channel: channel.unary_unary("/a.Service/Method").future(b"", timeout=700).result(),
    lambda channel: channel.unary_unary("/a.Service/Method").future(b"").result(timeout=700),
    lambda channel: next(channel.unary_stream("/a.Service/Method")(b"", timeout=700)),
]


@pytest.mark.parametrize("body", GRPC)
def test_a_call_that_keeps_a_deadline(body: Callable[[Any], object]) -> None:
    """Its timeout is what is left and what has passed; it is that of the wait where this one is given less."""
    grpc = pytest.importorskip("grpc")
    server = Silent()

    def run() -> None:
        with grpc.insecure_channel(server.address) as channel:
            body(channel)

    with standing(run, server.close) as where:
        found = soon(lambda: call(live(where), stood=20.0), lambda one: one is not None and one.timeout is not None)
        assert found is not None
        assert found.timeout == pytest.approx(700 if body is GRPC[1] else 720, abs=20)
        assert found.is_unbounded is False


@pytest.mark.parametrize("timeout", [None, 700.0])
@pytest.mark.parametrize("is_stream", [False, True], ids=["one answer", "stream"])
def test_a_call_of_grpc_that_is_awaited(timeout: float | None, is_stream: bool, silent: Silent) -> None:
    """Its call, which is Cython's, knows what remains."""
    aio = pytest.importorskip("grpc.aio")

    async def body() -> None:
        async with aio.insecure_channel(silent.address) as channel:
            if is_stream:
                async for _ in channel.unary_stream("/a.Service/Method")(b"", timeout=timeout):
                    pass
            else:
                await channel.unary_unary("/a.Service/Method")(b"", timeout=timeout)

    with standing(*looped(body)) as where:
        found = soon(lambda: call(live(where)), lambda one: one is not None and one.is_unbounded is not None)
        assert found is not None
        assert found.is_unbounded is (timeout is None)
        assert found.timeout == (None if timeout is None else pytest.approx(700, abs=20))


HEADERS = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfirst\n"


@pytest.mark.parametrize(
    ("limits", "timeout", "is_unbounded"),
    [
        ({"total": None}, None, True),
        ({"total": None, "sock_read": 700}, 700, False),
        ({"total": 900}, None, None),  # what is in force does not say how long it is
    ],
)
def test_a_body_of_aiohttp_that_does_not_come(
    limits: dict[str, float | None], timeout: float | None, is_unbounded: bool | None
) -> None:
    """The call has returned: its stream knows what bounds it."""
    aiohttp = pytest.importorskip("aiohttp")
    server = Silent(HEADERS)

    async def body() -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(**limits)) as session:
            async with session.get(server.url) as answer:
                async for _ in answer.content:
                    pass

    with standing(*looped(body)) as where:
        found = soon(lambda: call(live(where)), lambda one: one is not None and not one.peer.startswith("http"))
        found = soon(
            lambda: call(live(where)), lambda one: one is not None and one.descriptor >= 0 and one.timeout == timeout
        )
        assert found is not None
        assert (found.timeout, found.is_unbounded, found.peer) == (timeout, is_unbounded, server.address)
    server.close()


def test_a_stream(silent: Silent) -> None:
    """Both ends of its connection."""
    ports: list[int] = []

    async def body() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", silent.port)
        ports.append(writer.get_extra_info("sockname")[1])
        try:
            await reader.read(1)
        finally:
            writer.close()

    with standing(*looped(body)) as where:
        found = soon(lambda: call(live(where)), lambda one: one is not None and one.peer != "")
        assert found is not None
        assert found.descriptor >= 0
        assert replace(found, descriptor=-1) == CallFacts(None, None, silent.address, f"127.0.0.1:{ports[0]}")


def test_no_call() -> None:
    """Where no client's frame is on the stack, nothing is said; nor of calls around the application's own code."""
    over = threading.Event()
    with standing(lambda: over.wait(), over.set) as where:
        assert call(live(where)) is None
    assert call(()) is None
    assert call(live(ExecutionContext(0, None, None))) is None


def test_each_clue_says_something() -> None:
    for rows in TIMEOUTS.values():
        for clue in rows.values():
            assert clue.timeout or clue.deadline or clue.peer or clue.transport or clue.stream
