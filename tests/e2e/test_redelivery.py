"""What the collector tells of a message is what its broker does with it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import celery
import pytest
from tests.e2e.redelivery import AT_ONCE, DEAD, DOCS, LATE, NEVER, RETRIED, ROOT, WAYS, Way
from tests.e2e.redelivery_app import FLAGS, TERMS, VISIBILITY, make_app
from tests.e2e.shop import Job, wait_for_job
from tests.servers import Redis

from lastspan.collector.judge.cause.delivery import DeliveryTerms, MessageFate, ProcessEnd, fate
from lastspan.examples.running import Running
from lastspan.instrumentation.jobs.celery import _broker, _on_lost, _on_timeout, _redelivery_after
from lastspan.semconv.vocabulary import OnLost

SEEN = {
    MessageFate.ACKED_EARLY: NEVER,
    MessageFate.ACKED: NEVER,
    MessageFate.REQUEUED: AT_ONCE,
    MessageFate.RETURNED: AT_ONCE,
    MessageFate.RETRIED: RETRIED,
    MessageFate.AFTER_TIMEOUT: LATE,
    MessageFate.AFTER_CONNECTION: AT_ONCE,
    MessageFate.AFTER_CONSUMER: LATE,
}
"""What is seen of a message of which that becomes; one that is rejected goes where the broker lets it go."""
REJECTED = {"redis": NEVER, "amqp": DEAD}


def _nothing() -> None:
    """A task."""


def table() -> list[list[str]]:
    """The rows of docs/redelivery.md: how it died, four flags, what Redis did, what RabbitMQ did."""
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_is_whole() -> None:
    """Every way to die with every set of terms."""
    assert len(table()) == len(WAYS) * len(TERMS)


@pytest.mark.parametrize("broker", ["redis", "amqp"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.words)
def test_what_is_told_is_what_was_seen(way: Way, broker: str) -> None:
    """A real task's terms, as its worker tells them; and each row of the table, as it was tried on a real broker."""
    app = make_app(f"{broker}://127.0.0.1:1//")
    rows = [row for row in table() if row[0] == way.words]
    assert rows
    for _, *flags, on_redis, on_rabbitmq in rows:
        options = dict(zip((*FLAGS, "retry_on_worker_lost"), (flag == "yes" for flag in flags), strict=True))
        task = app.task(name="-".join(flags), **options)(_nothing)
        after = _redelivery_after(app, _broker(app))
        terms = DeliveryTerms(task.acks_late, *_told(task), _broker(app), after is not None)
        found = fate(terms, ProcessEnd(way.death))
        expected = REJECTED[broker] if found is MessageFate.REJECTED else SEEN[found]
        assert expected == (on_redis if broker == "redis" else on_rabbitmq), (options, found)


def _told(task: Any) -> tuple[OnLost | None, OnLost | None]:
    """What a collector makes of a worker's words."""
    on_timeout = _on_timeout(task, "prefork")
    return OnLost.known(_on_lost(task, 1)), None if on_timeout is None else OnLost.known(on_timeout)


def test_what_is_told_of_killed_children_comes_true(running: Running, rules: str, tmp_path: Path) -> None:
    """A real Redis; all children killed: those that run again are those of which it was said, and no others."""
    runs = tmp_path / "runs"
    runs.touch()
    collector = running.collector("--config", rules)
    with Redis() as server:
        environ = {"REDELIVERY_BROKER": server.dsn, "REDELIVERY_RUNS": str(runs), "PYTHONPATH": str(ROOT)}
        running.celery(collector.otlp, app="tests.e2e.redelivery_app", concurrency=len(TERMS), environ=environ)
        app = make_app(server.dsn)
        ids = {terms: str(app.send_task(terms).id) for terms in TERMS}
        for pid in [wait_for_job(collector, job_id)["pid"] for job_id in ids.values()]:
            os.kill(pid, signal.SIGKILL)
        told = {job_id: wait_for_job(collector, job_id, _is_killed)["cause_text"] for job_id in ids.values()}
        deadline = time.monotonic() + VISIBILITY
        while server.execute("HLEN unacked") or server.execute("LLEN celery"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        ran = [line.split()[0] for line in runs.read_text().splitlines()]
    again = {job_id for job_id in ids.values() if ran.count(job_id) == 2}
    assert {job_id for job_id, text in told.items() if "runs again at once" in text or "next attempt" in text} == again
    assert {job_id for job_id, text in told.items() if "enqueue it by hand" in text} == set(ids.values()) - again
    assert again


def _is_killed(job: Job) -> bool:
    return bool(job["outcome"] == "killed" and job["cause_text"])


def test_the_terms_of_older_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery 5.3 and 5.4 reject a job beyond its limit for good where a later one gives it back (by their source)."""
    module = "lastspan.instrumentation.jobs.celery._VERSION"
    task = celery.Celery(broker="redis://").task(acks_late=True, acks_on_failure_or_timeout=False)(_nothing)
    for version, expected in (((5, 3), "reject"), ((5, 4), "reject"), ((5, 5), "requeue"), ((5, 7), "requeue")):
        monkeypatch.setattr(module, version)
        assert _on_timeout(task, "prefork") == expected


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://host/0", "redis"),
        ("redis+socket:///run/redis.sock", "redis"),
        (["sentinel://one", "sentinel://two"], "sentinel"),
        ("amqp://one//;amqp://two//", "amqp"),
        ("sqs://", "sqs"),
        ("", ""),
        (None, ""),
    ],
)
def test_whose_broker_it_is(url: object, name: str) -> None:
    app = celery.Celery()
    app.conf.broker_url = url
    assert _broker(app) == name


def test_a_retry_that_is_the_last() -> None:
    """With no attempts left, a worker that retries what was lost neither retries it nor gives it back."""
    task = celery.Celery(broker="redis://").task(
        acks_late=True, retry_on_worker_lost=True, reject_on_worker_lost=True, max_retries=1
    )(_nothing)
    assert [_on_lost(task, attempt) for attempt in (1, 2)] == ["retry", "ack"]
