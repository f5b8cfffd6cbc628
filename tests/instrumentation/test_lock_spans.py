"""A wait for a lock that lasts is an open span of the job, made by the watcher; it ends with the wait."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.instrumentation.worker import Worker, names, of, span_id, worker

from lastspan.instrumentation.evidence.stack.tasks import awaited
from lastspan.instrumentation.send.records import Record
from lastspan.semconv import attributes as a
from lastspan.semconv import events

OPEN, CLOSED, STATE = events.SPAN_OPEN, events.SPAN_CLOSED, events.PROCESS_STATE


class Ledger:
    """Application code with a lock, an event and a queue of its own."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.locks = {("of", "acme"): self.lock}
        self.event = threading.Event()
        self.orders: queue.Queue[str] = queue.Queue()

    def keep(self) -> None:
        with self.lock:
            self.event.wait()

    def book_for(self, customer: str) -> None:
        with self.locks["of", customer]:
            pass

    def book(self) -> None:
        with self.lock:
            pass

    def wait(self) -> None:
        self.event.wait()

    def take(self) -> None:
        self.orders.get()

    def consume(self) -> None:
        while self.orders.get() != "last":
            pass

    def serve(self, order: str) -> None:
        """Put an order in, and see that it is taken."""
        self.orders.put(order)
        while self.orders.qsize():
            time.sleep(0.001)
        time.sleep(0.05)  # it waits again


@contextmanager
def waiting(made: Worker, wait: Callable[[], object], release: Callable[[], object]) -> Iterator[Any]:
    """Run a job whose thread waits; let it go in the end."""
    job = made.job(id="sync-42")
    with made.stopped_in(wait, release):
        yield job


def lock_spans(records: list[Record]) -> list[Record]:
    return [record for record in of(records, OPEN) if a.SPAN_START_ESTIMATED in record.attributes]


def test_a_wait_that_lasts_is_a_span() -> None:
    """After ANNOUNCE_AFTER: below the job's span, named as the code names the lock, with the thread that holds it."""
    ledger = Ledger()
    with worker() as made:
        holder = threading.Thread(target=ledger.keep, name="holder")
        holder.start()
        with waiting(made, ledger.book, ledger.event.set) as job:
            assert lock_spans(made.watch(4)) == []
            [record] = lock_spans(made.watch(4))
            assert record.attributes[a.SPAN_NAME].startswith("self.lock in ")
            assert record.attributes[a.SPAN_PARENT_ID] == f"{span_id(job):016x}"
            assert record.attributes[a.JOB_SPAN_ID] == f"{span_id(job):016x}"
            assert record.attributes[a.WAIT_KIND] == "lock"
            assert record.attributes[a.LOCK_HOLDER_THREAD] == "holder"
            assert record.attributes[a.LOCK_HOLDER_CERTAINTY] == "certain"
            assert record.attributes[a.CODE_FUNCTION].endswith("book")
            assert 5 <= record.attributes[a.SPAN_AGE] <= 8
            assert record.attributes[a.LOCK_HOLDER_FUNCTION].endswith("keep")
            assert record.attributes[a.LOCK_HOLDER_FILE] == __file__
            assert record.attributes[a.LOCK_HOLDER_LINE] > Ledger.keep.__code__.co_firstlineno
            assert record.attributes[a.LOCK_NAME] == "self.lock"
            assert (record.attributes[a.LOCK_FILE], record.attributes[a.LOCK_LINE]) == (
                __file__,
                record.attributes[a.CODE_LINE],
            )
            assert record.trace_id == job.context.trace_id
        holder.join()


def test_a_name_with_a_key_in_it_keeps_its_place() -> None:
    """Quotes would make it look like a query, of whose text little is shown."""
    ledger = Ledger()
    with worker() as made:
        holder = threading.Thread(target=ledger.keep, name="holder")
        holder.start()
        with waiting(made, lambda: ledger.book_for("acme"), ledger.event.set):
            [record] = lock_spans(made.watch(8))
            line = Ledger.book_for.__code__.co_firstlineno + 1
            assert (
                record.attributes[a.SPAN_NAME]
                == f"self.locks[…, customer] in instrumentation/test_lock_spans.py:{line}"
            )
            assert record.attributes[a.LOCK_HOLDER_THREAD] == "holder"
        holder.join()


def test_the_state_record_lists_it() -> None:
    """It is open like any other: its absence would close it."""
    ledger = Ledger()
    with worker() as made, waiting(made, ledger.wait, ledger.event.set):
        made.watch(20)
        [record] = lock_spans(made.said)
        body = of(made.watch(20), STATE)[-1].body
        assert body is not None
        assert record.span_id.to_bytes(8, "big") in [body[at : at + 8] for at in range(0, len(body), 8)]


def test_it_ends_with_the_wait() -> None:
    """The thread goes on: the span is closed, and a finished span of the trace."""
    ledger = Ledger()
    with worker() as made:
        with waiting(made, ledger.wait, ledger.event.set):
            made.watch(10)
        [opened] = lock_spans(made.said)
        closed = of(made.watch(10), CLOSED)
        assert [record.span_id for record in closed] == [opened.span_id]
        assert closed[0].trace_id == opened.trace_id


def test_it_ends_with_its_job() -> None:
    """A job that ends while we believe it waits takes the wait with it."""
    ledger = Ledger()
    with worker() as made:
        with waiting(made, ledger.wait, ledger.event.set) as job:
            made.watch(10)
        made.end(job)
        closed = {record.span_id for record in of(made.look(after=0.5) + made.look(after=0.5), CLOSED)}
        assert closed == {span_id(job), lock_spans(made.said)[0].span_id}


@pytest.mark.parametrize(
    ("wait", "release", "kind", "name"),
    [
        ("take", lambda ledger: ledger.orders.put(""), "queue", "self.orders"),
        ("wait", lambda ledger: ledger.event.set(), "event", "self.event"),
    ],
)
def test_what_it_waits_for(wait: str, release: Callable[[Ledger], None], kind: str, name: str) -> None:
    """The call that the application made, not the lock inside of it."""
    ledger = Ledger()
    with worker() as made, waiting(made, getattr(ledger, wait), lambda: release(ledger)):
        [record, *_] = lock_spans(made.watch(20))
        assert record.attributes[a.WAIT_KIND] == kind
        assert record.attributes[a.SPAN_NAME].startswith(f"{name} in ")


def test_a_short_wait_is_none() -> None:
    """Shorter than ANNOUNCE_AFTER: not told of, and no span of the trace."""
    ledger = Ledger()
    with worker() as made:
        with waiting(made, ledger.wait, ledger.event.set):
            made.watch(4)
        made.watch(20)
        assert lock_spans(made.said) == []


def test_waits_one_after_the_other_are_not_one_that_lasts() -> None:
    """A consumer that gets an order now and then stands at the same line whenever somebody looks."""
    ledger = Ledger()
    with worker() as made, waiting(made, ledger.consume, lambda: ledger.orders.put("last")):
        for _ in range(8):
            made.watch(4)
            ledger.serve("an order")
        assert lock_spans(made.said) == []
        [opened] = lock_spans(made.watch(20))
        assert opened.attributes[a.SPAN_AGE] < 20
        ledger.serve("an order")
        closed = of(made.watch(10), CLOSED)
        assert [record.span_id for record in closed] == [opened.span_id]


def test_tasks_that_wait_again_and_again_too() -> None:
    """What tells one wait from the next is the future that the task awaits."""

    async def body() -> None:
        orders: asyncio.Queue[str] = asyncio.Queue()
        consumer = asyncio.ensure_future(_consume(orders))
        await asyncio.sleep(0)
        first, again = awaited(consumer), awaited(consumer)
        assert first is again is not None
        await orders.put("an order")
        for _ in range(3):
            await asyncio.sleep(0)
        assert awaited(consumer) not in (first, None)
        await orders.put("last")
        await consumer
        assert awaited(consumer) is None

    asyncio.run(body())


async def _consume(orders: asyncio.Queue[str]) -> None:
    while await orders.get() != "last":
        pass


def test_it_is_not_counted_among_the_durations() -> None:
    """Only waits that last are spans: their durations would say that all waits are long."""
    ledger = Ledger()
    with worker() as made:
        with waiting(made, ledger.wait, ledger.event.set):
            made.watch(10)
        made.watch(40)
        rows = of(made.said, events.PROCESS_DURATIONS)
        assert {row.attributes[a.SPAN_NAME] for row in rows} == {None}


def test_a_thread_that_idles_waits_for_nothing() -> None:
    """No line of the application on its stack: the job's span alone."""
    with worker() as made:
        made.job()
        made.watch(40)
        assert set(names(made.said)) == {"nightly"}


def test_a_lock_that_was_never_released_is_nobodys() -> None:
    """Its holder has ended: no job is said to hold it, the one that waits least of all."""
    ledger = Ledger()
    with worker() as made:
        leak = threading.Thread(target=ledger.lock.acquire)
        leak.start()
        leak.join()
        with waiting(made, ledger.book, ledger.lock.release):
            [record, *_] = lock_spans(made.watch(20))
            # Threads that other tests have left behind might hold it, for all that can be seen.
            assert record.attributes[a.LOCK_HOLDER_CERTAINTY] in {"nobody", "unknown"}
            assert a.LOCK_HOLDER_JOB_ID not in record.attributes
