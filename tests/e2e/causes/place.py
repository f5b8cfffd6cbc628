"""What a way's program is told of its surroundings: addresses of servers, a folder, how to say that it is ready."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Final

_VARIABLE: Final = "CAUSES_PLACE"
_ROLE: Final = "CAUSES_READY_FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Addresses are host:port; the databases' are URLs."""

    folder: str = ""
    """Of this program and of those beside it."""
    silent: str = ""
    """Accepts, reads, never answers."""
    tls: str = ""
    """Does the TLS handshake, then reads and never answers."""
    trickle: str = ""
    """Answers HTTP, with a body that comes a byte every quarter of a second."""
    headers: str = ""
    """Answers HTTP with headers and the first line of a body, and says nothing more."""
    websocket: str = ""
    """Agrees to speak WebSocket, and says nothing more."""
    pages: str = ""
    """Answers HTTP soon: there is always a next page, nothing is ever done; 503 below `/broken`."""
    full: str = ""
    """Its backlog is full: connecting to it never ends."""
    grpc: str = ""
    """Its methods never return."""
    udp: str = ""
    """Reads datagrams and never answers."""
    postgres: str = ""
    pgbouncer: str = ""
    mariadb: str = ""
    redis: str = ""
    stopped_redis: str = ""
    """A Redis of its own, which is stopped (SIGSTOP) while it is asked."""

    def environ(self) -> dict[str, str]:
        """Return the environment that tells a program of it."""
        return {_VARIABLE: json.dumps(asdict(self))}

    def path(self, name: str) -> str:
        """Return the path of a file in the folder."""
        return str(Path(self.folder, name))


@cache
def here() -> Place:
    """Return what this program was told."""
    return Place(**json.loads(os.environ[_VARIABLE]))


def split(address: str) -> tuple[str, int]:
    """Return host and port."""
    host, _, port = address.rpartition(":")
    return host, int(port)


_is_ready = threading.Event()


def ready() -> None:
    """Say that the party beside the job has what the job will wait for."""
    _is_ready.set()
    if path := os.environ.get(_ROLE):
        Path(path).touch()


def is_ready() -> bool:
    """Whether the party last started in this program is ready."""
    return _is_ready.is_set()


def expect_ready() -> None:
    """Forget the parties that were ready before."""
    _is_ready.clear()


def ready_file(path: Path) -> dict[str, str]:
    """Return the environment in which a program says that it is ready by making a file."""
    return {_ROLE: str(path)}
