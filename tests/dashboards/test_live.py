"""A real Prometheus scrapes a collector that hears the demo: every panel of every dashboard shows something."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from tests.dashboards import board
from tests.servers import Prometheus

from lastspan.dashboards import promql
from lastspan.examples.demo import CASES, Demo
from lastspan.examples.running import Collector, Running
from lastspan.semconv import METRICS

# Beside the demo's jobs: one that told of its progress before it stopped, and one whose process will be killed with
# nobody to see it.
EXPORT = """
import time
from lastspan.instrumentation import job, progress
with job("shop.export_orders"):
    progress(70, 100, "orders")
    while True:
        time.sleep(1)
"""
ABANDONED = """
import os, signal, time
from lastspan.instrumentation import job
with job("shop.abandoned"):
    time.sleep(5)
    os.kill(os.getpid(), signal.SIGKILL)
"""

WITHOUT_DATA = {
    "lastspan_collector_probe_failures_total": "counts looks at databases that failed; the demo has no database",
    "lastspan_collector_alerts_posted_total": "only in direct mode; the demo has no Alertmanager",
    "lastspan_collector_alerts_waiting": "likewise",
    "lastspan_collector_alerts_failures_total": "likewise",
    "lastspan_collector_memory_ok": "is absent without a data_dir, and the demo forgets",
    "lastspan_collector_memory_written_bytes_total": "likewise",
}
"""Metrics that the demo cannot have, each with the reason."""

SECONDS = 60.0
"""How long each thing may take that the tests wait for."""


@dataclass
class Live:
    """What runs."""

    collector: Collector
    prometheus: Prometheus

    def jobs(self) -> list[dict[str, Any]]:
        return [job for job in self.collector.jobs() if job["state"] in ("stuck", "lost", "frozen")]

    def answers(self, query: board.Query, values: dict[str, str]) -> bool:
        text = query.filled({**ANYTHING, **values})
        ask = self.prometheus.execute if query.is_instant else self.prometheus.execute_range
        return any(value != "NaN" for series in ask(text) for value in _values(series))


def _values(series: Any) -> list[str]:
    return [value for _, value in series.get("values") or [series["value"]]]


ANYTHING = {
    "environment": ".*",
    "service": ".*",
    "job_name": ".*",
    "queue": ".*",
    "instance": ".*",
    "__rate_interval": "20s",
    "__range": "5m",
}


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with Running() as running:
        demo = Demo(running, lambda text: None)
        demo.start()
        with Prometheus(demo.collector.addresses["web"]) as prometheus:
            for program in (EXPORT, ABANDONED):
                running.python(program, demo.collector.otlp)
            requests.post(f"{demo.collector.otlp}/v1/logs", b"no protobuf", timeout=5)  # is dropped, and counted
            one = Live(demo.collector, prometheus)
            wanted = {f"shop.{case.task}" for case in CASES if case.state == "stuck"} | {"shop.export_orders"}
            wait_until(lambda: wanted <= {job["job_name"] for job in demo.jobs() if job["state"] == "stuck"}, wanted)
            (loop,) = [job for job in demo.jobs() if job["job_name"] == "shop.rebuild_index"]
            os.setpriority(os.PRIO_PROCESS, loop["pid"], 19)  # it may have what others leave
            for _ in range(3):  # that more jobs end than had ended when Prometheus looked first
                demo.enqueue("resize_image", 0.1)
            wait_until(
                lambda: prometheus.execute("increase(lastspan_jobs_duration_seconds_count[10s]) > 0"), "jobs end"
            )
            wait_until(lambda: prometheus.execute("lastspan_lost_process_open_jobs"), "the abandoned job is lost")
            wait_until(lambda: prometheus.execute('lastspan_jobs_ended_total{outcome="killed"}'), "one was killed")
            wait_until(lambda: prometheus.execute('lastspan_jobs_stuck{cause="deadlock"}'), "the deadlock is seen")
            yield one


def wait_until(is_so: Any, what: object) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"not within {SECONDS:.0f} s: {what}"
        time.sleep(0.2)


def test_every_panel_shows_something(live: Live) -> None:
    """Each query returns data: those of One job for one of the suspects at least, those of a type for one type."""
    suspects = [
        {"job": job["job_key"], "type": job["job_name"], "trace_id": job["trace_id"], "job_id": job["job_id"]}
        for job in live.jobs()
    ]
    assert suspects
    ended = {"job": suspects[0]["job"], "type": "shop.resize_image"}
    own = [q for q in board.queries() if not {part.metric for part in promql.metrics(q.expr)} <= set(board.FOREIGN)]
    silent = [str(query) for query in own if not any(live.answers(query, values) for values in (*suspects, ended))]
    assert silent == []


def test_no_panel_shows_something_only_because_it_says_nought(live: Live) -> None:
    """Every metric that a query names is really there (`or vector(0)` would hide that it is not)."""
    named = {part.metric for query in board.queries() for part in promql.metrics(query.expr)}
    absent = {name for name in named if not live.prometheus.execute(name)}
    assert absent == {*WITHOUT_DATA, *board.FOREIGN}


def test_every_metric_of_the_collector_is_on_a_dashboard(live: Live) -> None:
    """What nobody looks at need not be made."""
    shown = {
        re.sub(r"_(bucket|sum|count)$", "", part.metric) for q in board.queries() for part in promql.metrics(q.expr)
    }
    assert {name for name in METRICS if "." not in name} - shown == set()


@pytest.mark.parametrize(
    ("variable", "wanted"),
    [
        ("environment", "demo"),
        ("service", "shop"),
        ("job_name", "shop.charge_card"),
        ("queue", "celery"),
        ("type", "shop.transfer"),
    ],
)
def test_variables_offer_what_is_there(live: Live, variable: str, wanted: str) -> None:
    """`label_values(…)` of each variable finds the demo's own values."""
    declared = {
        one["query"]: one
        for dashboard in board.built().values()
        for one in dashboard["templating"]["list"]
        if one["name"] == variable and "$job" not in one["query"]
    }
    assert declared
    for query in declared:
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()  # type: ignore[union-attr]
        filled = re.sub(r"\$(\w+)", lambda match: ANYTHING[match.group(1)], selector)
        assert wanted in {series["metric"].get(label, "") for series in live.prometheus.execute(filled)}


def test_the_variable_of_one_job_finds_keys_and_ids(live: Live) -> None:
    """Grafana reads names out of what `query_result` prints, labels in the order of the alphabet."""
    (variable,) = [one for one in board.built()["one-job"]["templating"]["list"] if one["name"] == "job"]
    selector = re.fullmatch(r"query_result\((.*)\)", variable["query"]).group(1)  # type: ignore[union-attr]
    filled = re.sub(r"\$(\w+)", lambda match: ANYTHING[match.group(1)], selector)
    pattern = variable["regex"].strip("/").replace("(?<", "(?P<")
    found = {}
    for series in live.prometheus.execute(filled):
        printed = ",".join(f'{name}="{value}"' for name, value in sorted(series["metric"].items()))
        match = re.search(pattern, printed)
        assert match is not None, printed
        found[match["value"]] = match["text"]
    assert {(job["job_key"], job["job_id"]) for job in live.jobs()} <= set(found.items())


def test_the_first_screen_of_one_job_has_the_answers(live: Live) -> None:
    """Job, last span, code line, cause and holder are in the one row that the table on the first screen shows."""
    (transfer, *_) = [job for job in live.jobs() if job["job_name"] == "shop.transfer"]
    (row,) = live.prometheus.execute(f'lastspan_stuck_job_info{{job_key="{transfer["job_key"]}"}}')
    facts = row["metric"]
    assert facts["job_name"] == "shop.transfer"
    assert facts["stopped_at"]
    assert facts["why"].startswith("Deadlock: ")
    assert facts["first_step"]
    assert "shop.py:" in facts["code"]
    assert facts["cause"] == "deadlock"
    assert facts["lock_holder"]
    (table,) = [one for one in board.panels_of(board.built()["one-job"]) if one["title"] == "Where it stopped, and why"]
    shown = table["transformations"][0]["options"]["include"]["names"]
    assert (
        {"job_name", "stopped_at", "why", "first_step", "code", "lock_holder", "waits_for"}
        <= set(shown)
        <= set(METRICS["lastspan_stuck_job_info"].attributes)
    )


def test_the_node_graph_is_whole(live: Live) -> None:
    """Nodes have an id and a title, and every edge leads from one of them to another."""
    panel = next(one for one in board.panels_of(board.built()["waits"]) if one["type"] == "nodeGraph")
    frames = {target["refId"]: live.prometheus.execute(target["expr"]) for target in panel["targets"]}
    nodes = {series["metric"]["id"] for series in frames["nodes"]}
    assert all(series["metric"]["title"] for series in frames["nodes"])
    ids = [series["metric"]["id"] for series in frames["edges"]]
    assert len(ids) == len(set(ids)) > 0
    assert {
        end for series in frames["edges"] for end in (series["metric"]["source"], series["metric"]["target"])
    } <= nodes
