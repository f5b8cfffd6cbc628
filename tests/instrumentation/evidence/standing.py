"""Code that stands somewhere, in a thread of its own, for tests that look at it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from lastspan.instrumentation.registry.spans import ExecutionContext

T = TypeVar("T")


@contextmanager
def standing(function: Callable[[], object], leave: Callable[[], object]) -> Iterator[ExecutionContext]:
    """Run *function* in a thread; yield its place; then *leave* lets it go. How it ends is its own business."""

    def run() -> None:
        try:
            function()
        except Exception:  # a connection that is cut, a result that never came
            pass

    runner = threading.Thread(target=run, name="runner", daemon=True)
    runner.start()
    assert runner.ident is not None
    try:
        yield ExecutionContext(runner.ident, None, None)
    finally:
        leave()
        runner.join(20)
        assert not runner.is_alive(), "it did not let go"


def soon(read: Callable[[], T], is_there: Callable[[T], bool]) -> T:
    """Read until it is there, or give back what was last read."""
    deadline = time.monotonic() + 20
    while not is_there(value := read()) and time.monotonic() < deadline:
        time.sleep(0.002)
    return value


class Silent:
    """A server that takes connections, says what it was given to say, and nothing more."""

    def __init__(self, greeting: bytes = b"") -> None:
        self._greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._taken: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}/path"

    def close(self) -> None:
        """Let go of the listener and of everybody who waits."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(20)
        for taken in self._taken:
            taken.close()

    def _accept(self) -> None:
        while True:
            try:
                taken, _ = self._listener.accept()
                self._taken.append(taken)
                taken.sendall(self._greeting)
            except OSError:  # closed
                return
