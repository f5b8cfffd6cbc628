"""Calls are looked at before one hangs: which have a timeout, by code line and peer; a few looks at each kind."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.instrumentation.worker import Worker, of, worker

from lastspan.semconv import attributes as a
from lastspan.semconv import events


@contextmanager
def calling(made: Worker, timeout: float | None, name: str = "GET", **job: Any) -> Iterator[str]:
    """A job that reads from a peer which says nothing; yields the peer's address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = server.getsockname()
        connection = socket.create_connection(peer)
        connection.settimeout(timeout)

        def receive() -> None:
            connection.recv(1)

        call = made.span(name, inside=made.job(**job))
        with made.stopped_in(receive, lambda: connection.shutdown(socket.SHUT_RDWR)):
            yield f"127.0.0.1:{peer[1]}"
        connection.close()
        made.end(call)


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (None, {a.CALL_UNBOUNDED: True, a.CALL_TIMEOUT: None}),
        (900.0, {a.CALL_UNBOUNDED: None, a.CALL_TIMEOUT: pytest.approx(900, abs=1)}),
    ],
)
def test_a_call_that_is_not_late(timeout: float | None, expected: dict[str, Any]) -> None:
    """Its timeout, peer and code line, told at the next look, long before it is announced."""
    with worker() as made, calling(made, timeout) as peer:
        [seen] = of(made.look(after=0.1), events.CALL_SEEN)
        assert seen.attributes.items() >= expected.items()
        assert seen.attributes[a.SPAN_NAME] == "GET"
        assert seen.attributes[a.JOB_NAME] == "nightly"
        assert seen.attributes[a.WAIT_PEER] == peer
        assert seen.attributes[a.CODE_FUNCTION].endswith("receive")
        assert of(made.said, events.SPAN_OPEN) == []


def test_a_kind_is_told_once_a_refresh() -> None:
    """However long it is seen: a collector that forgot learns of it within a minute."""
    with worker() as made, calling(made, None):
        assert len(of(made.watch(59), events.CALL_SEEN)) == 1
        assert len(of(made.watch(59), events.CALL_SEEN)) == 1


def test_only_calls_of_jobs() -> None:
    """A span that is no client's, or in no job, is not looked at."""
    with worker(announce_all=True) as made:
        made.span("server request")
        made.watch(3)
        assert of(made.said, events.CALL_SEEN) == []


def test_kinds_are_bounded() -> None:
    """Spans that are named after what they fetch do not fill the memory."""
    with worker() as made:
        job = made.job()
        for number in range(500):
            made.span(f"GET /orders/{number}", inside=job)
        made.watch(4)
        assert len(made.announcer._call_kinds._kinds) <= 200


def test_what_cannot_be_told_is_looked_at_a_few_times() -> None:
    """The thread is not in the call: five looks, then never again."""
    with worker() as made:
        made.span("GET", inside=made.job())
        made.watch(30)
        [kind] = made.announcer._call_kinds._kinds.values()
        assert kind.samples == 5
        assert of(made.said, events.CALL_SEEN) == []
