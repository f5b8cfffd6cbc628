"""How soon does somebody know: from a call that exceeds its allowance to the page at the webhook.

A real collector, Prometheus and Alertmanager; each trial is an incident of its own. Times are of one clock, this
machine's: `verdict` is read from the API, `rule` (scrape and evaluation) ends at the alert's `startsAt`. At the end the
jobs go on, one after the other: `its end` is from there to the resolution at the webhook, with the shipped
`keep_firing_for` and `group_interval`.
"""

from __future__ import annotations

import random
import re
import statistics
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tests.alerts.catcher import Catcher
from tests.collector.records import Process
from tests.collector.served import Served
from tests.servers import Alertmanager, Prometheus

from lastspan.alerts.build import build
from lastspan.alerts.settings import AlertSettings

from .report import Bound, Column, Options, Progress, Report

ALLOWED: Final = 5.0
LEAD: Final = 3.0
"""A record comes so long before its span exceeds its allowance."""
END_LIMIT: Final = 180.0
SETTLED_AFTER: Final = 125.0
"""Seconds after the collector's start: before, what ends may only have been forgotten (`learning`)."""
SETTINGS: Final = (("1 s, 1 s, 0 s", 1, "0s", 5.0), ("5 s, 5 s, 1 s", 5, "1s", 15.0), ("direct, 0 s", 0, "0s", 5.0))
"""Name; seconds between scrapes, 0: no Prometheus, the collector posts itself; `group_wait`; the limit."""


def run(options: Options) -> Report:
    """Measure with quick settings, with usual ones, and without Prometheus."""
    trials = options.of(30, 3) * options.rounds_of(1)
    progress = Progress("page", len(SETTINGS))
    rows = []
    for variant, interval_s, group_wait, limit in SETTINGS:
        rows += [
            {**row, "limit": limit if row["part"] == "all" else END_LIMIT}
            for row in _measure(variant, interval_s, group_wait, trials)
        ]
        progress.step(variant)
    whole = [row for row in rows if row["part"] in ("all", "its end")]
    return Report(
        "page",
        "how soon is somebody told? (s; scrape, evaluation, group_wait)",
        [Column("n", "n", 0), Column("median", "median"), Column("worst", "worst")],
        rows,
        [Bound(f"{row['variant']}: {row['part']}, median of {row['n']}", row["median"], row["limit"]) for row in whole],
    )


def _measure(variant: str, interval_s: int, group_wait: str, trials: int) -> list[dict[str, Any]]:
    with ExitStack() as within:
        folder = Path(within.enter_context(tempfile.TemporaryDirectory()))
        caught = within.enter_context(Catcher())
        built = build(AlertSettings(group_wait=group_wait, webhook_url=caught.url, route={"page": "webhook"}))
        alertmanager = within.enter_context(Alertmanager(built["alertmanager.yml"], built["lastspan.tmpl"]))
        rules = folder / "lastspan.yaml"
        direct = f"alertmanager: {{urls: ['http://{alertmanager.address}']}}\n" if interval_s == 0 else ""
        rules.write_text(f"rules: [{{match: {{kind: http}}, allowed: {ALLOWED:g}s}}]\nlog_level: error\n{direct}")
        collector = Served(folder, "--config", str(rules), grpc="off")
        within.callback(collector.stop)
        if not direct:
            web, address = collector.web.removeprefix("http://"), alertmanager.address
            within.enter_context(Prometheus(web, interval_s=interval_s, rules=built["rules.yml"], alertmanager=address))
        time.sleep(2 * interval_s)
        return _rows(variant, collector, caught, trials)


def _rows(variant: str, collector: Served, caught: Catcher, trials: int) -> list[dict[str, Any]]:
    worker, chance = Process(), random.Random(7)
    due: dict[str, float] = {}
    judged: dict[str, float] = {}
    paged: dict[str, tuple[float, float]] = {}
    following, deadline = time.time(), time.time() + 10 * trials + 60
    while len(paged) < trials:
        if time.time() > deadline:
            raise TimeoutError(f"{len(paged)} of {trials} pages came")
        if len(due) < trials and time.time() >= following:
            number = 2 * len(due) + 1
            due[f"id-{number}"] = time.time() + LEAD
            call = worker.http(number + 1, number, age=ALLOWED - LEAD, server_address=f"peer-{number}")
            collector.post(worker.body(worker.job(number, age=ALLOWED - LEAD), call))
            following = time.time() + chance.uniform(1.0, 2.5)
        for job_id, job in collector.jobs().items():
            if job["state"] == "stuck":
                judged.setdefault(job_id, time.time())
        for at, body in list(caught.posts):
            for alert in body["alerts"]:
                paged.setdefault(alert["labels"].get("job_id", "many"), (_seconds(alert["startsAt"]), at))
        time.sleep(0.02)
    if "many" in paged:
        raise RuntimeError("the trials are one incident")
    ends = _ends(collector, caught, worker, list(due), chance)
    taken = {
        "verdict": [judged[job_id] - due[job_id] for job_id in due],
        "scrape and rule": [paged[job_id][0] - judged[job_id] for job_id in due],
        "Alertmanager": [paged[job_id][1] - paged[job_id][0] for job_id in due],
        "all": [paged[job_id][1] - due[job_id] for job_id in due],
        "its end": ends,
    }
    return [
        {"variant": variant, "means": part, "part": part, "n": trials}
        | {"median": statistics.median(times), "worst": max(times)}
        for part, times in taken.items()
    ]


def _ends(
    collector: Served, caught: Catcher, worker: Process, job_ids: list[str], chance: random.Random
) -> list[float]:
    """Let the jobs end, one after the other; return how long each page lasted after that."""
    ended: dict[str, float] = {}
    over: dict[str, float] = {}
    began = float(re.findall(r"^lastspan_collector_started_timestamp_seconds (\S+)$", collector.metrics(), re.M)[0])
    while time.time() < began + SETTLED_AFTER:
        time.sleep(5)
        collector.post(worker.body(worker.state(*range(1, 2 * len(job_ids) + 1))))
    following, deadline = 0.0, time.time() + 2 * END_LIMIT
    while len(over) < len(job_ids):
        if time.time() > deadline:
            raise TimeoutError(f"{len(over)} of {len(job_ids)} pages are over")
        if len(ended) < len(job_ids) and time.time() >= following:
            number = int((job_id := job_ids[len(ended)]).partition("-")[2])
            collector.post(worker.body(worker.closed(number + 1), worker.closed(number)))
            ended[job_id] = time.time()
            following = time.time() + chance.uniform(0.5, 3.0)
        for at, body in list(caught.posts):
            for alert in body["alerts"]:
                if alert["status"] == "resolved":
                    over.setdefault(alert["labels"]["job_id"], at)
        time.sleep(0.02)
    return [over[job_id] - ended[job_id] for job_id in job_ids]


def _seconds(time_text: str) -> float:
    """Return a time of Alertmanager's, `2026-01-01T00:00:00.25Z`, since the epoch: Python 3.10 wants 3 or 6 digits."""
    whole, _, fraction = time_text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")
