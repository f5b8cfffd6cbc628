"""`python -m tests.e2e.causes.soak --minutes 30`: healthy load of all kinds; exit status 1 if one job is accused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import click
import yaml
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table
from tests.e2e.causes.ground import Ground
from tests.e2e.causes.harness import ROOT
from tests.e2e.causes.healthy import KINDS

from lastspan.examples.running import Collector, Running, end, program
from lastspan.examples.shop import make_app

ACCUSED: Final = frozenset({"stuck", "lost", "frozen"})
LATE: Final = ("batch_with_progress", "pages_with_progress")
RULES: Final[list[dict[str, Any]]] = [
    *({"match": {"job_name": name}, "allowed": "5s"} for name in LATE),  # overdue, then, and not more
    *({"match": {"kind": kind}, "allowed": "10s"} for kind in ("http", "db", "lock")),
    {"match": {"job_name": "*"}, "allowed": "30s"},
]
_AS_SHIPPED: Final = {
    "OTEL_LASTSPAN_INTERVAL": "15",
    "OTEL_LASTSPAN_ANNOUNCE_AFTER": "5",
    "OTEL_LASTSPAN_JOB_ANNOUNCE_AFTER": "1",
    "OTEL_LASTSPAN_REFRESH": "60",
}
"""The workers' defaults: with an interval of a second, three seconds without a core would be silence."""
_DEPLOY_SECONDS: Final = 120.0
"""How often a Celery worker is replaced, as by a deploy."""
_CRON_SECONDS: Final = 7.0
_WORKERS: Final = (("prefork", "-c", "3", "--max-tasks-per-child", "40"), ("threads", "-c", "4"))


@dataclass(slots=True)
class Tally:
    """What was seen."""

    accusations: list[dict[str, Any]] = field(default_factory=list)
    states: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Looks, by job name and state."""
    ended: Counter[str] = field(default_factory=Counter)
    """Jobs that ended, by name."""

    def look(self, jobs: Sequence[dict[str, Any]]) -> None:
        """Take one answer of the API."""
        known = {job["job_key"] for job in self.accusations}
        for job in jobs:
            self.states[job["job_name"], job["state"]] += 1
            if job["state"] in ACCUSED and job["job_key"] not in known:
                self.accusations.append(job)

    def count(self, metrics: str) -> None:
        """Take one answer of /metrics."""
        self.ended.clear()
        for family in text_string_to_metric_families(metrics):
            if family.name == "lastspan_jobs_ended":
                for sample in family.samples:
                    if sample.name.endswith("_total"):
                        self.ended[sample.labels["job_name"]] += int(sample.value)

    @property
    def missing(self) -> list[str]:
        """Kinds of which no job ended, or that were not late as they should be: the soak proves nothing then."""
        wanted = {*KINDS, "quick_program", "shop.resize_image"}
        never = sorted(name for name in wanted if not self.ended[name])
        never += [f"{name} (overdue)" for name in LATE if not self.states[name, "overdue"]]
        return never


class Load:
    """The programs and workers that are busy; leaving the block ends them."""

    def __init__(self, running: Running, collector: Collector, ground: Ground) -> None:
        folder = running.folder / "healthy"
        folder.mkdir()
        self._folder = folder
        self._running = running
        self._collector = collector
        self._environ = {
            **running.worker_environ(collector.otlp),
            **_AS_SHIPPED,
            **replace(ground.place, folder=str(folder)).environ(),
            "OTEL_SERVICE_NAME": "healthy",
            "PYTHONPATH": str(ROOT),
        }
        self._shop = make_app(broker=None, folder=self._environ["BROKER_FOLDER"])
        self._programs: list[subprocess.Popen[bytes]] = []
        self._workers: list[subprocess.Popen[bytes]] = []
        self._deployed = self._ticked = time.monotonic()

    def __enter__(self) -> Load:
        for kind in KINDS:
            self._program(kind)
        self._deploy()
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._programs:
            end(process, signal.SIGKILL)

    def tick(self) -> None:
        """Enqueue, start what runs once, and now and then replace the Celery workers: a rolling deploy."""
        now = time.monotonic()
        for _ in range(3):
            self._shop.send_task("shop.resize_image", (0.3,))
        if now - self._ticked > _CRON_SECONDS:
            self._ticked = now
            self._program("quick_program")
        if now - self._deployed > _DEPLOY_SECONDS:
            self._deployed = now
            old, self._workers = self._workers, []
            self._deploy()
            for worker in old:
                worker.terminate()
        self._programs = [process for process in self._programs if process.poll() is None]

    def dead(self) -> list[str]:
        """Return the ends of the logs of programs that should run and do not."""
        running = {str(process.args[-1]) for process in self._programs if isinstance(process.args, list)}
        return [
            f"{kind}: {(self._folder / f'{kind}.log').read_text(errors='replace')[-500:]}"
            for kind in KINDS
            if kind not in running
        ]

    def _program(self, kind: str) -> None:
        command = [program("opentelemetry-instrument"), sys.executable, "-m", "tests.e2e.causes.healthy", kind]
        with (self._folder / f"{kind}.log").open("ab") as output:
            process = subprocess.Popen(
                command,
                env=self._environ,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._programs.append(process)

    def _deploy(self) -> None:
        for pool, *arguments in _WORKERS:
            size, more = arguments[1], arguments[2:]
            worker = self._running.celery(
                self._collector.otlp, pool=pool, concurrency=int(size), arguments=more, environ=self._environ
            )
            self._workers.append(worker)


@click.command()
@click.option("--minutes", default=30.0, show_default=True)
@click.option("--evidence", type=click.Path(path_type=Path), help="file for all that is known of each accused job")
def main(minutes: float, evidence: Path | None) -> None:
    """Run healthy load and count the jobs that are ever called stuck, lost or frozen: there must be none."""
    console = Console()
    tally = Tally()
    with Running() as running, Ground(frozenset({"postgres"})) as ground:
        collector = running.collector("--config", _config(running, ground))
        with Load(running, collector, ground) as load:
            _run(console, tally, collector, load, seconds=minutes * 60)
            problems = load.dead()
    console.print(_table(tally))
    for job in tally.accusations:
        console.print(_sentence(job), markup=False)
    if evidence is not None:
        evidence.write_text(json.dumps(tally.accusations, indent=1))
    problems += [f"no job of this kind: {name}" for name in tally.missing]
    console.print(*problems, sep="\n", markup=False)
    console.print(f"{minutes:g} minutes, {tally.ended.total()} jobs ended, {len(tally.accusations)} accused")
    sys.exit(1 if tally.accusations or problems else 0)


def _config(running: Running, ground: Ground) -> str:
    path = running.folder / "soak.yaml"
    path.write_text(yaml.safe_dump({"rules": RULES, **ground.config()}))
    return str(path)


def _run(console: Console, tally: Tally, collector: Collector, load: Load, *, seconds: float) -> None:
    began = told = time.monotonic()
    while (now := time.monotonic()) - began < seconds:
        load.tick()
        tally.look(collector.jobs(limit="5000"))
        if now - told > 30:
            told = now
            tally.count(collector.metrics())
            console.print(
                f"{(now - began) / 60:.1f} min: {tally.ended.total()} ended, {len(tally.accusations)} accused"
            )
        time.sleep(1)
    tally.count(collector.metrics())


def _table(tally: Tally) -> Table:
    table = Table("job", "ended", "looks: running", "overdue", "stuck", "lost", "frozen")
    for name in sorted({*tally.ended, *(name for name, _ in tally.states)}):
        looks = [str(tally.states[name, state]) for state in ("running", "overdue", "stuck", "lost", "frozen")]
        table.add_row(name, str(tally.ended[name]), *looks)
    return table


def _sentence(job: Mapping[str, Any]) -> str:
    code, span = job["code"] or {}, job["last_span"]
    return (
        f"accused: {job['job_name']} {job['state']} ({job['cause']}, {job['confidence']}) after {job['age_s']:.1f} s "
        f"in {span['kind']} {span['name']} at {code.get('file')}:{code.get('line')}; silent {job['silent_s']}"
    )


if __name__ == "__main__":
    main()
