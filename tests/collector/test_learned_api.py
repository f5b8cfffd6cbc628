"""`lastspan learn` and the verdicts that follow from what was learned, with a real collector and a held one."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.collector.held import Held
from tests.collector.records import Process
from tests.collector.served import Served, lastspan

from lastspan.collector.publish.learned import import_learned
from lastspan.collector.serve.config import check


@pytest.fixture
def taught(tmp_path: Path) -> Iterator[Served]:
    """A collector to which 400 runs of 41 s were told, each with two calls."""
    served, worker = Served(tmp_path, "--data-dir", "memory"), Process()
    served.post(
        worker.body(
            worker.durations("ok", 400, seconds=41.0),
            worker.durations("ok", 800, seconds=0.2, span_name="GET"),
            worker.durations("error", 50, seconds=900.0, span_name="GET"),
            worker.durations("killed", 50, seconds=9000.0),
            worker.durations("ok", 5, seconds=100.0, span_name="SELECT *"),
        )
    )
    yield served
    served.stop(signal.SIGKILL)


def test_explain_says_which_rule_decided_and_with_which_numbers(taught: Served) -> None:
    worker = Process(id="b")
    taught.post(worker.body(worker.job(1, age=300), worker.http(2, 1, age=121)))
    said = taught.until(lambda: taught.jobs()["id-1"])
    assert (said["state"], said["basis"], said["severity"]) == ("stuck", "learned", "page")
    assert said["basis_rule"] == "learned: p99 of 800 runs is 201 ms × 5.19, but at least 2 min"
    told = lastspan("explain", "id-1", "--url", taught.web)
    assert "allowed" in told.stdout
    assert "(learned: p99 of 800 runs is 201 ms × 5.19, but at least 2 min)" in told.stdout


def test_show(taught: Served) -> None:
    shown = lastspan("learn", "show", "--url", taught.web)
    assert shown.returncode == 0, shown.stderr
    assert "p99 of 400 runs is 43 s × 5.38" in " ".join(shown.stdout.split())
    assert "few runs: it may lift the default" in " ".join(shown.stdout.split())
    rows = json.loads(lastspan("learn", "show", "--json", "--job", "tasks.charge", "--url", taught.web).stdout)
    assert [(row["span_name"], row["runs"], row["is_hint"]) for row in rows["learned"]] == [
        (None, 400, False),
        ("GET", 800, False),
        ("SELECT *", 5, True),
    ]
    assert "Nothing is learned yet" in lastspan("learn", "show", "--service", "x", "--url", taught.web).stdout


def test_export_import_and_reset(taught: Served, tmp_path: Path) -> None:
    """What is taken along and brought back is the same; after a reset it is gone, after a restart too."""
    file, before = tmp_path / "learned.json", taught.api("/api/v1/learned")
    assert lastspan("learn", "export", "--output", str(file), "--url", taught.web).returncode == 0
    refused = lastspan("learn", "reset", "--url", taught.web)
    assert (refused.returncode, refused.stderr) == (2, "lastspan: choose what to forget: --service, --job, or --all\n")
    assert lastspan("learn", "reset", "--all", "--url", taught.web).stdout == "3 jobs and calls were forgotten\n"
    assert taught.api("/api/v1/learned")["learned"] == []
    taught.stop()
    again = Served(tmp_path, "--data-dir", "memory")
    try:
        assert again.api("/api/v1/learned")["learned"] == []
        done = lastspan("learn", "import", str(file), "--url", again.web)
        assert done.stdout == "3 jobs and calls were imported\n", done.stderr
        assert again.api("/api/v1/learned") == before
        file.write_text('{"learned": [{"x": 1}]}')
        bad = lastspan("learn", "import", str(file), "--url", again.web)
        assert bad.returncode == 2
        assert bad.stderr.startswith("lastspan: this is not an export of `lastspan learn`: ")
    finally:
        again.stop(signal.SIGKILL)


def test_rules_for_review(taught: Served) -> None:
    """They are a settings file that allows the same; names with stars in them are meant as they are."""
    worker = Process(id="c")
    taught.post(worker.body(worker.durations("ok", 300, seconds=400.0, span_name="SELECT [*]")))
    text = lastspan("learn", "export", "--rules", "--url", taught.web).stdout
    assert "# learned: p99 of 400 runs is 43 s × 5.38 (test)" in text
    rules = yaml.safe_load(text)["rules"]
    check({"rules": rules}, "test")
    assert rules[-1] == {"match": {"service": "billing", "job_name": "tasks.charge"}, "allowed": "4m"}
    held = Held(rules=rules)
    held.tell(worker, worker.job(1, age=1400), worker.span(2, 1, name="SELECT [*]", age=1300))
    job = held.job("id-1")
    assert 2000 < job.last_span.allowed_s < 2500


def test_rules_of_two_environments_and_of_no_service(taught: Served) -> None:
    """A rule knows no environment: it allows what any of them needs; and no line of a name is a line of the file."""
    worker = Process(id="d", service="", resource={"deployment.environment.name": "x\nrules: []\n"})
    taught.post(worker.body(worker.durations("ok", 400, seconds=90.0, job_name="a"), worker.durations("ok", 1)))
    other = Process(id="e", service="", resource={"deployment.environment.name": "y"})
    taught.post(other.body(other.durations("ok", 400, seconds=900.0, job_name="a")))
    rules = yaml.safe_load(lastspan("learn", "export", "--rules", "--url", taught.web).stdout)["rules"]
    assert [rule for rule in rules if rule["match"]["job_name"] == "a"] == [
        {"match": {"service": "", "job_name": "a"}, "allowed": "88m"}
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"runs": [[900, 1]]}, "its runs are out of range"),
        ({"runs": [[1, -1]]}, "its runs are out of range"),
        ({"longest": 1e9}, "its longest runs are out of range"),
        ({"slow": 1e300}, "its counts are out of range"),
        ({"age_ns": 1 << 63}, "its age is out of range"),
        ({"job_name": "x" * 5000}, "its names are too long"),
        ({"versions": ["1"] * 99}, "its versions too many"),
        ({"runs": [[1, "x"]]}, "Expected `float`, got `str`"),
    ],
)
def test_an_import_that_cannot_be_is_refused_whole(change: dict[str, object], words: str) -> None:
    good = {"environment": "", "service": "s", "job_name": "a", "span_name": None, "runs": [[10, 50]]}
    held = Held()
    body = json.dumps({"format": 1, "learned": [good, good | change]}).encode()
    with pytest.raises(ValueError, match=words):
        import_learned(held.pipeline, body)
    assert held.tracker.learner.rows == {}


def test_an_import_counts_what_found_room() -> None:
    held = Held(learning={"max_keys": 3})
    rows = [
        {"environment": "", "service": "s", "job_name": f"job-{number}", "span_name": None, "runs": [[10, 50]]}
        for number in range(5)
    ]
    assert import_learned(held.pipeline, json.dumps({"format": 1, "learned": rows}).encode()) == 3


def test_another_sites_page_cannot_change_what_is_learned(taught: Served) -> None:
    url = taught.web + "/api/v1/learned"
    assert taught.http.post(url, data=b"{}", headers={"Content-Type": "text/plain"}, timeout=5).status_code == 415


def test_declared_then_rule_then_learned_then_default() -> None:
    held = Held(rules=[{"match": {"attributes": {"server.address": "slow.*"}}, "allowed": "5m"}])
    worker = Process()

    def allowed_s(number: int, **values: object) -> float:
        held.tell(worker, worker.job(number, age=130), worker.http(1000 + number, number, age=125, **values))
        return held.job(f"id-{number}").last_span.allowed_s

    assert allowed_s(1) == 60.0
    held.tell(worker, worker.durations("ok", 400, seconds=2.0, span_name="GET"))
    assert allowed_s(2) == 120.0
    assert held.job("id-2").basis == "learned"
    assert allowed_s(3, server_address="slow.example") == 300.0
    assert allowed_s(4, server_address="slow.example", span_expected_duration=7.0) == 7.0


def test_few_runs_lift_a_default_and_never_lower_it() -> None:
    held, worker = Held(), Process()
    held.tell(worker, worker.durations("ok", 4, seconds=0.2, span_name="GET"))
    held.tell(worker, worker.durations("ok", 4, seconds=100.0, span_name="SELECT"))
    held.tell(worker, worker.job(1, age=200), worker.http(2, 1, age=61), worker.job(3, age=200))
    held.tell(worker, worker.http(4, 3, name="SELECT", age=61))
    assert (held.job("id-1").state, held.job("id-1").basis) == ("stuck", "default")
    assert held.job("id-3").state == "running"
    assert held.job("id-3").last_span.allowed_s == 600.0, "ten times the default, and no more"


def test_a_service_does_not_learn_from_another() -> None:
    held, worker, other = Held(), Process(), Process(id="b", service="shop")
    held.tell(worker, worker.durations("ok", 400, seconds=2.0))
    held.tell(other, other.job(1, age=40))
    held.tell(worker, worker.job(2, age=40))
    assert (held.job("id-1").basis, held.job("id-2").basis) == ("default", "learned")
