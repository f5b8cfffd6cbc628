"""`python -m tests.e2e.guest.healthy --python PATH --minutes 60`: a healthy worker stays healthy with a guest in it.

Two Celery workers of one interpreter, prefork, on one real Redis that is broker and result backend: one with lastspan,
which looks at nearly every job, many times a second; one without. Results have 1 KB to 5 MB. Exit status 1 if a process
crashed in either, a job failed or was lost, or nothing was looked at.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
import redis
from celery import Celery
from rich.console import Console
from rich.table import Table
from tests.e2e.guest.holding import BODIES
from tests.servers import Redis
from tests.sink import Sink

from lastspan.examples.running import Running
from lastspan.semconv import attributes as a
from lastspan.semconv import events

ROOT: Final = Path(__file__).resolve().parents[3]
SIZE_MIN: Final = 1_000
SIZE_MAX: Final = 5_000_000
_IN_FLIGHT: Final = 4
_LOST_AFTER: Final = 90.0
"""A job lasts two seconds, and waits for a few others: one without a result after that is lost, s."""
_BALLAST: Final = 200_000
_REPORT_SECONDS: Final = 60.0
_CRASHES: Final = re.compile(
    r"Fatal Python error|SIGSEGV|SIGABRT|SIGBUS|SystemError|WorkerLostError|exported buffers|Current thread 0x"
    r"|exited prematurely|exited with '(?!exitcode 0\b)"
)
"""What the log of a worker says of one, and faulthandler."""
_EAGER: Final = {
    "OTEL_LASTSPAN_ANNOUNCE_AFTER": "0.05",
    "OTEL_LASTSPAN_JOB_ANNOUNCE_AFTER": "0.05",
    "OTEL_LASTSPAN_INTERVAL": "0.5",
    "OTEL_LASTSPAN_REFRESH": "1",
}
"""Twenty looks a second, and each job is late nearly at once."""


@dataclass(slots=True)
class Worker:
    """One of the two, and what became of its jobs."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    open: dict[str, tuple[float, int]] = field(default_factory=dict)
    """By task id: when it was sent (monotonic, s), and the size of its result."""
    done: int = 0
    bytes: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    def crashes(self) -> list[str]:
        """Return the lines of its log that tell of one."""
        lines = self.log.read_text(errors="replace").splitlines()
        found = [line[:200] for line in lines if _CRASHES.search(line)]
        return found if self.process.poll() is None else [f"it ended with {self.process.returncode}", *found]


class Load:
    """Keeps a few jobs under way in each worker, and reads their results."""

    def __init__(self, url: str, seed: int) -> None:
        self._app = Celery("load", broker=url)
        self._app.conf.update(task_serializer="pickle")
        self._client = redis.Redis.from_url(url)
        self._random = random.Random(seed)
        self._bodies: Iterator[str] = itertools.cycle(BODIES)

    def fill(self, worker: Worker, now: float) -> None:
        """Send as many jobs as are missing."""
        while len(worker.open) < _IN_FLIGHT:
            size = round(SIZE_MIN * (SIZE_MAX / SIZE_MIN) ** self._random.random())
            given: dict[str, Any] = {
                "body": next(self._bodies),
                "size": size // 2 * 2,
                "seconds": self._random.uniform(0.2, 1.5),
            }
            name = self._random.choice(("as_json", "as_pickle"))
            if name == "as_pickle" and self._random.random() < 0.2:
                given["ballast"] = self._random.randbytes(_BALLAST)
            sent = self._app.send_task(name, kwargs=given, queue=worker.name, ignore_result=False)
            worker.open[sent.id] = now, given["size"]

    def take(self, worker: Worker, now: float) -> None:
        """Take the results that are there."""
        for task_id, (sent_at, size) in list(worker.open.items()):
            key = f"celery-task-meta-{task_id}"
            length = self._client.strlen(key)
            if length == 0 and now - sent_at < _LOST_AFTER:
                continue
            problem = self._problem(key, length, size)
            worker.done += not problem
            worker.bytes += length
            worker.failed.update([problem] if problem else [])
            self._client.delete(key)
            del worker.open[task_id]

    def _problem(self, key: str, length: int, size: int) -> str:
        if not length:
            return "lost"
        if length >= size:
            return ""
        told: Any = self._client.get(key) or b""  # an error, as text
        return str(told, "utf-8", "replace")[:200]


def _workers(running: Running, python: Path, url: str, sink: Sink) -> Iterator[Worker]:
    common = {
        "GUEST_REDIS": url,
        "PYTHONPATH": str(ROOT),
        "PYTHONFAULTHANDLER": "1",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    kinds: Mapping[str, Mapping[str, str]] = {"with": _EAGER, "without": {"OTEL_LASTSPAN_ENABLED": "false"}}
    for name, environ in kinds.items():
        process = running.celery(
            sink.url,
            concurrency=2,
            queues=name,
            app="tests.e2e.guest.app",
            environ={**common, **environ},
            programs=python.parent,
        )
        yield Worker(name, process, sorted(running.folder.glob("*-celery-prefork.log"))[-1])


def _count(sink: Sink, seen: Counter[str]) -> None:
    """Count what the guest told, and forget it."""
    told, sink.records = sink.records, []
    sink.requests.clear()
    for record in told:
        if record.event == events.SPAN_OPEN:
            seen["open spans told"] += 1
            seen["of these with a stack"] += bool(record.get(a.CODE_STACKTRACE))
            seen["of these with what they wait for"] += bool(record.get(a.WAIT_KIND))


def _show(console: Console, python: str, seconds: float, workers: list[Worker], seen: Counter[str]) -> None:
    table = Table(title=f"{python}, {seconds / 60:.1f} minutes", title_justify="left")
    for column in ("worker", "jobs", "results, MB", "failed or lost", "crashes"):
        table.add_column(column, justify="left" if column == "worker" else "right")
    for worker in workers:
        crashes = len(worker.crashes())
        failed = str(worker.failed.total())
        table.add_row(worker.name, str(worker.done), f"{worker.bytes / 1e6:.0f}", failed, str(crashes))
    console.print(table)
    console.print(", ".join(f"{name}: {count}" for name, count in seen.items()) or "nothing was told", highlight=False)


@click.command()
@click.option("--python", "python", type=click.Path(path_type=Path, exists=True), default=Path(sys.executable))
@click.option("--minutes", type=float, default=60.0)
@click.option("--seed", type=int, default=1)
def main(python: Path, minutes: float, seed: int) -> None:
    """Keep two workers busy, one with lastspan and one without, and count their crashes."""
    console = Console(width=110)
    version = subprocess.run([python, "-VV"], capture_output=True, text=True, check=True).stdout.strip()
    seen: Counter[str] = Counter()
    sink = Sink()
    with Redis() as server, Running() as running:
        workers = list(_workers(running, python.absolute(), server.dsn, sink))
        load = Load(server.dsn, seed)
        began = told_at = time.monotonic()
        while (now := time.monotonic()) - began < minutes * 60 and not any(worker.crashes() for worker in workers):
            for worker in workers:
                load.take(worker, now)
                load.fill(worker, now)
            _count(sink, seen)
            if now - told_at >= _REPORT_SECONDS:
                told_at = now
                _show(console, version, now - began, workers, seen)
            time.sleep(0.1)
        seconds = time.monotonic() - began
        _show(console, version, seconds, workers, seen)
        faults = [f"{one.name}: {line}" for one in workers for line in (*one.crashes(), *one.failed)]
        faults += [f"{one.name}: no job has ended; the run proves nothing" for one in workers if not one.done]
        if not seen["of these with a stack"]:
            faults.append("nothing was looked at; the run proves nothing")
        for fault in faults[:40]:
            console.print(fault, highlight=False, markup=False)
        result = {"python": version, "minutes": round(seconds / 60, 1), "faults": len(faults), **seen}
        console.print(json.dumps(result), highlight=False)
        if faults and (keep := os.environ.get("GUEST_LOGS")):
            for worker in workers:
                Path(keep, f"{worker.name}.log").write_bytes(worker.log.read_bytes())
    sink.close()
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
