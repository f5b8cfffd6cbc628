"""Servers that let their callers wait: each accepts, and none answers as it should; one gives the same for ever."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import trustme


class Listener:
    """Accepts connections, and lets each be served by a thread of its own until it is closed."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._taken: set[socket.socket] = set()
        self.address = _address(self._socket)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Hang up."""
        for connection in (self._socket, *list(self._taken)):
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._socket.accept()[0]
            except OSError:  # closed
                return
            self._taken.add(connection)
            threading.Thread(target=self._safely, args=(connection,), daemon=True).start()

    def _safely(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # its caller is gone, or we are
            self._serve(connection)
        self._taken.discard(connection)


def silent() -> Listener:
    """Reads, and says nothing."""
    return Listener(_read_for_ever)


def tls() -> Listener:
    """Does the handshake, with a certificate of its own making; then reads, and says nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    def serve(connection: socket.socket) -> None:
        _read_for_ever(context.wrap_socket(connection, server_side=True))

    return Listener(serve)


def trickle() -> Listener:
    """Answers HTTP with a large body, a byte every quarter of a second."""

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            time.sleep(0.25)
            connection.sendall(b"x")

    return Listener(serve)


def headers() -> Listener:
    """Answers HTTP with the headers of an endless stream and one line of it; then says nothing."""

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n")
        _read_for_ever(connection)

    return Listener(serve)


def websocket() -> Listener:
    """Agrees to speak WebSocket; then says nothing."""

    def serve(connection: socket.socket) -> None:
        asked = connection.recv(65536).decode("ascii")
        lines = (line.partition(": ") for line in asked.splitlines())
        key = next(value for name, _, value in lines if name.lower() == "sec-websocket-key")
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        connection.sendall(b"Sec-WebSocket-Accept: " + _accepted(key) + b"\r\n\r\n")
        _read_for_ever(connection)

    return Listener(serve)


def pages() -> Listener:
    """Answers HTTP soon, and always the same: there is a next page, the export is not done, `/broken` is."""

    def serve(connection: socket.socket) -> None:
        while asked := connection.recv(65536):
            time.sleep(0.02)
            status = b"503 Service Unavailable" if asked.startswith(b"GET /broken") else b"200 OK"
            body = b'{"next": "2", "state": "pending"}'
            head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            connection.sendall(head % (status, len(body)) + body)

    return Listener(serve)


class FullBacklog:
    """Listens and never accepts; its queue is full, so that further connections are never made."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.address = _address(self._socket)
        self._waiting = [self._knock() for _ in range(4)]

    def close(self) -> None:
        """Hang up."""
        for connection in (self._socket, *self._waiting):
            connection.close()

    def _knock(self) -> socket.socket:
        knocking = socket.socket()
        knocking.setblocking(False)
        knocking.connect_ex(self._socket.getsockname())
        return knocking


class DeafUdp:
    """Takes datagrams, and says nothing."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = _address(self._socket)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class SlowRpc(grpc.GenericRpcHandler):
    """A gRPC server whose methods never return."""

    def __init__(self) -> None:
        self._closing = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(16), handlers=[self])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Every method is the one that waits."""
        return grpc.unary_unary_rpc_method_handler(self._wait)

    def close(self) -> None:
        """Let go of all callers."""
        self._closing.set()
        self._server.stop(0)

    def _wait(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self._closing.wait()
        return b""


def _accepted(key: str) -> bytes:
    """Return what a server makes of a client's key (RFC 6455, 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def _read_for_ever(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()
    return f"{host}:{port}"
