"""From records to the webhook, with a real collector, Prometheus and Alertmanager: one page, and no false end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.alerts.catcher import Catcher
from tests.alerts.test_rules import NASTY
from tests.collector.records import Process
from tests.collector.served import Served
from tests.servers import Alertmanager, Prometheus

from lastspan.alerts.build import build
from lastspan.alerts.settings import AlertSettings

pytestmark = pytest.mark.long

QUICK = {"keep_firing_for": "5s", "learning": "3s", "group_wait": "1s", "group_interval": "1s"}


class Stack:
    """All of it; alerts come to `caught`."""

    def __init__(self, folder: Path, within: ExitStack) -> None:
        rules = folder / "lastspan.yaml"
        rules.write_text("rules: [{match: {kind: http}, allowed: 5s}]\n")
        self.caught = within.enter_context(Catcher())
        self.collector = Served(folder, "--config", str(rules), grpc="off")
        within.callback(self.collector.stop)
        settings = AlertSettings(**QUICK, webhook_url=self.caught.url, route={"page": "webhook", "warning": "webhook"})  # type: ignore[arg-type]
        built = build(settings)
        alertmanager = within.enter_context(Alertmanager(built["alertmanager.yml"], built["lastspan.tmpl"]))
        web = self.collector.web.removeprefix("http://")
        self.prometheus = within.enter_context(
            Prometheus(web, rules=built["rules.yml"], alertmanager=alertmanager.address)
        )


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with ExitStack() as within:
        yield Stack(tmp_path, within)


def test_a_storm_is_one_page_that_says_500_and_does_not_end_while_the_collector_is_dead(stack: Stack) -> None:
    worker = Process()
    records = []
    for number in range(1, 1001, 2):
        records.append(worker.job(number, name=f"tasks.t{number % 30}", age=70.0))
        records.append(worker.http(number + 1, number, age=65.0, call_unbounded=True))
    stack.collector.post(worker.body(*records))
    many = "LastspanManyJobsStopAtOneThing"
    stack.collector.until(lambda: stack.caught.of(many), 60)
    time.sleep(5)  # what else would page has had its time
    assert [body["groupLabels"]["alertname"] for _, body in stack.caught.posts] == [many]
    page = stack.caught.of(many)[0]["alerts"][0]
    assert page["annotations"]["summary"].startswith("500 jobs stopped at GET api.example:443: ")
    stack.collector.process.kill()
    stack.collector.until(lambda: stack.prometheus.execute('ALERTS{alertname="LastspanBlind"}'), 20)
    time.sleep(15)  # three times as long as an alert is kept
    assert not stack.caught.of(many, "resolved")
    assert len(stack.caught.posts) == 1


def test_a_job_that_hangs_pages_and_its_end_ends_the_page(stack: Stack) -> None:
    worker = Process()
    stack.collector.post(worker.body(worker.job(1, age=70.0), worker.http(2, 1, age=65.0, call_unbounded=True)))
    stack.collector.until(lambda: stack.caught.of("LastspanJobStuck"), 60)
    said = stack.caught.of("LastspanJobStuck")[0]["alerts"][0]["annotations"]
    assert (
        said["summary"]
        == "tasks.charge is stuck. The HTTP call GET api.example:443 has not returned and has no timeout."
    )
    assert "\nwhat to do first: Check whether api.example:443 is healthy" in said["description"]
    assert "no activity for" in said["description"]
    stack.collector.post(worker.body(worker.closed(2, "ok"), worker.closed(1, "ok")))
    stack.collector.until(lambda: stack.caught.of("LastspanJobStuck", "resolved"), 60)
    assert len(stack.caught.posts) == 2


def test_a_job_that_goes_on_and_hangs_again_is_one_page_and_later_another(stack: Stack) -> None:
    """Within `keep_firing_for` it is one page, without an end between; after its end it is a page anew."""
    worker, collector, caught = Process(), stack.collector, stack.caught

    def pages() -> tuple[int, int]:
        return len(caught.of("LastspanJobStuck")), len(caught.of("LastspanJobStuck", "resolved"))

    def hang(number: int) -> None:
        collector.post(worker.body(worker.http(number, 1, age=9.0, call_unbounded=True)))

    def go_on(number: int) -> None:
        collector.post(worker.body(worker.closed(number)))
        collector.until(lambda: "lastspan_job_stuck{" not in collector.metrics())

    collector.post(worker.body(worker.job(1, age=70.0)))
    hang(2)
    collector.until(lambda: pages() == (1, 0), 60)
    for number in (2, 3):
        go_on(number)
        time.sleep(2)  # Prometheus looks each second, and sees that it is not stuck
        hang(number + 1)
        collector.until(lambda: "lastspan_job_stuck{" in collector.metrics())
    time.sleep(8)  # longer than an alert is kept
    assert pages() == (1, 0)
    go_on(4)
    collector.until(lambda: pages() == (1, 1), 60)
    hang(5)
    collector.until(lambda: pages() == (2, 1), 60)


def test_names_that_would_break_rules_templates_or_routes_are_pages_like_any_other(stack: Stack) -> None:
    """Through the servers themselves, each name as it is: nothing is expanded, and every link leads to the job."""
    worker = Process()
    names = [name[:4096] for name in NASTY]  # the longest that is taken
    for number, name in enumerate(names):
        job = worker.job(10 * number, name=name, age=70.0, job_id=name, job_queue=name)
        told = {"name": name, "job_name": name, "job_id": name, "job_queue": name, "call_unbounded": True}
        call = worker.http(10 * number + 1, 10 * number, age=65.0, server_address=f"h{number}.example", **told)
        stack.collector.post(worker.body(job, call))
    stack.collector.until(lambda: len(stack.caught.of("LastspanJobStuck")) == len(names), 60)
    alerts = [one for page in stack.caught.of("LastspanJobStuck") for one in page["alerts"]]
    assert {one["labels"]["job_name"][:100] for one in alerts} == {name[:100] for name in names}  # labels are cut
    for one in alerts:
        summary = one["annotations"]["summary"]
        assert summary.startswith(one["labels"]["job_name"][:39])
        assert " is stuck. The HTTP call " in summary
        assert len(summary) <= 100
        assert one["annotations"]["incident_url"].endswith(f"/jobs/{one['labels']['job_key']}")
        assert not [text for text in one["annotations"].values() if "error expanding" in text.lower()]
