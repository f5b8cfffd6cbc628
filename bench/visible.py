"""How soon is it seen: a span that exceeds its allowance, a child that is killed, a worker that is gone.

Real Celery workers, a real collector, and a reader that asks the API every 20 ms. The times are the collector's own
(`age_s`, `silent_s`) or the reader's clock; figures hold the reader's 20 ms and the worker's tick of up to a second.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable
from typing import Any

from lastspan.examples.running import Collector, Running
from lastspan.examples.shop import make_app

from .report import Bound, Column, Options, Progress, Report

ANNOUNCE_AFTER = 5.0
INTERVAL = 2.0
ALLOWED = 6.0
Job = dict[str, Any]

_PLAIN = """
import time
from lastspan.instrumentation import job
with job("plain"):
    time.sleep(3600)
"""


def run(options: Options) -> Report:
    """Measure all three."""
    number = options.of(10, 2) * options.rounds_of(1)
    progress = Progress("visible", 4)
    rows = []
    with Running() as running:
        rules = running.folder / "rules.yaml"
        rules.write_text(f"rules: [{{match: {{kind: http}}, allowed: {ALLOWED:g}s}}]\nlog_level: error\n")
        collector = running.collector("--config", str(rules))
        environ = {
            "OTEL_LASTSPAN_ANNOUNCE_AFTER": f"{ANNOUNCE_AFTER:g}",
            "OTEL_LASTSPAN_JOB_ANNOUNCE_AFTER": "1",
            "OTEL_LASTSPAN_INTERVAL": f"{INTERVAL:g}",
        }
        running.celery(collector.otlp, concurrency=2 * number, environ=environ)
        app = make_app(broker=None, folder=str(running.folder / "broker"))

        def enqueue(task: str) -> set[str]:
            return {app.send_task(f"shop.{task}").id for _ in range(number)}

        rows += _stuck(collector, enqueue("charge_card"), progress)
        rows.append(_killed(collector, enqueue("sync_orders")))
        progress.step("killed")
        for _ in range(number):
            running.python(_PLAIN, collector.otlp, environ=environ)
        rows.append(_lost(collector, number))
        progress.step("lost")
    limits = {
        "stuck, API": ANNOUNCE_AFTER + 2,
        "stuck, /metrics": ANNOUNCE_AFTER + 2,
        "killed": 2.0,
        "lost": 3 * INTERVAL + 2,
    }
    return Report(
        "visible",
        "how soon is it seen? (s)",
        [Column("n", "n"), Column("median", "median"), Column("worst", "worst"), Column("limit", "limit", 1)],
        [{**row, "limit": limits[row["variant"]]} for row in rows],
        [Bound(f"{row['variant']}: worst of {row['n']}", row["worst"], limits[row["variant"]]) for row in rows],
    )


def _stuck(collector: Collector, wanted: set[str], progress: Progress) -> list[dict[str, Any]]:
    """From the moment when a call exceeds its allowance to the first answer that says so."""
    exceeded: dict[str, float] = {}
    at_api: dict[str, float] = {}
    at_metrics: dict[str, float] = {}
    while len(at_metrics) < len(wanted):
        jobs = {job["job_id"]: job for job in collector.jobs() if job["job_id"] in wanted}
        now = time.monotonic()
        for job_id, job in jobs.items():
            if job["last_span"]["kind"] == "http":
                exceeded.setdefault(job_id, now - job["last_span"]["age_s"] + ALLOWED)
            if job["state"] == "stuck":
                at_api.setdefault(job_id, now)
        lines = [line for line in collector.metrics().splitlines() if line.startswith("lastspan_job_stuck{")]
        for job_id in wanted - at_metrics.keys():
            if any(job_id in line for line in lines):
                at_metrics[job_id] = time.monotonic()
        time.sleep(0.02)
    progress.step("stuck, API")
    progress.step("stuck, /metrics")
    return [
        _row("stuck, API", "behind its allowance of 6 s", [at - exceeded[job_id] for job_id, at in at_api.items()]),
        _row("stuck, /metrics", "the same, at /metrics", [at - exceeded[job_id] for job_id, at in at_metrics.items()]),
    ]


def _killed(collector: Collector, wanted: set[str]) -> dict[str, Any]:
    """From kill -9 of a pool process to `ended` (killed)."""
    _until(lambda: {job["job_id"] for job in collector.jobs()} >= wanted)
    taken = []
    for job in [job for job in collector.jobs() if job["job_id"] in wanted]:
        os.kill(job["pid"], signal.SIGKILL)
        taken.append(_until(lambda job=job: _state(collector, job["job_id"]) == ("ended", "killed")))  # type: ignore[misc]
    return _row("killed", "kill -9 of a Celery child, its parent alive", taken)


def _lost(collector: Collector, number: int) -> dict[str, Any]:
    """From kill -9 of a whole worker to `lost`."""

    def plain() -> list[Job]:
        return [job for job in collector.jobs() if job["job_name"] == "plain"]

    _until(lambda: len(plain()) == number)
    taken = []
    for job in plain():
        os.kill(job["pid"], signal.SIGKILL)
        taken.append(_until(lambda job=job: _state(collector, job["job_id"])[0] == "lost"))  # type: ignore[misc]
    return _row("lost", f"kill -9 of a whole worker, interval {INTERVAL:g} s", taken)


def _state(collector: Collector, job_id: str) -> tuple[str, str | None]:
    return next((job["state"], job["outcome"]) for job in collector.jobs() if job["job_id"] == job_id)


def _until(condition: Callable[[], bool], seconds: float = 60) -> float:
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.02)
    return time.monotonic() - began


def _row(variant: str, means: str, taken: list[float]) -> dict[str, Any]:
    return {
        "variant": variant,
        "means": means,
        "n": len(taken),
        "median": statistics.median(taken),
        "worst": max(taken),
    }
