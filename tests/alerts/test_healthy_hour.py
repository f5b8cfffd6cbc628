"""Nobody is paged for a healthy job: an hour of load in a collector whose clock is ours, scraped into promtool.

The collector judges each second of that hour; what `/metrics` says each 15 s is given to Debian's promtool
as series, which evaluates all rules over it. The same hour with one job that hangs shows that the test can fail.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint
from prometheus_client.parser import text_string_to_metric_families
from tests.alerts.test_rules import promtool
from tests.collector.held import SECOND, Held
from tests.collector.records import Process

HOUR_S, SCRAPE_S = 3600, 15
ANNOUNCED_AFTER_S = 5
NAMES = tuple(f"tasks.t{number}" for number in range(8))
OURS = 'job="lastspan",instance="a:1"'
FOR_EVER = 1 << 40
Series = dict[str, list[str]]


@dataclass
class Job:
    """A job of a simulated worker, with one call in it; times are seconds of the hour."""

    number: int
    name: str
    began: int
    ends: int
    call_began: int
    call_ends: int
    told: set[int] = field(default_factory=set)


class Worker:
    """A process with four slots that are always busy; it reports as a real one does, and is replaced once."""

    def __init__(self, number: int, chance: random.Random) -> None:
        self._number, self._chance, self._jobs = number, chance, 0
        self._slots: list[Job | None] = [None] * 4
        self._started: dict[str, int] = defaultdict(int)
        self._took: dict[str, list[int]] = defaultdict(list)
        self.process = self._new(0)

    def at(self, second: int) -> Iterator[LogRecord]:
        """Yield what it tells in this second."""
        for slot, job in enumerate(self._slots):
            if job is None or second >= job.ends:
                if job is not None:
                    self._took[job.name].append(second - job.began)
                    yield from self._end(job)
                self._slots[slot] = self._begin(second)
            else:
                yield from self._tell(job, second)
        if (second + self._number) % 15 == 0:
            yield from self._report()

    def restart(self, second: int) -> tuple[list[LogRecord], Process]:
        """End in order, as at a deployment, and go on as another process; return the last words of the old one."""
        old, last = self.process, [*self._all_end(), self.process.state(status="stopped")]
        self._slots, self.process = [None] * 4, self._new(second)
        self._started.clear()
        self._took.clear()
        return last, old

    def hang(self) -> None:
        """The job that was begun last does not end, nor does a call in it."""
        job = max((job for job in self._slots if job is not None), key=lambda job: job.began)
        job.call_began, job.call_ends, job.ends = job.began, FOR_EVER, FOR_EVER

    def _new(self, second: int) -> Process:
        id = f"{self._number:08x}{second:08x}"
        return Process(id=id, pid=100 + self._number, worker_id=id, host=f"host-{self._number % 2}")

    def _begin(self, second: int) -> Job:
        took = int(min(600, self._chance.lognormvariate(2.5, 1.0))) + 1
        call = second + self._chance.randrange(took)
        self._jobs += 2
        name = self._chance.choice(NAMES)
        self._started[name] += 1
        number = self._number * 1_000_000 + self._jobs
        return Job(number, name, second, second + took, call, min(second + took, call + self._chance.randrange(1, 40)))

    def _tell(self, job: Job, second: int) -> Iterator[LogRecord]:
        age = float(second - job.began)
        if job.number not in job.told and age >= ANNOUNCED_AFTER_S:
            job.told.add(job.number)
            yield self.process.job(job.number, name=job.name, age=age)
        call_age, call = float(second - job.call_began), job.number + 1
        if call not in job.told and call_age >= ANNOUNCED_AFTER_S and second < job.call_ends:
            job.told.add(call)
            yield self.process.http(call, job.number, age=call_age, job_name=job.name)
        elif call in job.told and second == job.call_ends:
            yield self.process.closed(call)

    def _end(self, job: Job) -> Iterator[LogRecord]:
        if job.number + 1 in job.told:
            yield self.process.closed(job.number + 1)
        if job.number in job.told:
            yield self.process.closed(job.number)

    def _all_end(self) -> Iterator[LogRecord]:
        for job in self._slots:
            if job is not None:
                yield from self._end(job)

    def _report(self) -> Iterator[LogRecord]:
        open_spans = [number for job in self._slots if job is not None for number in job.told]
        yield self.process.state(*open_spans)
        for name, count in self._started.items():
            yield self.process.durations(None, count, job_name=name)
        for name, took in self._took.items():
            ended = self.process.durations("ok", len(took), job_name=name)
            ended.body.bytes_value = sketch(took)
            yield ended


def sketch(seconds: list[int]) -> bytes:
    """Return durations as workers count them."""
    point = ExponentialHistogramDataPoint(count=len(seconds), sum=sum(seconds), scale=2)
    buckets = [math.ceil(math.log2(one) * 4) - 1 for one in seconds]
    point.positive.offset = min(buckets)
    point.positive.bucket_counts.extend(buckets.count(at) for at in range(min(buckets), max(buckets) + 1))
    return point.SerializeToString()


def load(*, hangs: bool, seconds: int = HOUR_S) -> Series:
    """Let an hour pass; return what was scraped, as promtool's series."""
    held, chance, scraped = Held(), random.Random(3), Series()
    workers = [Worker(number, chance) for number in range(6)]
    for second in range(seconds):
        if second == seconds // 2:
            last, old = workers[0].restart(second)
            held.tell(old, *last)
        if hangs and second == seconds // 3:
            workers[1].hang()
        for worker in workers:
            if records := list(worker.at(second)):
                held.tell(worker.process, *records)
        held.now_ns += SECOND
        held.tick()
        if second % SCRAPE_S == 0:
            scrape(held, scraped, second // SCRAPE_S)
    return scraped


def scrape(held: Held, into: Series, index: int) -> None:
    """Add one look at `/metrics`; what is not there any more is stale."""
    for family in text_string_to_metric_families(held.metrics()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            values = into.setdefault(f"{sample.name}{{{labels + ',' if labels else ''}{OURS}}}", [])
            values += ["stale" if values else "_"] * (index - len(values))
            values.append(f"{sample.value:g}")
    into.setdefault(f"up{{{OURS}}}", []).append("1")


def story(scraped: Series) -> dict[str, object]:
    """Return the hour as promtool reads it: the collector starts when the hour does."""
    given = {name: " ".join(values) for name, values in scraped.items()}
    given[f"lastspan_collector_started_timestamp_seconds{{{OURS}}}"] = "0x240"
    series = [{"series": name, "values": values} for name, values in given.items()]
    return {"interval": f"{SCRAPE_S}s", "input_series": series}


FIRED = 'sort(count by (alertname) (last_over_time(ALERTS{alertstate="firing"}[1h])))'


@pytest.mark.timeout(300)
def test_an_hour_of_healthy_load_pages_nobody(tmp_path: Path) -> None:
    """Thousands of jobs, some of minutes, calls of up to 40 s, a worker that is replaced; only the watchdog fires."""
    scraped = load(hangs=False)
    started = sum(
        float(values[-1]) for name, values in scraped.items() if name.startswith("lastspan_jobs_started_total")
    )
    assert started > 2000
    check = {
        "expr": FIRED,
        "eval_time": "60m",
        "exp_samples": [{"labels": '{alertname="LastspanWatchdog"}', "value": 1}],
    }
    assert promtool(tmp_path, [{**story(scraped), "promql_expr_test": [check]}]) == ""


@pytest.mark.timeout(300)
def test_the_same_hour_with_a_job_that_hangs_does(tmp_path: Path) -> None:
    check = {"expr": FIRED, "eval_time": "10m", "exp_samples": []}
    said = promtool(tmp_path, [{**story(load(hangs=True, seconds=600)), "promql_expr_test": [check]}])
    assert "LastspanJobStuck" in said
