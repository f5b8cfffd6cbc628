"""HTTP and RPC calls whose answer never comes.

Clients are imported by the way that needs them: many of these programs start at once on few cores.
"""

from __future__ import annotations

import functools
import http.client
import urllib.request
from collections.abc import Iterator
from typing import Any

import requests
from tests.e2e.causes.place import here, ready, split
from tests.e2e.causes.way import HTTP, JOB, way

RPC = r"(http|other) "
"""An RPC span may count as HTTP or not; it is the RPC's span in any case."""


@way("http_no_timeout", span=HTTP, peer="silent", in_test=True)
def requests_without_timeout() -> None:
    requests.get(f"http://{here().silent}/rates")  # <- stops here


@way("http_call", span=HTTP, peer="silent", in_test=True)
def requests_with_long_timeout() -> None:
    requests.get(f"http://{here().silent}/rates", timeout=900)  # <- stops here


@way("http_no_timeout", span=HTTP, peer="silent")
def requests_post_of_a_session() -> None:
    with requests.Session() as session:
        _charge(session)


def _charge(session: requests.Session) -> None:
    url = f"http://{here().silent}/charge"
    session.post(url, json={"amount": 5})  # <- requests_post_of_a_session stops here


@way("http_no_timeout", span=HTTP, peer="silent")
def urllib_without_timeout() -> None:
    with urllib.request.urlopen(f"http://{here().silent}/feed") as answer:  # <- stops here
        answer.read()


@way("http_no_timeout", span=HTTP, peer="silent")
def urllib3_without_timeout() -> None:
    import urllib3

    pool = urllib3.PoolManager()
    pool.request("GET", f"http://{here().silent}/feed", retries=False)  # <- stops here


@way("http_no_timeout", span=JOB, peer="silent")
def http_client_without_timeout() -> None:
    connection = http.client.HTTPConnection(*split(here().silent))
    connection.request("GET", "/status")
    connection.getresponse()  # <- stops here


@way("http_call", span=JOB, peer="silent")
def http_client_with_long_timeout() -> None:
    connection = http.client.HTTPConnection(*split(here().silent), timeout=900)
    connection.request("GET", "/status")
    connection.getresponse()  # <- stops here


@way("http_no_timeout", span=HTTP, peer="silent")
def httpx_without_timeout() -> None:
    import httpx

    with httpx.Client(timeout=None) as client:
        client.get(f"http://{here().silent}/orders")  # <- stops here


@way("http_no_timeout", span=HTTP, peer="silent")
async def httpx_async_without_timeout() -> None:
    import httpx

    async with httpx.AsyncClient(timeout=None) as client:
        await client.get(f"http://{here().silent}/orders")  # <- stops here


@way("http_call", span=HTTP, peer="silent")
async def httpx_async_with_long_timeout() -> None:
    import httpx

    async with httpx.AsyncClient(timeout=900) as client:
        await client.get(f"http://{here().silent}/orders")  # <- stops here


@way("http_call", span=HTTP, peer="silent")
async def aiohttp_with_its_default_timeout() -> None:
    """Five minutes in all."""
    import aiohttp

    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{here().silent}/orders") as answer:  # <- stops here
            await answer.read()


@way("http_no_timeout", span=HTTP, peer="silent")
async def aiohttp_without_timeout() -> None:
    import aiohttp

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        async with session.get(f"http://{here().silent}/orders") as answer:  # <- stops here
            await answer.read()


@way("http_no_timeout", span=RPC, bare_span=JOB, peer="grpc")
def grpc_without_deadline() -> None:
    _balance_method()(b"")  # <- stops here


@way("http_call", span=RPC, bare_span=JOB, peer="grpc")
def grpc_with_long_deadline() -> None:
    _balance_method()(b"", timeout=900)  # <- stops here


@way("http_no_timeout", span=RPC, bare_span=JOB, peer="grpc")
def grpc_stream() -> None:
    """Messages as they come; none does."""
    import grpc

    for rate in grpc.insecure_channel(here().grpc).unary_stream("/bank.Bank/Watch")(b""):  # <- stops here
        print(rate)


@way("http_call", span=RPC, bare_span=JOB, peer="grpc")
def grpc_future_with_long_deadline() -> None:
    call = _balance_method().future(b"", timeout=900)
    call.result()  # <- stops here


@way("http_no_timeout", span=RPC, bare_span=JOB, peer="grpc")
async def grpc_stream_of_a_loop() -> None:
    """The span was begun by a task that has ended since."""
    import grpc

    async with grpc.aio.insecure_channel(here().grpc) as channel:
        async for rate in channel.unary_stream("/bank.Bank/Watch")(b""):  # <- stops here
            print(rate)


def _balance_method() -> Any:
    import grpc

    return grpc.insecure_channel(here().grpc).unary_unary("/bank.Bank/Balance")


@way("http_call", span=RPC, bare_span=JOB, peer="silent")
def botocore_with_its_default_timeout() -> None:
    """A minute for each read."""
    import botocore.session  # type: ignore[import-untyped, unused-ignore]

    session = botocore.session.get_session()
    session.set_credentials("AKIAEXAMPLE", "not a secret")
    client = session.create_client("s3", region_name="us-east-1", endpoint_url=f"http://{here().silent}")
    client.list_buckets()  # <- stops here


@way("http_no_timeout", span=HTTP, peer="tls")
def tls_server_that_never_answers() -> None:
    requests.get(f"https://{here().tls}/rates", verify=False)  # <- stops here


@way("http_no_timeout", span=HTTP, peer="silent")
def tls_handshake_that_never_ends() -> None:
    requests.get(f"https://{here().silent}/rates")  # <- stops here


@way("http_call", span=HTTP, peer="trickle")
def trickling_body() -> None:
    """Each byte comes in time; the answer never ends."""
    requests.get(f"http://{here().trickle}/export", timeout=30)  # <- stops here


@way(
    "http_no_timeout",
    "http_call",
    because="the answer came, its body is endless: the call has no timeout, but bytes keep coming",
    span=JOB,  # the call's span ended with the headers
    peer="trickle",
)
def streamed_body_that_never_ends() -> None:
    with requests.get(f"http://{here().trickle}/export", stream=True) as answer:
        for _ in answer.iter_content(chunk_size=65536):  # <- stops here
            pass


@way("http_no_timeout", span=HTTP, peer="full")
def connecting_to_a_full_backlog() -> None:
    requests.get(f"http://{here().full}/rates")  # <- stops here


@way("http_no_timeout", span=HTTP, peer="silent")
def silent_proxy() -> None:
    requests.get("http://bank.example/rates", proxies={"http": f"http://{here().silent}"})  # <- stops here


@way("http_no_timeout", span=HTTP, peer="silent")
async def requests_in_a_thread_of_the_loop() -> None:
    """asyncio.to_thread: the loop is free, the thread waits."""
    import asyncio

    await asyncio.to_thread(_fetch_rates)


def _fetch_rates() -> None:
    requests.get(f"http://{here().silent}/rates")  # <- requests_in_a_thread_of_the_loop stops here


@way("http_no_timeout", span=HTTP, peer="silent")
def requests_in_a_thread_pool() -> None:
    """Three pages at once; the job waits for them all."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(_fetch_page, range(3)))


def _fetch_page(page: int) -> None:
    requests.get(f"http://{here().silent}/page/{page}")  # <- requests_in_a_thread_pool stops here


@way("http_no_timeout", span=HTTP, peer="silent")
def requests_as_they_complete() -> None:
    """Four at once, each taken as it ends."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    with ThreadPoolExecutor(4) as pool:
        for done in as_completed([pool.submit(_fetch_stock, shop) for shop in range(4)]):
            print(done.result())


def _fetch_stock(shop: int) -> None:
    requests.get(f"http://{here().silent}/stock/{shop}")  # <- requests_as_they_complete stops here


@way("http_no_timeout", span=HTTP, peer="silent")
async def requests_in_a_thread_of_anyio() -> None:
    """A pool of its own; the group waits for it."""
    import anyio

    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0.1)
        group.start_soon(anyio.to_thread.run_sync, _fetch_feed)


def _fetch_feed() -> None:
    requests.get(f"http://{here().silent}/feed")  # <- requests_in_a_thread_of_anyio stops here


# The call has returned, with its headers; its span is over.


@way("http_no_timeout", span=JOB, peer="headers")
async def events_of_aiohttp_that_do_not_come() -> None:
    import aiohttp

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        async with session.get(f"http://{here().headers}/events") as answer:
            async for line in answer.content:  # <- stops here
                print(line)


@way("http_no_timeout", span=JOB, peer="headers")
def rows_of_a_generator() -> None:
    for row in filter(None, _rows()):
        print(row)


def _rows() -> Iterator[bytes]:
    with requests.get(f"http://{here().headers}/export", stream=True) as answer:
        yield from answer.iter_lines(chunk_size=1)  # <- rows_of_a_generator stops here


# A pool whose only connection somebody keeps.

POOL = r"(http|job|lock|other) "
NO_CONNECTION = "a free connection is what is waited for, and somebody holds it"


@functools.cache
def _one_at_a_time() -> Any:
    import httpx

    return httpx.Client(limits=httpx.Limits(max_connections=1), timeout=None)


def stream_of_httpx() -> None:
    with _one_at_a_time().stream("GET", f"http://{here().trickle}/export") as answer:
        ready()
        for _ in answer.iter_raw():
            pass


@way("waiting", "lock_wait", because=NO_CONNECTION, span=POOL, beside=(stream_of_httpx,))
def exhausted_pool_of_httpx() -> None:
    _one_at_a_time().get(f"http://{here().silent}/orders")  # <- stops here
