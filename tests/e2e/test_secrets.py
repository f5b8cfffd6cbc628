"""Jobs that hang with secrets in their hands: none is in what is sent, counted, shown or logged.

The program of `tests/instrumentation/programs/secrets.py` has them in spans; here they are where evidence is taken.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest
import requests
from tests.sink import Sink

from lastspan.examples.running import Collector, Running, program

SECRET = "hunter2"
PROGRAM = """
import os, queue, sqlite3, subprocess, sys, threading, time, urllib.request

from lastspan.instrumentation import job

SECRET = os.environ["PASSWORD"]
SILENT = os.environ["SHOP_SILENT_SERVER"]


class Vault:
    "An object that gives itself away when somebody asks what it is."

    def __init__(self):
        self.lock, self.password, self.event = threading.Lock(), SECRET, threading.Event()

    def __repr__(self):
        return f"Vault({self.password})"

    def keep(self):
        with self.lock:
            self.event.wait()


VAULT, BY_NAME = Vault(), {SECRET: threading.Lock()}


@job("asks")
def asks(password):
    address = SILENT.replace("//", f"//user:{password}@") + f"pay;{password}?token={password}#{password}"
    request = urllib.request.Request(address.replace(f"user:{password}@", ""), headers={"X-Token": password})
    urllib.request.urlopen(request)


@job("locks")
def locks(password):
    with VAULT.lock:
        pass


@job("locks by name")
def locks_by_name(password):
    BY_NAME[password].acquire()


@job("takes")
def takes(password):
    orders = queue.Queue()
    orders.put(password)
    orders.get()
    orders.get()


@job("counts")
def counts(password):
    while True:
        password = password[::-1]


@job("queries")
def queries(password):
    holder = sqlite3.connect("vault.db", check_same_thread=False)
    holder.execute("create table if not exists users (name)")
    holder.execute("begin exclusive")
    cursor = sqlite3.connect("vault.db", timeout=600).cursor()
    cursor.execute("insert into users values (?)", (password,))


@job("runs")
def runs(password):
    subprocess.run([sys.executable, "-c", "import sys, time; sys.argv; time.sleep(600)", password], env={"P": password})


BY_NAME[SECRET].acquire()
threading.Thread(target=VAULT.keep, name="keeper", daemon=True).start()
for function in (asks, locks, locks_by_name, takes, counts, queries, runs):
    threading.Thread(target=function, args=(SECRET,), daemon=True).start()
time.sleep(600)
"""
JOBS = {"asks", "locks", "locks by name", "takes", "counts", "queries", "runs"}


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


def worker(running: Running, url: str) -> None:
    running.python(PROGRAM, url, environ={"PASSWORD": SECRET, "PGPASSWORD": SECRET, "OTEL_TRACES_EXPORTER": "none"})


def test_no_secret_is_sent(running: Running, sink: Sink) -> None:
    """Local variables, arguments, headers, URLs, bound values, environment, objects that print themselves."""
    worker(running, sink.url)
    deadline = time.monotonic() + 30
    while {record.get("lastspan.job.name") for record in sink.records if record.get("lastspan.wait.kind")} < (
        JOBS - {"counts"}
    ):
        assert time.monotonic() < deadline, {record.get("lastspan.job.name") for record in sink.records}
        time.sleep(0.2)
    time.sleep(3)
    assert sink.requests
    assert [path for path, body in sink.requests if SECRET.encode() in body] == []
    assert SECRET not in running.tail(1000)


def test_no_secret_is_shown(running: Running, rules: str) -> None:
    """The API, /metrics, the pages, the logs, the command line."""
    collector = running.collector("--config", rules)
    worker(running, collector.otlp)
    deadline = time.monotonic() + 40
    while not {job["job_name"] for job in collector.jobs(state="stuck")} >= JOBS:
        assert time.monotonic() < deadline, [(job["job_name"], job["state"]) for job in collector.jobs()]
        time.sleep(0.2)
    for text in shown(collector):
        assert "Traceback" not in text
        assert SECRET not in text
    assert SECRET not in running.tail(1000)


def shown(collector: Collector) -> Iterator[str]:
    keys = [job["job_key"] for job in collector.jobs()]
    paths = ["/", "/metrics", "/api/v1/jobs", "/api/v1/lint", *(f"/api/v1/jobs/{key}" for key in keys)]
    for path in paths:
        answer = requests.get(collector.web + path, timeout=10)
        assert answer.ok, path
        yield answer.text
    for arguments in (["jobs", "--json"], ["jobs"], *(["explain", key] for key in keys)):
        yield subprocess.run(
            [program("lastspan"), *arguments, "--url", collector.web],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        ).stdout
