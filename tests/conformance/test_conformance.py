"""What every framework's module tells of its jobs: one list of scenarios, with a real worker of each.

A scenario is for those that declare in `tells` what it is about. `adapters/` has one small file a framework.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.conformance.cases import tells
from tests.conformance.framework import ROOT, Framework, Worker

from lastspan.instrumentation.jobs import Tells


def test_a_job_is_told_while_it_runs(worker: Worker) -> None:
    """Its name, id, queue, attempt and system, and where its code stands; once it has ended, that it ended well.

    All of that of one span: the official instrumentation's, where that is active, else ours.
    """
    ticket, opened = worker.held()
    assert opened["lastspan.job.name"].endswith("hold")
    assert opened["lastspan.job.system"] == worker.framework.system
    assert opened["lastspan.job.queue"] == worker.framework.queue
    assert opened.get("lastspan.job.outer_span_id") is None
    assert (opened["lastspan.span.name"] != opened["lastspan.job.name"]) is worker.official
    code = worker.sink.wait_for(
        lambda record: record.span_id == opened.span_id and "code.function.name" in record.attributes
    )
    assert code["code.function.name"] == "hold"
    assert worker.ends(opened) == []
    ticket.let_go()
    assert worker.outcome(opened) == "ok"
    assert worker.spans_of(ticket.job_id) == {opened.span_id}


def test_a_job_that_fails(worker: Worker) -> None:
    ticket, opened = worker.held("fail")
    ticket.let_go()
    assert worker.outcome(opened) == "error"


def test_two_jobs_at_once(worker: Worker) -> None:
    """Each has its own end, whichever ends first, and a trace of its own."""
    first, one = worker.held()
    second, two = worker.held()
    second.let_go()
    assert worker.outcome(two) == "ok"
    assert worker.ends(one) == []
    first.let_go()
    assert worker.outcome(one) == "ok"
    assert one.trace_id != two.trace_id


def test_a_job_in_a_job(worker: Worker) -> None:
    """The inner one knows its outer one, and both end."""
    ticket, outer = worker.held("nest")
    inner = worker.opened(f"inner of {ticket.path.name}")
    assert inner["lastspan.job.outer_span_id"] == outer.span_id
    assert inner.trace_id == outer.trace_id
    ticket.let_go()
    assert [worker.outcome(inner), worker.outcome(outer)] == ["ok", "ok"]


def test_a_job_too_short_to_be_seen_is_counted(worker: Worker) -> None:
    """Each one, once."""
    for _ in range(5):
        worker.enqueue("quick")
    worker.sink.wait_for(lambda record: worker.counted("quick").get("ok", 0) >= 5)
    assert worker.counted("quick") == {"started": 5, "ok": 5}


@tells(Tells.RETRY)
def test_a_job_that_is_tried_again(worker: Worker) -> None:
    """The same job, and the next attempt."""
    ticket, first = worker.held("fail_once")
    ticket.let_go()
    assert worker.outcome(first) == "retry"
    second = worker.opened(ticket.job_id, attempt=2)
    ticket.let_go(".2")
    assert worker.outcome(second) == "ok"
    assert worker.ends(first) == ["retry"]


@tells(Tells.CANCEL)
def test_a_job_that_is_cancelled(worker: Worker) -> None:
    ticket, opened = worker.held()
    worker.framework.cancel(ticket.job_id)
    assert worker.outcome(opened) == "revoked"


@tells(Tells.TIMEOUT)
def test_a_job_beyond_its_limit(worker: Worker) -> None:
    """The limit is told before, and what ended it after."""
    _, opened = worker.held(limit=1)
    assert opened["lastspan.job.timeout"] == 1
    assert worker.outcome(opened) == "timeout"


@tells(Tells.CHILD_DEATH)
def test_a_process_that_is_killed(worker: Worker) -> None:
    """Its parent tells of the job that it ran; another that runs is left alone."""
    other, beside = worker.held()
    _, opened = worker.held()
    os.kill(opened.resource["process.pid"], signal.SIGKILL)
    assert worker.outcome(opened) == "killed"
    other.let_go()
    assert [worker.outcome(beside), worker.ends(opened)] == ["ok", ["killed"]]


@tells(Tells.REDELIVERY)
def test_a_job_that_is_given_back(worker: Worker) -> None:
    """It was said before that it would be; it runs again as the same job, and is another span."""
    ticket, first = worker.held(gives_back=True)
    assert first["lastspan.job.acks_late"]
    assert first["lastspan.job.on_lost"] == "requeue"
    os.kill(first.resource["process.pid"], signal.SIGKILL)
    assert worker.outcome(first) == "killed"
    second = worker.opened(ticket.job_id, besides={first.span_id})
    ticket.let_go()
    worker.sink.wait_for(lambda record: record.event == "lastspan.span.closed" and record.span_id == second.span_id)


@tells(Tells.CARRIER)
def test_a_job_belongs_to_the_trace_of_who_enqueued_it(worker: Worker) -> None:
    ticket, outer = worker.held("pass_on")
    inner = worker.sink.wait_for(
        lambda record: (
            record.event == "lastspan.span.open"
            and record["lastspan.job.name"].endswith("hold")
            and record.trace_id == outer.trace_id
        )
    )
    ticket.let_go(".next")
    ticket.let_go()
    assert [worker.outcome(inner), worker.outcome(outer)] == ["ok", "ok"]


@tells(Tells.SHUTDOWN)
def test_a_worker_that_stops(framework: type[Framework], tmp_path: Path) -> None:
    """Asked to stop in the middle of a job it says so, ends the job well, and says at last that it has stopped."""
    worker = Worker(framework, tmp_path)
    try:
        ticket, opened = worker.held()
        os.kill(worker.process.pid, signal.SIGTERM)
        worker.sink.wait_for_event("lastspan.process.state", process__status="stopping")
        ticket.let_go()
        assert worker.outcome(opened) == "ok"
        worker.process.wait(30)
        worker.sink.wait_for_event("lastspan.process.state", process__status="stopped")
    finally:
        worker.close()


UNTOUCHED = """
import importlib, sys
from tests.conformance.seen import seen

instrumentor = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
modules = [importlib.import_module(name) for name in sys.argv[3:]]
before = seen(modules)
instrumentor().instrument(skip_dep_check=True)
assert seen(modules) != before
instrumentor().uninstrument()
assert seen(modules) == before, {k: (v, before.get(k)) for k, v in seen(modules).items() if v != before.get(k)}
"""


def test_taken_out_again_it_leaves_nothing(framework: type[Framework]) -> None:
    """The framework's modules, classes, signals and lists are what they were."""
    if (instrumentor := framework.instrumentor) is None:
        assert framework.modules == ()  # nothing is hooked in
        return
    command = [sys.executable, "-c", UNTOUCHED, instrumentor.__module__, instrumentor.__name__, *framework.modules]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OTEL_LASTSPAN_ENDPOINT": "http://127.0.0.1:9"}
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
