"""filelock's locks, across real processes: the wait is a span, the file is the job's, and nothing else changes."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import pytest
from opentelemetry.trace import StatusCode
from tests.instrumentation.live import Live, instrumented, lock_facts
from tests.instrumentation.live import live as live

from lastspan.instrumentation import job
from lastspan.instrumentation.libraries.file_locks import SPAN_NAME, FileLocksInstrumentor
from lastspan.instrumentation.registry.held_locks import file_key
from lastspan.semconv import attributes as a

KINDS = [
    pytest.param(filelock.FileLock, "flock", id="flock"),
    pytest.param(filelock.SoftFileLock, "lockfile", id="soft"),
]

HOLD = """
import sys, filelock
with getattr(filelock, sys.argv[1])(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def wrapped(live: Live) -> Iterator[Any]:
    yield from instrumented(FileLocksInstrumentor())


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "orders.lock")


@contextmanager
def held_elsewhere(kind: type, path: str) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the lock, until its standard input ends."""
    name = "SoftFileLock" if kind is filelock.SoftFileLock else "FileLock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, name, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            yield process
            process.stdin.close()
        finally:
            process.kill()


@pytest.mark.parametrize(("kind", "named"), KINDS)
def test_a_free_lock_is_held_and_leaves_no_span(live: Live, path: str, kind: Any, named: str) -> None:
    """From the first acquire to the last release of as many."""
    with job("nightly"):
        lock = kind(path)
        with lock:
            held = [file_key(os.stat(path), named)]
            assert live.holds() == held
            with lock.acquire():
                assert live.holds() == held
            assert live.holds() == held
        assert live.holds() == []
        lock.acquire()
        lock.acquire()
        lock.release(force=True)
        assert live.holds() == []
    assert live.ended(SPAN_NAME) == []


@pytest.mark.parametrize(("kind", "named"), KINDS)
def test_a_wait_is_a_span(live: Live, path: str, kind: Any, named: str) -> None:
    """With the file's path and key, and how long it may last; a timeout is an error, and the caller's as ever."""
    with held_elsewhere(kind, path), job("nightly"):
        key = file_key(os.stat(path), named)
        with pytest.raises(filelock.Timeout):
            kind(path).acquire(timeout=0.2)
        with pytest.raises(filelock.Timeout), kind(path, timeout=0.1):
            pass
        assert live.holds() == []
    first, second = live.ended(SPAN_NAME)
    assert lock_facts(first.attributes) == {
        a.LOCK_NAME: path,
        a.LOCK_KIND: named,
        a.LOCK_KEY: key,
        a.CALL_TIMEOUT: 0.2,
    }
    assert lock_facts(second.attributes)[a.CALL_TIMEOUT] == 0.1
    assert (first.status.status_code, first.status.description) == (StatusCode.ERROR, "Timeout")


@pytest.mark.parametrize(("kind", "named"), KINDS)
def test_a_wait_without_limit_is_seen_while_it_lasts(live: Live, path: str, kind: Any, named: str) -> None:
    """In the record of the open span, by the key under which its holder has it; then the lock is the job's."""
    holds: list[list[str]] = []

    def nightly() -> None:
        with job("nightly"), kind(path):
            holds.append([*live.holds(), file_key(os.stat(path), named)])

    with held_elsewhere(kind, path):
        key = file_key(os.stat(path), named)
        waiter = threading.Thread(target=nightly)
        waiter.start()
        said = live.sink.wait_for(lambda record: record.get(a.SPAN_NAME) == SPAN_NAME)
        assert {name: said[name] for name in (a.LOCK_NAME, a.LOCK_KEY, a.CALL_UNBOUNDED)} == {
            a.LOCK_NAME: path,
            a.LOCK_KEY: key,
            a.CALL_UNBOUNDED: True,
        }
    waiter.join(20)
    ((mine, now),) = holds
    assert mine == now
    (span,) = live.ended(SPAN_NAME)
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(("kind", "named"), KINDS)
def test_a_try_that_does_not_wait_is_no_wait(live: Live, path: str, kind: Any, named: str) -> None:
    """Not blocking, or with no time at all."""
    with held_elsewhere(kind, path), job("nightly"):
        with pytest.raises(filelock.Timeout):
            kind(path).acquire(blocking=False)
        with pytest.raises(filelock.Timeout):
            kind(path).acquire(timeout=0)
        assert live.holds() == []
    assert live.ended(SPAN_NAME) == []


def test_outside_of_a_job_nothing_is_noted(live: Live, path: str) -> None:
    """Neither wait nor hold."""
    with held_elsewhere(filelock.FileLock, path), pytest.raises(filelock.Timeout):
        filelock.FileLock(path).acquire(timeout=0.1)
    with filelock.FileLock(path), job("nightly"):
        assert live.holds() == []
    assert live.ended(SPAN_NAME) == []


def test_a_lock_that_is_let_go_of_is_not_held(live: Live, path: str) -> None:
    """filelock gives it back when its last reference is gone."""
    with job("nightly"):
        lock = filelock.FileLock(path)
        lock.acquire()
        assert len(live.holds()) == 1
        del lock
        assert live.holds() == []


def test_a_folder_that_cannot_be_written(live: Live, tmp_path: Path) -> None:
    """Errors are the caller's, as ever; no span is left open."""
    (tmp_path / "file").write_text("")
    with job("nightly"):
        with pytest.raises(OSError):
            filelock.FileLock(str(tmp_path / "file" / "x.lock")).acquire()
        assert set(live.open()) == {"nightly"}


def test_async_locks_are_the_same(live: Live, path: str) -> None:
    """Held, waited for and given back; a cancelled wait is cancelled."""

    async def nightly() -> None:
        with job("nightly"):
            async with filelock.AsyncFileLock(path):
                assert live.holds() == [file_key(os.stat(path))]
            assert live.holds() == []

    async def waiting() -> None:
        with job("waiting"):
            with pytest.raises(filelock.Timeout):
                await filelock.AsyncFileLock(path).acquire(timeout=0.2)
            task = asyncio.create_task(_acquire(path))
            await asyncio.sleep(0.1)
            assert live.open()[SPAN_NAME][a.CALL_UNBOUNDED] is True
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert set(live.open()) == {"waiting"}

    asyncio.run(nightly())
    before = len(live.ended(SPAN_NAME))
    with held_elsewhere(filelock.FileLock, path):
        asyncio.run(waiting())
    timed_out, cancelled = live.ended(SPAN_NAME)[before:]
    assert lock_facts(timed_out.attributes)[a.CALL_TIMEOUT] == 0.2
    assert cancelled.status.description == "CancelledError"


async def _acquire(path: str) -> None:
    await filelock.AsyncFileLock(path).acquire()


def test_loaded_twice_acts_once_and_leaves_nothing() -> None:
    """Afterwards the functions are the library's own again."""
    FileLocksInstrumentor().uninstrument()
    places = [
        (filelock.BaseFileLock, "acquire"),
        (filelock.UnixFileLock, "_acquire"),
        (filelock.SoftFileLock, "_release"),
    ]

    def now() -> dict[Any, Any]:
        return {(one, name): inspect.getattr_static(one, name) for one, name in places}

    own = now()
    FileLocksInstrumentor().instrument()
    once = now()
    assert all(once[place].__wrapped__ is own[place] for place in own)
    FileLocksInstrumentor()._instrument()
    assert now() == once
    FileLocksInstrumentor().uninstrument()
    assert now() == own
    FileLocksInstrumentor().instrument()
