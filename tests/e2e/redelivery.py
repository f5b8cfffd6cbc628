"""What becomes of a message when its job dies, tried on a real Redis and a real RabbitMQ: `make redelivery`.

Each way to die is done to a real worker that runs one job for each set of terms at once; a second worker, where the
first one is gone or stopped, takes what the broker gives out again. The table is written to docs/redelivery.md, and
`tests/e2e/test_redelivery.py` compares it with what the collector tells.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import celery
import kombu
from tests.e2e.redelivery_app import TERMS, VISIBILITY, make_app
from tests.servers import RabbitMQ, Redis, Server

DOCS = Path(__file__).parents[2] / "docs" / "redelivery.md"
ROOT = Path(__file__).parents[2]
_SETTLE = 12.0

NEVER, DEAD, AT_ONCE, RETRIED, LATE = (
    "never",
    "never; it is in the dead-letter queue",
    "at once",
    "as the next attempt",
    "after the timeout",
)


class Row(NamedTuple):
    """One row of the table."""

    death: str
    broker: str
    terms: str
    seen: str


class Start(NamedTuple):
    """One start of a job."""

    retries: int
    pid: int
    at: float


class Bench:
    """One worker on one broker, about to die."""

    def __init__(self, broker: Server, folder: Path, python: str) -> None:
        self.broker, self.folder, self._python = broker, folder, python
        self.app = make_app(broker.dsn)
        self.runs = folder / "runs"
        self.runs.touch()
        self.jobs: dict[str, str] = {}
        ask = "from tests.e2e.redelivery_app import TERMS; print(*TERMS)"
        self._terms = subprocess.run(
            [python, "-c", ask], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
        ).stdout.split()
        self.started: list[subprocess.Popen[bytes]] = []

    def start_worker(self, *, spare: int = 0) -> subprocess.Popen[bytes]:
        number = len(self.started)
        environ = {**os.environ, "REDELIVERY_BROKER": self.broker.dsn, "REDELIVERY_RUNS": str(self.runs)}
        command = [self._python, "-m", "celery", "-A", "tests.e2e.redelivery_app", "worker", "-l", "INFO"]
        command += ["-c", str(len(TERMS) + spare), "-n", f"w{number}@here", "--without-mingle", "--without-gossip"]
        with (self.folder / f"worker-{number}.log").open("wb") as log:
            worker = subprocess.Popen(
                command, cwd=ROOT, env={**environ, "C_FORCE_ROOT": "1"}, stdout=log, stderr=log, start_new_session=True
            )
        self.started.append(worker)
        return worker

    def enqueue(self, **options: Any) -> None:
        self.jobs = {terms: str(self.app.send_task(terms, **options).id) for terms in self._terms}

    def starts(self) -> dict[str, list[Start]]:
        """By job id."""
        found: dict[str, list[Start]] = {}
        for line in self.runs.read_text().splitlines():
            job_id, retries, pid, at = line.split()
            found.setdefault(job_id, []).append(Start(int(retries), int(pid), float(at)))
        return found

    def await_all(self) -> None:
        deadline = time.monotonic() + 60
        while len(self.starts()) < len(self._terms):
            if time.monotonic() > deadline:
                log = (self.folder / "worker-0.log").read_text()
                raise AssertionError(f"{len(self.starts())} of {len(self._terms)} jobs have started:\n{log[-3000:]}")
            time.sleep(0.05)

    def children(self) -> list[int]:
        return [starts[0].pid for starts in self.starts().values()]

    def dead_letters(self) -> set[str]:
        """Ids of the jobs whose message was rejected."""
        found: set[str] = set()
        if not isinstance(self.broker, RabbitMQ):
            return found
        with kombu.Connection(self.broker.dsn) as connection:
            queue = connection.SimpleQueue("dead")
            while True:
                try:
                    message = queue.get(timeout=0.5)
                except queue.Empty:
                    return found
                found.add(str(message.headers["id"]))
                message.ack()

    def close(self) -> None:
        for worker in self.started:
            for sign in (signal.SIGCONT, signal.SIGKILL):
                try:
                    os.killpg(worker.pid, sign)
                except ProcessLookupError:
                    break
            worker.wait()


def _children_killed(bench: Bench) -> None:
    for pid in bench.children():
        os.kill(pid, signal.SIGKILL)


def _revoked(bench: Bench) -> None:
    bench.app.control.revoke(list(bench.jobs.values()), terminate=True)


def _killed(bench: Bench) -> None:
    os.killpg(bench.started[0].pid, signal.SIGKILL)


def _cold(bench: Bench) -> None:
    os.kill(bench.started[0].pid, signal.SIGQUIT)


def _warm_and_killed(bench: Bench) -> None:
    os.kill(bench.started[0].pid, signal.SIGTERM)
    time.sleep(2)
    os.killpg(bench.started[0].pid, signal.SIGKILL)


def _children_stopped(bench: Bench) -> None:
    for pid in bench.children():
        os.kill(pid, signal.SIGSTOP)


def _all_stopped(bench: Bench) -> None:
    os.killpg(bench.started[0].pid, signal.SIGSTOP)


class Way(NamedTuple):
    """A way to die."""

    words: str
    do: Callable[[Bench], None]
    death: str
    """As the collector calls it."""
    needs_other: bool = True
    """The worker cannot take what is given out again."""
    spare: int = 0
    """Children that have nothing to do: what is given out again to a worker whose children all stand is not seen."""
    options: Mapping[str, Any] = MappingProxyType({})


WAYS = (
    Way("child killed (`kill -9`, out of memory)", _children_killed, "killed", needs_other=False),
    Way("hard time limit", lambda bench: None, "timeout", needs_other=False, options={"time_limit": 3}),
    Way("revoked with `terminate`", _revoked, "revoked", needs_other=False),
    Way("worker killed, with its children", _killed, "lost"),
    Way("warm shutdown, killed after its time of grace", _warm_and_killed, "lost"),
    Way("machine gone, or frozen", _all_stopped, "lost"),
    Way("cold shutdown", _cold, "shutdown"),
    Way("child frozen: the job still runs", _children_stopped, "none", spare=len(TERMS)),
)


def tried(way: Way, broker: Server, python: str) -> Iterator[Row]:
    """Do it; yield what was seen of each job."""
    with tempfile.TemporaryDirectory(prefix="lastspan-redelivery-") as folder, _bench(broker, folder, python) as bench:
        with kombu.Connection(broker.dsn) as connection:
            connection.SimpleQueue("dead").close()
        bench.start_worker(spare=way.spare)
        bench.enqueue(**way.options)
        bench.await_all()
        way.do(bench)
        if way.needs_other:
            bench.start_worker()
        time.sleep(VISIBILITY + _SETTLE)
        starts, dead = bench.starts(), bench.dead_letters()
        for terms, job_id in bench.jobs.items():
            name = "RabbitMQ" if isinstance(broker, RabbitMQ) else "Redis"
            yield Row(way.words, name, terms, _seen(starts[job_id], is_dead=job_id in dead))


@contextmanager
def _bench(broker: Server, folder: str, python: str) -> Iterator[Bench]:
    bench = Bench(broker, Path(folder), python)
    try:
        yield bench
    finally:
        bench.close()


def _seen(starts: list[Start], *, is_dead: bool) -> str:
    if len(starts) == 1:
        return DEAD if is_dead else NEVER
    first, second = starts[0], starts[1]
    if second.retries > first.retries:
        return RETRIED
    return LATE if second.at - first.at >= VISIBILITY - 1 else AT_ONCE


def render(rows: list[Row]) -> str:
    """The page: docs/redelivery.md."""
    lines = [
        "# What becomes of a message when its job dies",
        "",
        "Written by `make redelivery`, which does each of these to a real worker on a real Redis and a real RabbitMQ,",
        "and looks whether the job starts again. The collector tells what this table says",
        "(`collector/lastspan/collector/judge/cause/delivery.py`); `tests/e2e/test_redelivery.py` compares the two.",
        "",
        f"Celery {celery.__version__}, kombu {kombu.__version__}, prefork. *Timeout*: Redis' `visibility_timeout` (1 h "
        "unless set), RabbitMQ's `consumer_timeout` (30 min unless set).",
        "",
        "| how it died | acks_late | reject_on_worker_lost | acks_on_failure_or_timeout | retry_on_worker_lost "
        "| Redis gives it out again | RabbitMQ gives it out again |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    seen = {(row.death, row.terms, row.broker): row.seen for row in rows}
    for way in WAYS:
        for terms, options in TERMS.items():
            flags = [*options.values(), *([False] if len(options) == 3 else [])]
            cells = [way.words, *("yes" if flag else "no" for flag in flags)]
            cells += [seen[way.words, terms, broker] for broker in ("Redis", "RabbitMQ")]
            lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "By the source, not run: Amazon SQS does as Redis does, with its own visibility timeout (30 min unless set);",
        "but what a worker gives back there is a copy, and the message itself comes again when that has passed. Celery",
        "before 5.7 knows no `retry_on_worker_lost`; 5.3 and 5.4 reject a job beyond its hard limit for good where",
        "`acks_on_failure_or_timeout` is off. A job that has waited in the worker (prefetch) has used up that much of",
        "the visibility timeout. RabbitMQ's `consumer_timeout` closes the channel, by which Celery's worker ends, with",
        "all that it runs (seen: `Unrecoverable error: PreconditionFailed`).",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make redelivery", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="of an environment with another Celery")
    parser.add_argument("--broker", choices=("redis", "rabbitmq"), help="this one only; the page is not written")
    parser.add_argument("--only", default="", help="ways to die that have this word; the page is not written")
    chosen = parser.parse_args()
    ways = [way for way in WAYS if chosen.only in way.words]
    makers: list[Callable[[], Server]] = [Redis, lambda: RabbitMQ(consumer_timeout=VISIBILITY)]
    if chosen.broker:
        makers = [makers[0] if chosen.broker == "redis" else makers[1]]
    rows: list[Row] = []
    for way in ways:  # each on brokers of its own: nothing is left of the one before
        with ThreadPoolExecutor() as pool:
            found = pool.map(lambda make, way=way: _on(make, way, chosen.python), makers)
            for row in (row for some in found for row in some):
                rows.append(row)
                print(f"{row.death:48} {row.broker:9} {row.terms:10} {row.seen}", flush=True)
    if len(ways) == len(WAYS) and not chosen.broker and chosen.python == sys.executable:
        DOCS.write_text(render(rows))


def _on(make: Callable[[], Server], way: Way, python: str) -> list[Row]:
    with make() as broker:
        return list(tried(way, broker, python))


if __name__ == "__main__":
    main()
