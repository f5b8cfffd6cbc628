"""A real Celery worker under `opentelemetry-instrument`, a real collector, and what the API says of the jobs."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.conftest import rules_in
from tests.e2e.shop import Job, Shop, ends, wait_for_end, wait_for_job

from lastspan.examples.running import Collector, Running, end

pytestmark = pytest.mark.long


def is_stuck(job: Job) -> bool:
    return bool(job["state"] == "stuck")


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    with Running() as started:
        yield started


@pytest.fixture(scope="module")
def collector(shared: Running) -> Collector:
    """One for all tests but those that count what it has heard, or that end it."""
    return shared.collector("--config", rules_in(shared.folder))


@pytest.fixture(scope="module")
def prefork(shared: Running, collector: Collector) -> Shop:
    """One worker, for the tests that end none, with a process for each of their jobs that stays."""
    shared.celery(collector.otlp, concurrency=8)
    return Shop(str(shared.folder / "broker"))


def test_a_hanging_call_is_found(shared: Running, collector: Collector, prefork: Shop) -> None:
    """An HTTP call without an answer: stuck, the call is the last span, and the line is the one that makes it."""
    is_right(wait_for_job(collector, prefork.enqueue("charge_card"), is_stuck), shared.silent.url)


@pytest.mark.parametrize("pool", ["threads", "gevent", "solo"])
def test_a_hanging_call_is_found_in_every_pool(running: Running, collector: Collector, shop: Shop, pool: str) -> None:
    running.celery(collector.otlp, pool=pool, concurrency=1 if pool == "solo" else 4)
    is_right(wait_for_job(collector, shop.enqueue("charge_card"), is_stuck), running.silent.url)


def is_right(job: Job, silent: str) -> None:
    """Compare all that is said of the job that makes the call."""
    assert job["job_name"] == "shop.charge_card"
    assert job["system"] == "celery"
    assert job["queue"] == "celery"
    assert job["attempt"] == 1
    assert job["last_span"]["kind"] == "http"
    assert job["last_span"]["attributes"]["url.full"] == silent + "charge"
    assert job["code"]["function"] == "charge_card"
    assert job["code"]["file"].endswith("shop.py")
    assert job["cause"] == "http_no_timeout"
    assert job["basis"] == "rule"
    assert job["severity"] == "page"
    assert job["allowed_s"] == 3


def test_only_the_stuck_are_accused(collector: Collector, prefork: Shop) -> None:
    """Loop, poll, blocked event loop: the job itself and its line; the long healthy job keeps running."""
    healthy = prefork.enqueue("send_newsletter")
    stuck = {task: prefork.enqueue(task) for task in ("rebuild_index", "monthly_report", "import_feed")}

    jobs = {task: wait_for_job(collector, job_id, is_stuck) for task, job_id in stuck.items()}
    assert {job["last_span"]["kind"] for job in jobs.values()} == {"job"}
    assert jobs["rebuild_index"]["code"]["function"] == "rebuild_index"
    assert jobs["import_feed"]["code"]["function"] == "_read_feed"
    assert jobs["monthly_report"]["code"]["function"] in {"monthly_report", "_is_ready"}
    assert wait_for_job(collector, healthy)["state"] == "running"
    wait_for_job(collector, stuck["rebuild_index"], lambda job: (job["cpu_ratio"] or 0) > 0.05)
    os.kill(jobs["rebuild_index"]["pid"], signal.SIGKILL)  # it would take a core from the other tests


def test_two_locks_in_opposite_order(running: Running, collector: Collector, shop: Shop) -> None:
    """Each of the two jobs stands at its second lock."""
    running.celery(collector.otlp, pool="threads", concurrency=4, queues="transfers")
    for job_id in (shop.enqueue("transfer", "out"), shop.enqueue("transfer", "in")):
        job = wait_for_job(collector, job_id, is_stuck)
        assert job["code"]["function"] == "transfer"


def test_a_killed_child_is_told_by_its_parent(collector: Collector, prefork: Shop) -> None:
    """kill -9 of a pool process: ended (killed) within 2 s, and it stays visible."""
    job_id = prefork.enqueue("send_newsletter")
    job = wait_for_job(collector, job_id)
    os.kill(job["pid"], signal.SIGKILL)
    killed = wait_for_job(collector, job_id, lambda job: bool(job["state"] == "ended"), seconds=8)
    assert killed["outcome"] == "killed"
    # The queue's own word comes later and changes nothing.
    time.sleep(3)
    assert wait_for_job(collector, job_id)["outcome"] == "killed"


def test_a_frozen_child_is_told_from_a_lost_one(collector: Collector, prefork: Shop) -> None:
    """SIGSTOP of a pool process: silent, but its parent still sees it; awake again, it is what it was."""
    job_id = prefork.enqueue("send_newsletter")
    pid = wait_for_job(collector, job_id)["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for_job(collector, job_id, lambda job: bool(job["state"] == "frozen"))
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for_job(collector, job_id, lambda job: bool(job["state"] == "running"))


def test_native_code_that_holds_the_interpreter_from_the_first_moment(
    running: Running, collector: Collector, shop: Shop
) -> None:
    """Its process says nothing of it, but its parent has seen it taken: the job, its age, and what can be known."""
    running.celery(collector.otlp, concurrency=1)
    job_id = shop.enqueue("resize_natively", 14)
    job = wait_for_job(collector, job_id, lambda job: bool(job["state"] == "frozen" and job["severity"] == "page"))
    assert (job["job_name"], job["attempt"], job["basis"], job["allowed_s"]) == (
        "shop.resize_natively",
        1,
        "declared",
        4,
    )
    assert job["cause"] == "gil_held"
    assert "has been silent since it took the job" in job["cause_text"]
    assert "enqueue it by hand" not in job["cause_text"]
    frozen = [job["job_id"] for job in collector.jobs(state="frozen") if job["job_name"] == "shop.resize_natively"]
    assert frozen == [job_id]
    # Free again, the process says the rest itself: it is one job all the way, and it ends.
    wait_for_job(collector, job_id, lambda job: bool(job["state"] == "ended"))
    assert [job["state"] for job in collector.jobs() if job["job_id"] == job_id] == ["ended"]


def test_a_worker_that_is_gone_is_lost(running: Running, collector: Collector, shop: Shop) -> None:
    """kill -9 of the whole process tree: nobody is left to say so, and silence does."""
    worker = running.celery(collector.otlp, concurrency=2)
    job_id = shop.enqueue("send_newsletter")
    wait_for_job(collector, job_id)
    end(worker, signal.SIGKILL)
    lost = wait_for_job(collector, job_id, lambda job: bool(job["state"] == "lost"))
    assert lost["severity"] == "page"
    assert lost["cause"] == "worker_lost"


def test_a_worker_that_shuts_down_is_never_lost(running: Running, collector: Collector, shop: Shop) -> None:
    """SIGTERM waits for its open jobs; when it is killed at last (a rolling deploy), they ended by shutdown."""
    worker = running.celery(collector.otlp, concurrency=2)
    job_id = shop.enqueue("send_newsletter")
    wait_for_job(collector, job_id)
    os.kill(worker.pid, signal.SIGTERM)
    time.sleep(2)  # the grace period of a deploy
    end(worker, signal.SIGKILL)
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        job = wait_for_job(collector, job_id)
        assert job["state"] != "lost"
        if job["state"] == "ended":
            assert job["outcome"] == "shutdown"
            return
        time.sleep(0.1)
    raise AssertionError(f"never ended: {job}")


def test_a_cold_shutdown_ends_its_jobs(running: Running, rules: str, shop: Shop) -> None:
    """SIGQUIT kills the children in the middle of their jobs: that was the shutdown, and nothing else is ever said."""
    collector = running.collector("--config", rules)
    worker = running.celery(collector.otlp, concurrency=2)
    job_id = shop.enqueue("send_newsletter")
    wait_for_job(collector, job_id)
    os.kill(worker.pid, signal.SIGQUIT)
    assert wait_for_end(collector, job_id) == "shutdown"
    assert ends(collector) == {"shutdown": 1}


def test_a_new_collector_learns_what_is_open(running: Running, rules: str, shop: Shop) -> None:
    """The collector dies and another takes its address: within a refresh it knows the stuck job again."""
    first = running.collector("--config", rules)
    running.celery(first.otlp, concurrency=2)
    job_id = shop.enqueue("monthly_report")
    wait_for_job(first, job_id, is_stuck)
    end(first.process, signal.SIGKILL)
    second = running.collector("--config", rules, http=first.addresses["http"])
    assert wait_for_job(second, job_id, is_stuck)["job_name"] == "shop.monthly_report"


@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_every_end_has_its_outcome(running: Running, rules: str, shop: Shop, pool: str) -> None:
    """How a job ended is what the framework says, not what its span's status says."""
    collector = running.collector("--config", rules)
    running.celery(collector.otlp, pool=pool)
    ways: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
        ("resize_image", (2.0,), {}, "ok"),
        ("fail_later", (2.0,), {}, "error"),
        ("retry_later", (2.0,), {}, "retry"),
        # The hard limit kills the process, and its parent tells; with gevent it is raised in the job.
        ("sync_orders", (), {"time_limit": 2}, "timeout"),
    ]
    if pool == "prefork":  # gevent has no soft limit
        ways += [
            ("sync_orders", (), {"soft_time_limit": 2}, "timeout"),
            # A job that swallows the soft limit is killed by the hard one.
            ("ignore_limits", (), {"time_limit": 3, "soft_time_limit": 2}, "timeout"),
        ]
    jobs = [(shop.enqueue(task, *arguments, **options), wanted) for task, arguments, options, wanted in ways]
    revoked = shop.enqueue("sync_orders")
    wait_for_job(collector, revoked)
    shop.revoke(revoked)  # which kills the process, or the greenlet: that is how, not why
    jobs.append((revoked, "revoked"))
    if pool == "prefork":  # a signal from outside; SIGKILL has a test of its own
        killed = shop.enqueue("sync_orders")
        os.kill(wait_for_job(collector, killed)["pid"], signal.SIGTERM)
        jobs.append((killed, "killed"))
    assert [wait_for_end(collector, job_id) for job_id, _ in jobs] == [wanted for _, wanted in jobs]
    time.sleep(2)  # a child that is killed says its last words for a second, and reports each second
    assert [wait_for_end(collector, job_id) for job_id, _ in jobs] == [wanted for _, wanted in jobs]
    assert ends(collector) == Counter(wanted for _, wanted in jobs)


def test_without_the_official_instrumentation_the_job_span_is_ours(running: Running, rules: str, shop: Shop) -> None:
    """One job either way, with the same facts."""
    collector = running.collector("--config", rules)
    running.celery(collector.otlp, concurrency=2, environ={"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "celery"})
    job = wait_for_job(collector, shop.enqueue("charge_card"), is_stuck)
    assert job["job_name"] == "shop.charge_card"
    assert job["last_span"]["kind"] == "http"
    assert len(collector.jobs()) == 1
