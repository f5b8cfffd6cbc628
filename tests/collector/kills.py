"""Workers that report to a collector which is killed again and again, and the ledger of what it must know."""

from __future__ import annotations

import random
import signal
import threading
import time
from pathlib import Path

import requests
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from tests.collector.records import Process, job_key
from tests.collector.served import Served

from lastspan.examples.running import reserve_port

_LAST_SECOND = 1.0
_WORKERS = 4
_OPEN_MAX = 40
_LOG_MAX = 50_000
"""So small that the state is written anew every second or so: kills fall into that too."""


class Worker:
    """A process whose jobs open and end, and which says so; what failed is said again, as a real one does."""

    def __init__(self, number: int, seed: int) -> None:
        self.process = Process(id=f"{number:016x}", pid=number, worker_id=f"w{number}", host=f"host-{number % 2}")
        self.opened: dict[int, float] = {}
        """Open jobs, and when the collector first said that it knows; inf: not yet."""
        self.started: dict[int, float] = {}
        self.closed: dict[int, float] = {}
        """Jobs that ended, and when the collector said that it knows; inf: it never did."""
        self._chance = random.Random(seed * 100 + number)
        self._next = number * 1_000_000
        self._untold: list[int] = []
        """Ends that may not have arrived."""
        self._first: dict[int, LogRecord] = {}
        """The first record of each job: it may come again at any time, with its old sequence."""

    def turn(self, url: str, http: requests.Session) -> None:
        """Do something, and tell it."""
        new = []
        for _ in range(self._chance.randrange(1, 6)):
            if self.opened and self._chance.random() < len(self.opened) / _OPEN_MAX:
                self._end(self._chance.choice(list(self.opened)))
            else:
                new.append(self._start())
        records = [self._announce(number) for number, known in self.opened.items() if known == float("inf")]
        records += [self.process.closed(number) for number in self._untold]
        records.append(self.process.state(*self.opened))
        known = [number for number in self.closed if number in self._first]
        if known and self._chance.random() < 0.3:  # a record of long ago comes late
            records.insert(0, self._first[self._chance.choice(known)])
        self._tell(records, url, http)

    def say_all(self, url: str, http: requests.Session) -> None:
        """Say all again, as after an export that failed."""
        records = [self._announce(number) for number in self.opened]
        records += [self.process.closed(number) for number in self._untold]
        self._tell([*records, self.process.state(*self.opened)], url, http)

    def _start(self) -> int:
        self._next += 1
        self.opened[self._next], self.started[self._next] = float("inf"), time.monotonic()
        return self._next

    def _end(self, number: int) -> None:
        del self.opened[number]
        self.closed[number] = float("inf")
        self._untold.append(number)

    def _announce(self, number: int) -> LogRecord:
        record = self.process.job(number, age=time.monotonic() - self.started[number])
        self._first.setdefault(number, record)
        return record

    def _tell(self, records: list[LogRecord], url: str, http: requests.Session) -> None:
        opened, ended = list(self.opened), list(self._untold)
        answer = http.post(
            url, self.process.body(*records), headers={"Content-Type": "application/x-protobuf"}, timeout=5
        )
        answer.raise_for_status()
        now = time.monotonic()
        for number in opened:
            self.opened[number] = min(self.opened[number], now)
        for number in ended:
            self.closed[number] = now
        self._untold = []


class Ordeal:
    """A collector, its workers, and the kills."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._chance = random.Random(seed)
        self._workers = [Worker(number, seed) for number in range(1, _WORKERS + 1)]
        self._held = reserve_port()
        self._port = self._held.getsockname()[1]
        self._served = self._serve()

    def run(self, kills: int) -> None:
        """Kill it so many times; AssertionError: it forgot, or made something up."""
        for _ in range(kills):
            killed_at = self._load_and_kill(self._chance.uniform(0.2, 1.6))
            self._served = self._serve()
            self._check_memory(killed_at)
            with _session() as http:
                for worker in self._workers:
                    worker.say_all(f"{self._served.otlp}/v1/logs", http)
            self._check_truth()

    def end(self) -> None:
        """Leave nothing behind."""
        self._served.stop(signal.SIGKILL)
        self._held.close()

    def _load_and_kill(self, after_s: float) -> float:
        stop = threading.Event()
        threads = [threading.Thread(target=self._work, args=(worker, stop)) for worker in self._workers]
        for thread in threads:
            thread.start()
        time.sleep(after_s)
        killed_at = time.monotonic()
        self._served.stop(signal.SIGKILL)
        stop.set()
        for thread in threads:
            thread.join()
        return killed_at

    def _work(self, worker: Worker, stop: threading.Event) -> None:
        with _session() as http:
            while not stop.is_set():
                try:
                    worker.turn(f"{self._served.otlp}/v1/logs", http)
                except requests.RequestException:
                    return  # it was killed meanwhile

    def _serve(self) -> Served:
        arguments = ["--data-dir", str(self._folder / "memory"), "--otlp-http", f"127.0.0.1:{self._port}"]
        (self._folder / "lastspan.yaml").write_text(f"data_log_max: {_LOG_MAX}\n")
        return Served(self._folder, *arguments, grpc="off")

    def _known(self) -> set[str]:
        jobs = self._served.api("/api/v1/jobs?limit=10000")["jobs"]
        return {job["job_key"] for job in jobs if job["state"] != "ended"}

    def _check_memory(self, killed_at: float) -> None:
        """What was acknowledged a second before the kill is as it was."""
        known, sure = self._known(), killed_at - _LAST_SECOND
        must = {job_key(n) for worker in self._workers for n, told in worker.opened.items() if told < sure}
        must_not = {job_key(n) for worker in self._workers for n, told in worker.closed.items() if told < sure}
        may = {job_key(n) for worker in self._workers for n in (*worker.opened, *worker.closed)}
        ages = {
            job_key(n): round(killed_at - told, 2)
            for worker in self._workers
            for n, told in (*worker.opened.items(), *worker.closed.items())
        }
        forgotten, ghosts = must - known, must_not & known
        assert not forgotten, f"forgotten, known for (s): {[ages[key] for key in forgotten]}"
        assert not ghosts, f"ghosts, ended (s) before the kill: {[ages[key] for key in ghosts]}"
        assert known <= may, f"made up: {known - may}"

    def _check_truth(self) -> None:
        """Once each worker has spoken, what is open is what it says."""
        truth = {job_key(number) for worker in self._workers for number in worker.opened}
        assert self._known() == truth


def _session() -> requests.Session:
    http = requests.Session()
    http.trust_env = False
    return http
