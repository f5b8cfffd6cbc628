"""What the looks at one leaf conclude: that it waits, that it computes, for whom a thread works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.instrumentation.evidence.standing import standing
from tests.instrumentation.worker import of, span_id, worker

from lastspan.instrumentation.announce.sampling import StackSampler
from lastspan.instrumentation.config.settings import WorkerSettings
from lastspan.instrumentation.evidence.python import known
from lastspan.instrumentation.registry.run import Run
from lastspan.instrumentation.registry.spans import OpenSpans
from lastspan.semconv import attributes as a
from lastspan.semconv import events

leave = threading.Event()


def nap() -> None:
    time.sleep(2)


def wait() -> None:
    leave.wait(20)


@pytest.mark.parametrize(
    ("body", "cpu", "queue", "kind"),
    [
        (nap, 0.0, 0.0, "sleep"),
        (nap, 0.1, 0.1, "sleep"),  # it polls, and sleeps for a moment: each look finds it asleep
        (nap, 0.1, 0.6, ""),  # it computes on a busy machine, and was met at its one sleep
        (nap, 0.9, 0.0, ""),
        (wait, 0.1, 0.1, ""),
        (wait, 0.0, 0.1, "event"),
    ],
)
def test_a_thread_that_wants_a_core_now_and_then(body: Callable[[], None], cpu: float, queue: float, kind: str) -> None:
    leave.clear()
    sampling = StackSampler(OpenSpans(), WorkerSettings(), "process")
    with standing(body, leave.set) as where:
        for now in (100.0, 101.0, 110.0):
            sampled = sampling.of(1)
            if now == 110.0:
                assert sampled is not None
                sampled.forget()
                sampled.cpu_ratio, sampled.queue_ratio, sampled._thread_at = cpu, queue, now  # as if just measured
            for _ in sampling.sample(1, where, Run("nightly"), now, is_call=False):
                pass
    assert sampled is not None
    assert sampled.kind == kind


def test_a_pool_thread_works_for_the_job_that_awaits_it() -> None:
    """It has no span of its own; the lock that it holds is held by that job."""
    lock, taken, go = threading.Lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            go.wait(30)

    def want() -> None:
        with lock:
            pass

    with worker() as made, ThreadPoolExecutor(1) as pool, ThreadPoolExecutor(1) as main:
        other = main.submit(made.tracer.start_span, "nothing")
        other.result()
        made._thread, jobs = main, made._thread
        holder = made.job("holder")
        made._thread = jobs
        made.job("waiter")
        awaiting = main.submit(lambda: pool.submit(hold).result())
        assert taken.wait(20)
        with made.stopped_in(want, go.set):
            made.watch(10)
            told = [r.attributes for r in of(made.said, events.SPAN_OPEN) if r.attributes.get(a.LOCK_HOLDER_THREAD)]
        awaiting.result(20)
    assert told[-1][a.LOCK_HOLDER_SPAN_ID] == f"{span_id(holder):016x}"


def test_an_odd_job_takes_no_others_evidence_along() -> None:
    """Who searches for a lock's holder asks all jobs whether they wait for that one; one of them cannot be read."""
    lock, taken, go = threading.Lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            go.wait(30)

    def want() -> None:
        with lock:
            pass

    with worker() as made, ThreadPoolExecutor(1, thread_name_prefix="holder") as pool:
        odd = span_id(made.job("odd"))
        entry = made.spans.open[odd]
        made.spans.open[odd] = (entry[0], [], *entry[2:])  # type: ignore[assignment]
        made.job()
        holding = pool.submit(hold)
        assert taken.wait(20)
        with made.stopped_in(want, go.set):
            made.watch(10)
            told = {r.attributes[a.SPAN_NAME]: r.attributes for r in of(made.said, events.SPAN_OPEN)}
        holding.result(20)
    assert told["nightly"][a.LOCK_HOLDER_THREAD] == "holder_0"
    assert a.CODE_STACKTRACE not in told["odd"]


def test_whom_a_job_waits_for_is_not_the_job() -> None:
    """The thread whose result it awaits works for it; it does not hold the job up as another one would."""
    go = threading.Event()
    with worker() as made, ThreadPoolExecutor(1) as pool:
        made.job()
        awaited = pool.submit(go.wait, 30)
        with made.stopped_in(lambda: awaited.result(), go.set):
            made.watch(10)
            told = [r.attributes for r in of(made.said, events.SPAN_OPEN) if r.attributes.get(a.LOCK_HOLDER_THREAD)]
    assert told
    assert not any(a.LOCK_HOLDER_SPAN_ID in record for record in told)


def test_a_python_that_is_not_known_is_said_in_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: the self-check has found a part that it does not understand."""
    monkeypatch.setattr(known, "_not_understood", (known.WITH,))
    leave.clear()
    with worker() as made:
        made.job()
        with made.stopped_in(wait, leave.set):
            made.watch(10)
            told = [record.attributes for record in of(made.said, events.SPAN_OPEN)]
    assert told[-1][a.EVIDENCE_UNSEEN] == "unknown: this Python is not known yet (with blocks)"
    assert told[-1][a.CODE_FUNCTION] == "wait"
