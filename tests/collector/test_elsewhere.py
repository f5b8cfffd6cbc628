"""The command asks a server that is no collector: one clear line and status 2, whatever it answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from lastspan.collector.cli.main import cli

COMMANDS = [["jobs"], ["jobs", "--json"], ["explain", "x"], ["check"], ["check", "--live"], ["learn", "show"]]
COMMANDS += [["learn", "export", "--rules"], ["learn", "reset", "--all"]]
OTHER = "is not a lastspan collector's web port"


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that answers each connection with the same bytes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _http(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 " + status.encode() + b"\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no collector answers at"),
        (b"", "no collector answers at"),
        (_http("200 OK", b"<html>hello</html>"), OTHER),
        (_http("200 OK", b"[]"), OTHER),
        (_http("200 OK", b"[" * 100_000), OTHER),
        (_http("200 OK", b'{"status": "success", "data": {}}'), OTHER),  # Prometheus
        (_http("200 OK", b"\xff\xfe"), "no collector answers at"),
        (_http("500 Internal Server Error", b"<html>"), "answers with HTTP status 500"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{", "no collector answers at"),  # cut off
    ],
)
def test_another_server(answer: bytes, words: str) -> None:
    with answering(answer) as url:
        for command in COMMANDS:
            result = CliRunner().invoke(cli, [*command, "--url", url])
            assert isinstance(result.exception, SystemExit), (command, result.exception)
            assert result.exit_code == 2, (command, result.output)
            (line,) = result.stderr.splitlines()
            assert line.startswith("lastspan: ")
            assert words in line, command
