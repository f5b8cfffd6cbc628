"""Runs ways, each as real processes that report to one real collector, and notes what it says of them."""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from uuid import uuid4

import requests
import yaml
from tests.e2e.causes import ways as way_modules
from tests.e2e.causes.finding import Finding
from tests.e2e.causes.ground import Ground
from tests.e2e.causes.place import ready_file
from tests.e2e.causes.way import CELERY_POOLS, WAYS, Way

from lastspan.examples.running import Collector, Running, StartError, end, program, wait_for_line

ROOT: Final = Path(__file__).parents[3]
ALLOWED: Final = "3s"
_CELERY_APP: Final = "tests.e2e.causes.ways.celery_jobs"
_START_SECONDS: Final = 60.0
_READY_SECONDS: Final = 60.0
_NICE: Final = 5
_KEPT_INSTRUMENTATIONS: Final = ("lastspan", "celery")


def all_ways() -> dict[str, Way]:
    """Return every way that is declared, by name, the families mixed."""
    for module in pkgutil.iter_modules(way_modules.__path__):
        importlib.import_module(f"{way_modules.__name__}.{module.name}")
    return dict(WAYS)


def fits_here(way: Way) -> bool:
    """Whether this Python can run it."""
    return sys.version_info[:2] >= way.python


class Harness:
    """A collector, the ground, and the ways that run on it; leaving the block ends all."""

    def __init__(self, ways: Sequence[Way], *, bare: bool = False, parallel: int = 8) -> None:
        self._ways = ways
        self._bare = bare
        self._slots = ThreadPoolExecutor(max(1, parallel - 1))
        self._core = ThreadPoolExecutor(1)
        self._running = Running()
        self._ground = Ground(frozenset().union(*(way.needs for way in ways)))
        self._closing = False
        self._collector: Collector

    def __enter__(self) -> Harness:
        try:
            self._ground.__enter__()
            self._collector = self._running.collector("--config", self._config())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._closing = True
        for pool in (self._slots, self._core):
            pool.shutdown(cancel_futures=True)
        self._running.__exit__(kind, error, tb)
        self._ground.close()

    def findings(self) -> Iterator[Finding]:
        """Run the ways; yield what was found of each, as they end."""
        # The long ones first: nobody likes to wait for a last one.
        in_order = sorted(self._ways, key=lambda way: -way.seconds - way.settle)
        for done in as_completed([self._pool(way).submit(self._find, way) for way in in_order]):
            yield done.result()

    def _pool(self, way: Way) -> ThreadPoolExecutor:
        """Those that take a core take turns."""
        return self._core if way.is_heavy else self._slots

    def _find(self, way: Way) -> Finding:
        with Stage(way, self._running, self._environ(way)) as stage:
            try:
                stage.start()
                return self._watch(way, stage)
            except (StartError, requests.RequestException) as problem:
                return Finding(way=way, bare=self._bare, problem=f"{type(problem).__name__}: {problem}")

    def _watch(self, way: Way, stage: Stage) -> Finding:
        """Wait for a verdict, let it settle, and take what the API says then."""
        seen = self._wait(way, lambda job: job["age_s"] > 1, _START_SECONDS)
        if seen is None:
            return Finding(way=way, bare=self._bare, problem="never seen", log=stage.log())
        if way.fault is not None:
            way.fault(seen)
        first = self._wait(way, lambda job: job["state"] in way.states, way.seconds)
        if first is not None:
            time.sleep(way.settle)
        job = self._one(self._jobs(way.name)) or seen
        others = [other for other in self._jobs() if other["job_name"].startswith(f"{way.name}.")]
        return Finding(way=way, bare=self._bare, job=job, first=first, others=tuple(others), log=stage.log())

    def _wait(self, way: Way, fits: Callable[[Mapping[str, Any]], bool], seconds: float) -> dict[str, Any] | None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._closing:
            for job in self._jobs(way.name):
                if fits(job):
                    return job
            time.sleep(0.5)
        return None

    def _jobs(self, name: str | None = None) -> list[dict[str, Any]]:
        filters = {"limit": "1000"} if name is None else {"job_name": name}
        return self._collector.jobs(**filters)

    @staticmethod
    def _one(jobs: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Of several attempts, the one that is open longest."""
        return max(jobs, key=lambda job: (job["state"] != "ended", job["age_s"]), default=None)

    def _environ(self, way: Way) -> dict[str, str]:
        place = replace(self._ground.place, folder=str(self._running.folder / "ways" / way.name))
        environ = {
            **self._running.worker_environ(self._collector.otlp),
            **place.environ(),
            "OTEL_SERVICE_NAME": "causes",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "PYTHONWARNINGS": "ignore",
            "CAUSES_HOST": way.host,
            "CAUSES_FOLDER": place.folder,
        }
        if way.is_celery and "redis" in way.needs:
            environ["CAUSES_BROKER"] = place.redis
        if self._bare:
            environ["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"] = ",".join(_client_instrumentations())
        return environ

    def _config(self) -> str:
        kinds = ("http", "db", "lock", "other")
        rules: list[dict[str, Any]] = [{"match": {"job_name": "*.*"}, "allowed": "1h"}]  # the jobs beside
        rules += [{"match": {"kind": kind}, "allowed": ALLOWED} for kind in kinds]
        rules += [{"match": {"job_name": "*"}, "allowed": ALLOWED}]
        path = self._running.folder / "causes.yaml"
        path.write_text(yaml.safe_dump({"rules": rules, **self._ground.config()}))
        return str(path)


class Stage:
    """The processes of one way; leaving the block ends them."""

    def __init__(self, way: Way, running: Running, environ: Mapping[str, str]) -> None:
        self._way = way
        self._environ = dict(environ)
        self._folder = running.folder / "ways" / way.name
        self._folder.mkdir(parents=True)
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for process in self._processes:
            end(process, signal.SIGKILL)

    def start(self) -> None:
        """Start the jobs beside it, if they are programs of their own; then the way itself."""
        if self._way.is_celery:
            self._start_celery()
            return
        if self._way.where == "process":
            for party in self._way.beside:
                self._start_beside(party.__name__)
        self._start(self._way.name, self._program())

    def log(self) -> str:
        """Return the ends of what its processes printed."""
        logs = sorted(self._folder.glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in logs)

    def _start_beside(self, party: str) -> None:
        ready = self._folder / f"{party}.ready"
        process = self._start(party, self._program(party), ready_file(ready))
        deadline = time.monotonic() + _READY_SECONDS
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise StartError(f"{party} does not get ready:\n{self.log()}")
            time.sleep(0.1)

    def _start_celery(self) -> None:
        from tests.e2e.causes.ways.celery_jobs import make_app

        size = {"prefork": 3, "threads": 3, "celery-gevent": 5, "solo": 1}[self._way.host]
        command = [program("opentelemetry-instrument"), program("celery"), "-A", _CELERY_APP, "worker", "-l", "INFO"]
        command += ["-P", CELERY_POOLS[self._way.host], "-c", str(size), "--without-mingle", "--without-gossip"]
        worker = self._start("worker", [*command, "-n", f"{self._way.name}@causes"])
        wait_for_line(self._folder / "worker.log", " ready.", worker, part=True)
        app = make_app(str(self._folder), self._environ.get("CAUSES_BROKER"))
        job_id = str(uuid4())
        for _ in range(self._way.deliveries):
            app.send_task(self._way.name, task_id=job_id)

    def _program(self, *party: str) -> list[str]:
        module = "tests.e2e.causes.program"
        return [program("opentelemetry-instrument"), sys.executable, "-m", module, *self._names(), *party]

    def _names(self) -> Iterable[str]:
        return self._way.family, self._way.name

    def _start(
        self, name: str, command: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("wb") as output:
            process = subprocess.Popen(
                ["nice", "-n", str(_NICE), *command],
                env={**self._environ, **(environ or {})},
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)
        return process


def _client_instrumentations() -> list[str]:
    """Return the names of all instrumentations but those that make the jobs."""
    names = {entry.name for entry in entry_points(group="opentelemetry_instrumentor")}
    return sorted(name for name in names if not name.startswith(_KEPT_INSTRUMENTATIONS))
