"""The way of the records: one attempt, a pause that grows, nothing kept without bound."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from tests.sink import Sink

from lastspan.instrumentation.send.endpoint import Destination
from lastspan.instrumentation.send.export import Exporter
from lastspan.instrumentation.send.records import Record


def exporter(sink: Sink | str, *, pause_max: float = 15.0, **how: object) -> Exporter:
    url = sink if isinstance(sink, str) else f"{sink.url}/v1/logs"
    return Exporter(Destination(url, "a test", **how), lambda: {"service.name": "shop"}, pause_max=pause_max)  # type: ignore[arg-type]


def record(number: int, *, is_kept: bool = False) -> Record:
    return Record("lastspan.span.closed" if is_kept else "lastspan.span.open", {"n": number}, 1, is_kept=is_kept)


def numbers(sink: Sink) -> list[int]:
    return [received["n"] for received in sink.records]


def test_what_is_accepted(sink: Sink) -> None:
    """In order, in requests of at most 512 records, with the resource on each."""
    assert exporter(sink).send([record(number) for number in range(1100)], now=0)
    assert numbers(sink) == [*range(1100)]
    assert len(sink.requests) == 3
    assert {received.resource["service.name"] for received in sink.records} == {"shop"}


def test_nothing_to_send_is_not_sent(sink: Sink) -> None:
    """No empty request."""
    assert exporter(sink).send([], now=0)
    assert sink.requests == []


@pytest.mark.parametrize("gzip", [False, True])
def test_in_a_hurry_it_is_written_and_not_confirmed(sink: Sink, gzip: bool) -> None:
    """On the connection that is open already, request after request; then as always."""
    sent = exporter(sink, gzip=gzip)
    assert sent.send([record(1)], now=0)
    for number in (2, 3):
        assert not sent.send([record(number)], now=1, gil_contended=True)
    soon(lambda: numbers(sink), [1, 2, 3])
    assert sent.is_open(1.0)
    assert sent.send([record(4)], now=2)
    assert numbers(sink) == [1, 2, 3, 4]
    assert {received.resource["service.name"] for received in sink.records} == {"shop"}


def test_in_a_hurry_what_is_said_once_is_confirmed(sink: Sink) -> None:
    """The end of a span is not trusted to a connection that may be gone; nor is anything where none is open."""
    sent = exporter(sink)
    assert sent.send([record(1)], now=0, gil_contended=True)
    assert sent.send([record(2, is_kept=True)], now=1, gil_contended=True)
    assert numbers(sink) == [1, 2]


def soon(read: Callable[[], object], expected: object) -> None:
    deadline = time.monotonic() + 20
    while read() != expected and time.monotonic() < deadline:
        time.sleep(0.005)
    assert read() == expected


def test_compressed_if_so_set(sink: Sink) -> None:
    """gzip, as the OTLP settings may ask."""
    assert exporter(sink, gzip=True).send([record(1)], now=0)
    assert numbers(sink) == [1]


@pytest.mark.parametrize("mode", ["503", "429", "500", "404", "401", "302", "301"])
def test_a_refusal_is_a_failure(sink: Sink, mode: str) -> None:
    """Whatever is no success: a redirect too, which a login page or a proxy may answer."""
    sink.mode = mode
    sent = exporter(sink)
    assert not sent.send([record(1)], now=0)
    assert not sent.is_open(0.5)


def test_bad_data_is_dropped_and_counted(sink: Sink) -> None:
    """400: never to be tried again (OTLP/HTTP specification); no pause for those that follow."""
    sink.mode = "400"
    sent = exporter(sink)
    assert sent.send([record(1, is_kept=True)], now=0)
    assert sent.dropped == 1
    assert sent.is_open(0)
    sink.mode = "ok"
    assert sent.send([record(2)], now=0)
    assert numbers(sink) == [2]


def test_what_is_said_once_is_kept(sink: Sink) -> None:
    """The rest is made anew from the state; kept ones come first, in their order, once."""
    sink.mode = "503"
    sent = exporter(sink)
    assert not sent.send([record(1), record(2, is_kept=True)], now=0)
    sink.mode = "ok"
    assert not sent.send([record(3, is_kept=True), record(4)], now=0.1)  # paused: not even tried
    assert numbers(sink) == []
    assert sent.send([record(5)], now=10)
    assert sent.send([], now=11)
    assert numbers(sink) == [2, 3, 5]


def test_while_it_pauses_nothing_is_tried(sink: Sink) -> None:
    """A pause begins at 1 s, doubles up to the interval, and is spread so that a fleet does not retry as one."""
    sink.mode = "503"
    sent = exporter(sink, pause_max=4)
    now, pauses = 0.0, []
    for _ in range(6):
        assert sent.is_open(now)
        assert not sent.send([record(1)], now)
        began = now
        while not sent.is_open(now):
            now += 0.01
        pauses.append(now - began)
    for pause, expected in zip(pauses, [1, 2, 4, 4, 4, 4], strict=True):
        assert 0.8 * expected <= pause <= 1.2 * expected + 0.02


def test_success_ends_the_pauses(sink: Sink) -> None:
    """The next failure begins at 1 s again."""
    sent = exporter(sink)
    for now in (0.0, 10.0):
        sink.mode = "503"
        assert not sent.send([record(1)], now)
        assert sent.is_open(now + 1.2)
        sink.mode = "ok"
        assert sent.send([record(2)], now + 5)


def test_memory_is_bounded(sink: Sink) -> None:
    """The newest 1000 of those that are said once; older ones are dropped and counted."""
    sink.mode = "503"
    sent = exporter(sink)
    for number in range(2500):
        sent.send([record(number, is_kept=True)], now=0)
    assert sent.dropped == 1500
    sink.mode = "ok"
    sent.send([], now=10)
    assert numbers(sink) == [*range(1500, 2500)]


def test_said_once_in_the_log(sink: Sink, said: Callable[[], list[logging.LogRecord]]) -> None:
    """One line when it fails, naming the address and the setting, one when it works again; none in between."""
    sink.mode = "503"
    sent = exporter(sink)
    for now in range(0, 100, 10):
        sent.send([record(1)], now=now)
    [warning] = said()
    assert "HTTP 503; address from a test" in warning.getMessage()
    sink.mode = "ok"
    sent.send([record(1)], now=1000)
    assert [one.levelname for one in said()] == ["WARNING", "INFO"]


def test_a_password_in_the_address_is_not_logged(said: Callable[[], list[logging.LogRecord]]) -> None:
    """Nor a token in its query."""
    sent = exporter("http://user:hunter2@127.0.0.1:9/v1/logs?hunter2")
    assert not sent.send([record(1)], now=0)
    [warning] = said()
    assert "127.0.0.1:9" in warning.getMessage()
    assert "hunter2" not in warning.getMessage()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/v1/logs",  # nobody listens
        "http://127.0.0.1:1/v1/logs",
        "http://nowhere.invalid/v1/logs",  # no such host
        "https://127.0.0.1:9/v1/logs",
    ],
)
def test_unreachable(url: str) -> None:
    """False, never an error."""
    assert not exporter(url).send([record(1)], now=0)


def test_a_certificate_that_does_not_exist(sink: Sink) -> None:
    """A wrong path in the settings is a failed attempt, no error in the worker."""
    url = sink.url.replace("http:", "https:")
    assert not exporter(url, certificate="/nowhere/ca.pem").send([record(1)], now=0)


def test_resource_that_fails(sink: Sink) -> None:
    """A provider of the host's whose resource raises: a failed attempt."""

    def broken() -> dict[str, object]:
        raise RuntimeError

    sent = Exporter(Destination(sink.url, "a test"), broken, pause_max=1)
    assert not sent.send([record(1)], now=0)


def test_headers_are_sent() -> None:
    """Those of the destination, and the type of the body."""
    got: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(dict(self.headers))
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        once = threading.Thread(target=server.handle_request)
        once.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/v1/logs"
        assert exporter(url, headers={"x-tenant": "7"}).send([record(1)], now=0)
        once.join(20)
    assert got[0]["x-tenant"] == "7"
    assert got[0]["Content-Type"] == "application/x-protobuf"
