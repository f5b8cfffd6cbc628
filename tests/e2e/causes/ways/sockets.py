"""Peers on sockets of no known protocol, and names that are not resolved."""

from __future__ import annotations

import asyncio
import select
import smtplib
import socket
from pathlib import Path

from tests.e2e.causes.place import here, split
from tests.e2e.causes.way import JOB, own_wait, way


@way("socket_wait", span=own_wait(), peer="silent", in_test=True)
def raw_recv() -> None:
    connection = socket.create_connection(split(here().silent))
    connection.sendall(b"HELLO\n")
    connection.recv(1024)  # <- stops here


@way("socket_wait", span=own_wait(), peer="silent")
def recv_with_long_timeout() -> None:
    connection = socket.create_connection(split(here().silent), timeout=900)
    _read_exactly(connection, 4)


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data))  # <- recv_with_long_timeout stops here
    return data


@way("socket_wait", span=own_wait(), peer="silent")
def select_on_a_socket() -> None:
    connection = socket.create_connection(split(here().silent))
    select.select([connection], [], [])  # <- stops here


@way("socket_wait", span=own_wait(), peer="full")
def raw_connect() -> None:
    socket.create_connection(split(here().full))  # <- stops here


@way("socket_wait", span=own_wait(), peer="silent")
def send_to_a_peer_that_stopped_reading() -> None:
    ours, _theirs = socket.socketpair()
    ours.sendall(bytes(50_000_000))  # <- stops here


@way(
    "socket_wait",
    "waiting",
    because="nobody connects: a socket's wait, and an event that does not come",
    span=own_wait(),
)
def accept_nobody() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.accept()  # <- stops here


@way("socket_wait", span=own_wait(), peer="udp")
def datagram_without_answer() -> None:
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.connect(split(here().udp))
    asking.send(b"status?")
    asking.recv(512)  # <- stops here


@way("socket_wait", span=own_wait())
def unix_socket() -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(here().path("agent.sock"))
    listener.listen()
    asking = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    asking.connect(here().path("agent.sock"))
    asking.sendall(b"sign\n")
    asking.recv(512)  # <- stops here


@way("socket_wait", span=own_wait(), peer="silent")
async def asyncio_stream() -> None:
    reader, writer = await asyncio.open_connection(*split(here().silent))
    writer.write(b"HELLO\n")
    await reader.readline()  # <- stops here


@way("socket_wait", span=JOB, peer="silent")
def mail_server_without_a_greeting() -> None:
    smtplib.SMTP(*split(here().silent))  # <- stops here


@way("socket_wait", span=own_wait(), peer="websocket")
async def websocket_that_says_nothing() -> None:
    import aiohttp

    async with aiohttp.ClientSession() as session, session.ws_connect(f"http://{here().websocket}/feed") as feed:
        async for message in feed:  # <- stops here
            print(message)


@way("socket_wait", span=own_wait())
def file_that_nobody_takes() -> None:
    """The kernel copies it into the socket by itself."""
    ours, _theirs = socket.socketpair()
    dump = Path(here().path("dump"))
    dump.write_bytes(bytes(50_000_000))
    with dump.open("rb") as file:
        ours.sendfile(file)  # <- stops here
