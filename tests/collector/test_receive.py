"""Real OTLP over real sockets, in both transports, good and bad."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import json
import random
import select
import socket
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
import requests
import uvicorn
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from tests.collector.records import Process, finished, job_key, logs_json
from tests.collector.served import JSON, Served
from uvicorn.server import ServerState

from lastspan.collector.receive.connection import Connection

LIMIT = 1_000_000


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("collector")
    (folder / "lastspan.yaml").write_text(
        f"max_body: {LIMIT}\nmax_in_flight: 1500000\nrules:\n  - {{match: {{job_name: tasks.quick}}, allowed: 1s}}\n"
    )
    served = Served(folder)
    yield served
    assert served.stop() == 0, served.log.read_text()


@pytest.fixture(autouse=True)
def _still_serves(collector: Served) -> Iterator[None]:
    """Whatever a test sends: the process lives, and takes in the next good record."""
    yield
    probe = Process(id="feed000000000000")
    assert collector.post(probe.body(probe.job(0xFEED))).status_code == 200
    assert collector.process.poll() is None


def worker(number: int) -> Process:
    return Process(id=f"{number:016x}", pid=number, worker_id=f"worker-{number}")


WAYS = ["http", "http gzip", "http json", "http json gzip", "grpc", "grpc gzip"]


@pytest.mark.parametrize("way", WAYS)
def test_a_job_is_found_by_each_way(collector: Served, way: str) -> None:
    """Taken in over any transport, encoding and compression, it is shown with its id, and ends."""
    number = 100 + WAYS.index(way)
    process = worker(number)

    def send(*records: object) -> None:
        request = process.request(*records)  # type: ignore[arg-type]
        body = request.SerializeToString()
        match way.split():
            case ["grpc", *compressed]:
                assert collector.call(body, compressed=bool(compressed)) == b""
            case ["http", "json", *zipped]:
                post = collector.post_gzip if zipped else collector.post
                answer = post(logs_json(request), content_type=JSON + "; charset=utf-8")
                assert (answer.status_code, answer.json()) == (200, {})
            case [*_, "gzip"]:
                assert collector.post_gzip(body).status_code == 200
            case _:
                answer = collector.post(body)
                assert (answer.status_code, answer.content) == (200, b"")

    send(process.job(number), process.http(number + 1000, number))
    job = collector.api(f"/api/v1/jobs/id-{number}")
    assert (job["job_key"], job["state"], job["last_span"]["name"]) == (job_key(number), "running", "GET")
    send(process.closed(number))
    assert collector.api(f"/api/v1/jobs/{job_key(number)}")["outcome"] == "ok"


def test_a_verdict_comes_without_another_record(collector: Served) -> None:
    """How soon: `make bench ARGS=visible`."""
    process = worker(11)
    assert (
        collector.post(process.body(process.job(11, name="tasks.quick", age=0.5, wait_kind="sleep"))).status_code == 200
    )
    assert collector.api("/api/v1/jobs/id-11")["state"] == "running"
    collector.until(lambda: 'lastspan_job_stuck{basis="rule"' in collector.metrics())
    assert collector.api("/api/v1/jobs/id-11")["state"] == "stuck"


@pytest.mark.parametrize("transport", ["http", "http json", "grpc"])
def test_traces_and_metrics_are_accepted(collector: Served, transport: str) -> None:
    """A finished span closes what is open; metrics are none of our business, and none of the sender's trouble."""
    process = worker(2)
    collector.post(process.body(process.job(2)))
    metrics = ExportMetricsServiceRequest()
    metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="x")
    if transport == "grpc":
        collector.call(finished(2), service="trace.v1.TraceService")
        collector.call(metrics.SerializeToString(), service="metrics.v1.MetricsService")
    elif transport == "http":
        assert collector.post(finished(2), path="/v1/traces").status_code == 200
        assert collector.post(metrics.SerializeToString(), path="/v1/metrics").status_code == 200
    else:
        trace, span = job_key(2).split("-")
        tree = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": trace, "spanId": span, "odd": [1]}]}]}]}
        assert collector.post(json.dumps(tree).encode(), path="/v1/traces", content_type=JSON).status_code == 200
        assert collector.post(b'{"resourceMetrics": []}', path="/v1/metrics", content_type=JSON).status_code == 200
    job = collector.api(f"/api/v1/jobs/{job_key(2)}")
    assert (job["state"], job["outcome"]) == ("ended", "ok")


def test_partial_success_names_what_was_refused(collector: Served) -> None:
    process = worker(3)
    bad = process.job(31)
    bad.span_id = b"short"
    body = process.body(process.job(3), bad)
    for answer in (collector.post(body).content, collector.call(body)):
        partial = ExportLogsServiceResponse.FromString(answer).partial_success
        assert (partial.rejected_log_records, "16 and 8 are needed" in partial.error_message) == (1, True)
    told = collector.post(logs_json(process.request(bad)), content_type=JSON).json()
    assert told["partialSuccess"]["rejectedLogRecords"] == "1"
    assert collector.api("/api/v1/jobs/id-3")["state"] == "running"


DEEP = b'{"resourceLogs":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
RANDOM = random.Random(7).randbytes(5000)


def bomb() -> bytes:
    """300 MB of zeros in 300 kB; made when it is sent: it takes longer than collecting all other tests of this file."""
    return gzip.compress(bytes(300_000_000))


@pytest.mark.parametrize(
    ("body", "kwargs", "status", "reason"),
    [
        # Not OTLP: never to be sent again.
        (b"\xff\xff\xff", {}, 400, "undecodable"),
        (RANDOM, {}, 400, "undecodable"),
        (Process().body(Process().job(1))[:-7], {}, 400, "undecodable"),
        (b"{", {"content_type": JSON}, 400, "undecodable"),
        (b'{"resourceLogs": 7}', {"content_type": JSON}, 400, "undecodable"),
        (b"[]", {"content_type": JSON}, 400, "undecodable"),
        (b'"\\ud800"', {"content_type": JSON}, 400, "undecodable"),
        (
            b'{"resourceLogs": [{"resource": {"attributes": [{"key": "\\ud800"}]}}]}',
            {"content_type": JSON},
            400,
            "undecodable",
        ),
        (b"\xff\xfe", {"content_type": JSON}, 400, "undecodable"),
        (DEEP, {"content_type": JSON}, 400, "undecodable"),
        # Not gzip, or cut off.
        (b"plain", {"Content_Encoding": "gzip"}, 400, "undecodable"),
        (gzip.compress(b"x" * 5000, mtime=0)[:-20], {"Content_Encoding": "gzip"}, 400, "undecodable"),
        # What we do not speak.
        (b"", {"content_type": "text/plain"}, 415, "unknown_content_type"),
        (b"", {"content_type": ""}, 415, "unknown_content_type"),
        (b"", {"Content_Encoding": "zstd"}, 415, "unknown_content_encoding"),
        (zlib.compress(b""), {"Content_Encoding": "deflate"}, 415, "unknown_content_encoding"),
        (b"", {"path": "/v1/profiles"}, 404, "unknown_path"),
        (b"", {"path": "/"}, 404, "unknown_path"),
        # Too big, as it is or when it is inflated.
        (bytes(LIMIT + 1), {}, 413, "too_big"),
        (bomb, {"Content_Encoding": "gzip"}, 413, "too_big"),
    ],
)
def test_bad_requests_over_http(
    collector: Served, body: bytes | Callable[[], bytes], kwargs: dict[str, str], status: int, reason: str
) -> None:
    """Each gets the status that OTLP has for it, none that makes a client try again, and is counted by reason."""
    before = _dropped(collector, "http", reason)
    answer = collector.post(body() if callable(body) else body, **kwargs)
    assert answer.status_code == status
    told = answer.json()["message"] if kwargs.get("content_type") == JSON else Status.FromString(answer.content).message
    assert told
    assert _dropped(collector, "http", reason) == before + 1


def test_a_body_without_length_is_bounded_too(collector: Served) -> None:
    """A client that sends chunk after chunk is cut off at the limit."""
    answer = collector.http.post(
        collector.otlp + "/v1/logs",
        data=(bytes(100_000) for _ in range(100)),
        headers={"Content-Type": "application/x-protobuf"},
        timeout=20,
    )
    assert answer.status_code == 413


def test_a_wrong_method(collector: Served) -> None:
    assert collector.http.get(collector.otlp + "/v1/logs", timeout=20).status_code == 405


def test_a_client_that_hangs_up_leaves_nothing(collector: Served) -> None:
    url = urlsplit(collector.otlp)
    with socket.create_connection((url.hostname, url.port)) as connection:
        connection.sendall(b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n")
        connection.sendall(b"Content-Length: 1000\r\n\r\n" + bytes(500))
    collector.until(lambda: _dropped(collector, "http", "disconnected"))


def test_too_much_at_once_is_told_to_come_back(collector: Served) -> None:
    """Over the budget of bytes in flight: 429 with Retry-After, RESOURCE_EXHAUSTED with RetryInfo; room again later."""
    slow = _half_sent(collector)
    other = bytes(600_000)
    answers: list[requests.Response] = []
    refusals: list[grpc.RpcError] = []

    def half_sent() -> None:
        """See that a request is under way; the one that is may itself have met the other and been told to come back."""
        nonlocal slow
        if select.select([slow.sock], [], [], 0)[0]:
            slow.close()
            slow = _half_sent(collector)

    def is_busy() -> bool:  # the slow one arrives piece by piece
        half_sent()
        answers.append(collector.post(other))
        return answers[-1].status_code == 429

    def is_busy_over_grpc() -> bool:
        half_sent()
        with pytest.raises(grpc.RpcError) as refused:
            collector.call(other)
        refusals.append(refused.value)
        return refusals[-1].code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    try:
        collector.until(is_busy)
        assert answers[-1].headers["Retry-After"] == "1"
        collector.until(is_busy_over_grpc)
        assert any(b"RetryInfo" in value for _, value in refusals[-1].trailing_metadata() if isinstance(value, bytes))
    finally:
        slow.close()
    collector.until(lambda: collector.post(other).status_code == 400)  # zeros are no OTLP


def _half_sent(collector: Served) -> http.client.HTTPConnection:
    """Return a connection whose request lacks its last byte."""
    url = urlsplit(collector.otlp)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=20)
    connection.putrequest("POST", "/v1/logs")
    connection.putheader("Content-Type", "application/x-protobuf")
    connection.putheader("Content-Length", str(LIMIT))
    connection.endheaders()
    connection.send(bytes(LIMIT - 1))
    return connection


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (RANDOM, grpc.StatusCode.INVALID_ARGUMENT),
        (bytes(LIMIT + 1), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_bad_requests_over_grpc(collector: Served, body: bytes, code: grpc.StatusCode, compressed: bool) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        collector.call(body, compressed=compressed)
    assert refused.value.code() is code


def test_a_bomb_over_grpc_is_refused_and_not_allocated(collector: Served) -> None:
    """300 MB of zeros in 300 kB."""
    with pytest.raises(grpc.RpcError) as refused:
        collector.call(bytes(300_000_000), compressed=True)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    peak_kib = next(
        int(line.split()[1])
        for line in Path(f"/proc/{collector.process.pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    assert peak_kib < 250_000


class Hasty(Connection):
    request_s = 0.3


def test_who_does_not_send_a_request_is_let_go() -> None:
    """Nothing, half of the headers, half of a body: else such clients would hold all connections that we may have."""

    async def wait() -> list[bytes]:
        async def answer(scope: Any, receive: Any, send: Any) -> None:
            while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                pass

        config = uvicorn.Config(answer, lifespan="off", log_config=None)
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Hasty(config, state, {}), "127.0.0.1", 0)
        found = []
        for sent in (b"", b"GET / HTTP/1.1\r\nx: ", b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n1"):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(sent)
            found.append(await asyncio.wait_for(reader.read(), 20))
            writer.close()
        server.close()
        return found

    assert asyncio.run(wait()) == [b"", b"", b""]


def test_headers_without_end_are_cut_off(collector: Served) -> None:
    host, port = collector.otlp.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as client, contextlib.suppress(OSError):
        client.sendall(b"POST /v1/logs HTTP/1.1\r\nx: ")
        for _ in range(100):
            client.sendall(b"y" * 65_536)
        assert client.recv(1) == b""
    assert collector.post(Process().body(Process().job(1))).status_code == 200


def test_unknown_services_over_grpc(collector: Served) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        collector.call(b"", service="profiles.v1.ProfilesService")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def _dropped(collector: Served, transport: str, reason: str) -> float:
    name = f'lastspan_collector_dropped_total{{reason="{reason}",transport="{transport}"}} '
    return sum(float(line.removeprefix(name)) for line in collector.metrics().splitlines() if line.startswith(name))
