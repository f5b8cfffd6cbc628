"""The whole way, with nothing made up: a job of a real Celery worker hangs, and the page says where and why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.alerts.catcher import Catcher
from tests.servers import Alertmanager, Prometheus

from lastspan.alerts.build import build
from lastspan.alerts.settings import AlertSettings
from lastspan.examples import shop
from lastspan.examples.demo import RULES
from lastspan.examples.running import Collector, Running

STUCK = "LastspanJobStuck"
SECONDS = 120


class Demo:
    """A worker, a collector, Prometheus, Alertmanager; alerts come to `caught`."""

    def __init__(self, running: Running, within: ExitStack) -> None:
        self.running = running
        self.caught = within.enter_context(Catcher())
        self.collector: Collector = running.collector("--config", str(RULES))
        running.celery(self.collector.otlp, concurrency=2)
        settings = AlertSettings(
            keep_firing_for="5s", learning="3s", group_wait="1s", group_interval="1s",
            webhook_url=self.caught.url, route={"page": "webhook", "warning": "webhook"},
        )  # fmt: skip
        built = build(settings)
        alertmanager = within.enter_context(Alertmanager(built["alertmanager.yml"], built["lastspan.tmpl"]))
        web = self.collector.web.removeprefix("http://")
        within.enter_context(Prometheus(web, rules=built["rules.yml"], alertmanager=alertmanager.address))

    def enqueue(self, task: str) -> str:
        """Give the worker a job; return its id."""
        app = shop.make_app(None, str(self.running.folder / "broker"))
        return str(app.send_task(f"shop.{task}").id)

    def until(self, status: str, seconds: float) -> None:
        """Wait for what the webhook gets of a stuck job."""
        deadline = time.monotonic() + seconds
        while not self.caught.of(STUCK, status):
            assert time.monotonic() < deadline, self.running.tail()
            time.sleep(0.1)


@pytest.fixture
def demo() -> Iterator[Demo]:
    with Running() as running, ExitStack() as within:
        yield Demo(running, within)


@pytest.mark.timeout(300)
def test_a_job_hangs_the_page_says_why_and_its_end_ends_the_page(demo: Demo) -> None:
    """The peer of a call without timeout is silent. It hangs up, the job fails, the page is over in a minute."""
    job_id = demo.enqueue("charge_card")
    demo.until("firing", SECONDS)
    (alert,) = demo.caught.of(STUCK)[0]["alerts"]
    said, line = alert["annotations"], _line_of("requests.get(SILENT_SERVER")
    peer = demo.running.silent.url.partition("://")[2].rstrip("/")
    fact = f"The HTTP call GET {peer} has not returned and has no timeout."
    assert said["summary"] == f"shop.charge_card is stuck. {fact}"
    assert said["description"].startswith(f"shop.charge_card {job_id}, queue celery, service shop, demo\n")
    assert f"\nwhy: {fact} The job stopped at " in said["description"]
    assert f"\nwhat to do first: Check whether {peer} is healthy; then give the call a timeout" in said["description"]
    assert f"\nstopped at: GET {peer}\n" in said["description"]
    assert f"\ncode: charge_card {shop.__file__}:{line}\n" in said["description"]
    assert (said["last_span"], said["cause"]) == ("GET", "http_no_timeout")
    assert said["incident_url"].endswith(f"/jobs/{alert['labels']['job_key']}")
    assert alert["labels"]["severity"] == "page"

    demo.running.silent.close()
    demo.until("resolved", 60)
    assert len(demo.caught.posts) == 2


def _line_of(text: str) -> int:
    """Return the number of the line of the shop that holds *text*."""
    with open(shop.__file__, encoding="utf-8") as lines:
        return next(number for number, line in enumerate(lines, start=1) if text in line)
