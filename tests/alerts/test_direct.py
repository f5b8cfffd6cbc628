"""Direct mode with a real collector and a real Alertmanager, and no Prometheus between them."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import trustme
from tests.alerts.catcher import Catcher
from tests.collector.records import Process
from tests.collector.served import Served
from tests.servers import Alertmanager, Prometheus

from lastspan.alerts.alertmanager import TELLING
from lastspan.alerts.build import build
from lastspan.alerts.settings import AlertSettings
from lastspan.examples.running import SilentServer

pytestmark = pytest.mark.long

STUCK: Final = "LastspanJobStuck"
QUICK: Final = {"timeout": "2s", "resend": "2s", "hold": "60s"}
ROUTE: Final = {"page": "webhook", "warning": "webhook"}


def served(folder: Path, *urls: str, **settings: Any) -> Served:
    """Start a collector that posts to *urls*, and remembers."""
    told = {"urls": list(urls), "alerts": {"keep_firing_for": "3s"}, **QUICK, **settings}
    config = {"rules": [{"match": {"kind": "http"}, "allowed": "5s"}], "data_dir": str(folder / "data")}
    (folder / "lastspan.yaml").write_text(json.dumps({**config, "alertmanager": told}))  # JSON is YAML too
    return Served(folder, "--config", str(folder / "lastspan.yaml"), grpc="off")


def alertmanager(caught: Catcher, **more: Any) -> Alertmanager:
    quick = {"group_wait": "1s", "group_interval": "1s"}
    built = build(AlertSettings(**quick, webhook_url=caught.url, route=ROUTE))  # type: ignore[arg-type]
    return Alertmanager(built["alertmanager.yml"], built["lastspan.tmpl"], **more)


class Direct:
    """A collector, an Alertmanager, and what comes of them."""

    def __init__(self, folder: Path, within: ExitStack) -> None:
        self._folder, self._within = folder, within
        self.caught = within.enter_context(Catcher())
        self.alertmanager = within.enter_context(alertmanager(self.caught))
        self.worker = Process()
        self.start()

    def start(self) -> None:
        """Start the collector, or another one after it, with the same memory."""
        self.collector = served(self._folder, f"http://{self.alertmanager.address}/")
        self._within.callback(self.collector.stop)

    def hang(self, number: int = 1) -> None:
        """A job is late in a call, which is another than that of any other number."""
        call = self.worker.http(number + 1, number, age=9.0, call_unbounded=True, server_address=f"peer-{number}")
        self.collector.post(self.worker.body(self.worker.job(number, age=9.0), call))

    def go_on(self, number: int = 1) -> None:
        """The call and the job end."""
        self.collector.post(self.worker.body(self.worker.closed(number + 1), self.worker.closed(number)))

    def pages(self, status: str = "firing") -> int:
        return len(self.caught.of(STUCK, status))

    def until(self, true: Callable[[], Any]) -> Any:
        return self.collector.until(true, 60)

    def known(self) -> list[dict[str, Any]]:
        """Return what Alertmanager knows, as it knows it."""
        return [alert for alert in self.alertmanager.execute("alerts") if alert["labels"]["alertname"] == STUCK]


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[Direct]:
    with ExitStack() as within:
        yield Direct(tmp_path, within)


def metric(collector: Served, name: str, **labels: str) -> float:
    """Return the sum of a metric's series that have these labels."""
    lines = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", collector.metrics(), re.MULTILINE)
    return sum(float(value) for told, value in lines if all(f'{k}="{v}"' in told for k, v in labels.items()))


def test_a_job_that_hangs_pages_is_told_again_and_its_end_ends_the_page(direct: Direct) -> None:
    direct.hang()
    direct.until(direct.pages)
    said = direct.caught.of(STUCK)[0]["alerts"][0]
    fact = "The HTTP call GET peer-1:443 has not returned and has no timeout."
    assert said["annotations"]["summary"] == f"tasks.charge is stuck. {fact}"
    assert said["labels"]["severity"] == "page"
    (first,) = direct.known()
    direct.until(lambda: direct.known()[0]["endsAt"] > first["endsAt"])
    direct.go_on()
    direct.until(lambda: direct.pages("resolved"))
    assert (direct.pages(), direct.pages("resolved")) == (1, 1)
    watchdogs = [one for one in direct.alertmanager.execute("alerts") if "Watchdog" in one["labels"]["alertname"]]
    assert len(watchdogs) == 1
    log = direct.collector.log.read_text()
    assert f"alerts are posted to {direct.alertmanager.address}\n" in log
    assert "HTTP Request" not in log  # one a second would hide the rest


def test_a_collector_that_is_killed_and_starts_again_is_no_second_page_and_no_false_end(direct: Direct) -> None:
    direct.hang()
    direct.until(direct.pages)
    (before,) = direct.known()
    direct.collector.stop(signal.SIGKILL)
    time.sleep(4)  # longer than an alert is kept, and than two tellings
    assert not direct.pages("resolved")
    direct.start()
    direct.until(lambda: direct.known()[0]["endsAt"] > before["endsAt"])
    assert direct.known()[0]["labels"] == before["labels"]
    time.sleep(4)
    assert (direct.pages(), direct.pages("resolved")) == (1, 0)
    direct.go_on()
    direct.until(lambda: direct.pages("resolved"))
    assert direct.pages() == 1


def test_an_alertmanager_that_is_away_gets_what_it_missed(direct: Direct) -> None:
    """One job ends and one begins to hang meanwhile; the one that hung before is no second page."""
    direct.hang(1)
    direct.hang(11)
    direct.until(lambda: direct.pages() == 2)
    server = direct.alertmanager.address
    direct.alertmanager.stop()
    direct.until(lambda: metric(direct.collector, "lastspan_collector_alerts_failures_total", reason="connection"))
    direct.go_on(11)
    direct.hang(21)
    direct.until(lambda: metric(direct.collector, "lastspan_collector_alerts_waiting", server=server) >= 2)
    assert metric(direct.collector, "lastspan_collector_verdict_age_seconds") < 10
    direct.alertmanager.start()
    direct.until(lambda: direct.pages() == 3 and direct.pages("resolved") == 1)
    direct.until(lambda: len(direct.known()) == 2)
    assert metric(direct.collector, "lastspan_collector_alerts_waiting") == 0
    time.sleep(3)
    assert (direct.pages(), direct.pages("resolved")) == (3, 1)
    assert "Traceback" not in direct.collector.log.read_text()


def test_a_storm_is_one_page_that_says_500(direct: Direct) -> None:
    """The alert that speaks for all is told first, and mutes the others."""
    records = []
    for number in range(1, 1001, 2):
        records.append(direct.worker.job(number, name=f"tasks.t{number % 30}", age=70.0))
        records.append(direct.worker.http(number + 1, number, age=65.0, call_unbounded=True))
    direct.collector.post(direct.worker.body(*records))
    direct.until(lambda: direct.caught.posts)
    time.sleep(4)  # what else would page has had its time
    assert [body["groupLabels"]["alertname"] for _, body in direct.caught.posts] == [TELLING[0]]
    (page,) = direct.caught.of(TELLING[0])[0]["alerts"]
    assert page["annotations"]["summary"].startswith("500 jobs stopped at GET api.example:443: ")
    assert len(direct.alertmanager.execute("alerts?inhibited=true&active=false")) == 200
    assert metric(direct.collector, "lastspan_collector_alerts_waiting") == 0


HOSTILE: Final = ('"} or vector(1) #', "{{ $labels.x }}", "a\nb\\n", "‮ 🦄 é", "<!channel>&", "x" * 4096)


def test_no_value_of_a_job_breaks_a_page(direct: Direct) -> None:
    """Each is a page of its own; what is longer than a label is cut."""
    worker, collector = direct.worker, direct.collector
    for number, value in enumerate(HOSTILE):
        job = worker.job(2 * number + 1, name=value, age=9.0, job_id=value, job_queue=value)
        named = {"name": value, "job_name": value, "job_id": value, "job_queue": value, "server_address": value[:200]}
        collector.post(worker.body(job, worker.http(2 * number + 2, 2 * number + 1, age=9.0, **named)))

    def paged() -> set[tuple[str, str]]:
        alerts = [alert for body in direct.caught.of(STUCK) for alert in body["alerts"]]
        return {(alert["labels"]["job_name"], alert["labels"]["queue"]) for alert in alerts}

    direct.until(lambda: paged() == {(value[:200], value[:200]) for value in HOSTILE})
    assert not metric(collector, "lastspan_collector_alerts_failures_total")


def test_prometheus_and_direct_mode_say_the_same(direct: Direct) -> None:
    """Labels and texts of all alerts about jobs, but for durations."""
    say_everything(direct.collector, direct.worker)
    with Prometheus(
        direct.collector.web.removeprefix("http://"), rules=build(AlertSettings())["rules.yml"]
    ) as prometheus:

        def told() -> tuple[set[str], set[str]]:
            sides = prometheus.alerts(), direct.alertmanager.execute("alerts")
            rules, posted = ({as_text(one) for one in side if about_a_job(one)} for side in sides)
            return rules, posted

        def is_all(texts: set[str]) -> bool:
            return all(any(name in text for text in texts) for name in TELLING)

        deadline = time.monotonic() + 30
        while not (is_all((found := told())[0]) and found[0] == found[1]) and time.monotonic() < deadline:
            time.sleep(0.5)
    rules, posted = found
    assert is_all(rules)
    assert rules == posted


def say_everything(collector: Served, worker: Process) -> None:
    """Five jobs stop at one call, two wait for a lock, two for each other, and the worker of another one is gone."""
    for number in (1, 3, 5, 7, 9):
        code = {"code_function_name": "send", "code_file_path": "/srv/mail.py", "code_line_number": 8}
        call = worker.http(number + 1, number, age=9.0, call_unbounded=True, **code)
        collector.post(worker.body(worker.job(number, age=9.0 + number), call))
    for number in (21, 23, 31, 33):
        lock: dict[str, Any] = {"wait_kind": "lock", "lock_name": "stock", "lock_holder_thread": "MainThread"}
        if number > 30:
            lock = {"wait_kind": "lock", "lock_name": f"l{number}", "lock_cycle": ["a", "b"]}
        wait = worker.span(number + 1, number, age=3999.0, **lock)
        collector.post(worker.body(worker.job(number, age=4000.0 + number), wait))
    gone = Process(id="00000000000000bb", pid=200, host="host-2", worker_id="worker-2", interval=0.5)
    collector.post(gone.body(gone.job(41, age=3.0)))


def about_a_job(alert: dict[str, Any]) -> bool:
    return "incident" in alert["labels"]


def as_text(alert: dict[str, Any]) -> str:
    told = {key: value for key, value in alert["annotations"].items() if value}
    text = json.dumps([alert["labels"], told], sort_keys=True, ensure_ascii=False)
    return re.sub(r"(no activity for:) [^\\]+", r"\1 …", text)  # by clocks that are not read at once


def test_a_server_that_never_answers_costs_a_counter_and_delays_nobody(tmp_path: Path) -> None:
    silent = SilentServer()
    with Catcher() as caught, alertmanager(caught) as other:
        collector = served(tmp_path, silent.url, f"http://{other.address}")
        worker = Process()
        call = worker.http(2, 1, age=9.0, call_unbounded=True)
        collector.post(worker.body(worker.job(1, age=9.0), call))
        collector.until(lambda: caught.of(STUCK), 60)
        collector.until(lambda: metric(collector, "lastspan_collector_alerts_failures_total", reason="timeout"), 60)
        assert metric(collector, "lastspan_collector_verdict_age_seconds") < 10
        assert collector.stop() == 0
    silent.close()
    assert collector.log.read_text().count("alerts cannot be posted") == 1


BCRYPT: Final = "$2b$04$CepYIRU4nhjVuOm02EebaOKvR0wH2hCoA./PeGxyiHXc66sNzgaZm"
"""Of `pw-of-lastspan`."""


def test_tls_and_a_password_that_is_rotated(tmp_path: Path) -> None:
    """With the wrong password nothing is told, and nothing of it is said; the file's next content is used."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    password = tmp_path / "password"
    password.write_text("wrong-one\n")
    web = {
        "tls_server_config": {"cert_file": "server.pem", "key_file": "server.pem"},
        "basic_auth_users": {"lastspan": BCRYPT},
    }
    with Catcher() as caught, alertmanager(caught, web=json.dumps(web), files=[tmp_path / "server.pem"]) as server:
        secret = {"username": "lastspan", "password_file": str(password), "ca_file": str(tmp_path / "ca.pem")}
        collector = served(tmp_path, f"https://{server.address}", **secret)
        worker = Process()
        collector.post(worker.body(worker.job(1, age=9.0), worker.http(2, 1, age=9.0, call_unbounded=True)))
        collector.until(lambda: metric(collector, "lastspan_collector_alerts_failures_total", reason="status_401"), 60)
        password.write_text("pw-of-lastspan\n")
        collector.until(lambda: caught.of(STUCK), 60)
        assert collector.stop() == 0
    assert "wrong-one" not in collector.log.read_text()
