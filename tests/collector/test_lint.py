"""What will hang one day: found before it does, told to people, and never a reason to wake them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.collector.held import Held
from tests.collector.records import Process, sessions

from lastspan.collector.judge.lint import LIMIT, RULES, Finding
from lastspan.collector.model.records import DatabaseSession
from lastspan.collector.publish.text.wiring import wiring
from lastspan.semconv import attributes as a
from lastspan.semconv import events

DAY = 24 * 3600


@pytest.fixture
def held() -> Held:
    return Held(rules=[{"match": {"job_name": "tasks.charge"}, "allowed": "10m"}])


def seen(worker: Process, **values: Any) -> Any:
    """A worker has seen a call."""
    facts: dict[str, Any] = {a.JOB_NAME: "tasks.charge", a.SPAN_NAME: "GET", a.WAIT_PEER: "api:443"}
    facts |= {a.CODE_FILE: "/srv/app/pay/api.py", a.CODE_LINE: 7, a.CALL_UNBOUNDED: True}
    return worker.record(events.CALL_SEEN, facts | values)


def of_rule(held: Held, rule: str) -> list[Finding]:
    held.tick()
    return [finding for finding in held.view.findings() if finding.rule == rule]


def test_a_call_without_timeout(held: Held) -> None:
    """By code line and peer, once, however often it is seen; until it has one."""
    worker = Process()
    held.tell(worker, seen(worker), seen(worker), seen(worker, **{a.WAIT_PEER: "other:443"}))
    first, second = of_rule(held, "call_without_timeout")
    assert (first.job_name, first.where, first.peer) == ("tasks.charge", "pay/api.py:7", "api:443")
    assert first.text == (
        "the call GET to api:443 at pay/api.py:7 has no timeout: if the peer does not answer, the job hangs forever"
    )
    assert second.peer == "other:443"
    held.tell(worker, seen(worker, **{a.CALL_UNBOUNDED: False, a.CALL_TIMEOUT: 30.0}))
    assert [finding.peer for finding in of_rule(held, "call_without_timeout")] == ["other:443"]


def test_what_is_not_seen_again_is_forgotten(held: Held) -> None:
    worker = Process()
    held.tell(worker, seen(worker))
    held.now_ns += (DAY + 1) * 1_000_000_000
    assert of_rule(held, "call_without_timeout") == []


def test_a_late_call_is_a_finding_though_it_has_ended(held: Held) -> None:
    worker = Process()
    code = {"code_file_path": "/srv/app/pay/api.py", "code_line_number": 7}
    held.tell(worker, worker.job(1, age=100.0), worker.http(2, 1, age=90.0, call_unbounded=True, **code))
    held.tick()
    held.tell(worker, worker.closed(2), worker.closed(1))
    (finding,) = of_rule(held, "call_without_timeout")
    assert (finding.where, finding.peer) == ("pay/api.py:7", "api.example:443")


def test_a_wait_for_a_queue_is_no_call(held: Held) -> None:
    """A worker that waits for work without a timeout does what it should."""
    worker = Process()
    held.tell(worker, worker.job(1, age=700.0, wait_kind="queue", wait_unbounded=True))
    assert of_rule(held, "call_without_timeout") == []


@pytest.mark.parametrize(
    ("values", "rules"),
    [
        # Allowed are 10 min.
        ({"job_timeout": 900.0}, set()),
        ({}, {"job_without_limit"}),
        # The queue gives it out again while it may still run …
        ({"job_timeout": 900.0, "job_acks_late": True, "job_redelivery_after": 300.0}, {"redelivery_too_early"}),
        # … but not if it was acked before it ran, or if we do not know.
        ({"job_timeout": 900.0, "job_acks_late": False, "job_redelivery_after": 300.0}, set()),
        ({"job_timeout": 900.0, "job_redelivery_after": 300.0}, set()),
        # After a crash it stays lost for more than three times as long as it takes.
        ({"job_timeout": 900.0, "job_acks_late": True, "job_redelivery_after": 1800.0}, set()),
        ({"job_timeout": 900.0, "job_acks_late": True, "job_redelivery_after": 1801.0}, {"redelivery_too_late"}),
        ({"job_timeout": 900.0, "job_redelivery_after": 1801.0}, {"redelivery_too_late"}),
        # Acked late, and lost all the same when its process is killed.
        ({"job_timeout": 900.0, "job_acks_late": True, "job_on_lost": "ack"}, {"not_given_back"}),
        ({"job_timeout": 900.0, "job_acks_late": True, "job_on_lost": "requeue"}, set()),
        ({"job_timeout": 900.0, "job_acks_late": False, "job_on_lost": "ack"}, set()),
    ],
)
def test_settings_of_the_queue(held: Held, values: dict[str, Any], rules: set[str]) -> None:
    worker = Process()
    held.tell(worker, worker.job(1, **values))
    assert {finding.rule for finding in held.view.findings()} == rules
    assert {finding.rule for finding in held.job("id-1").lint} == rules


def test_a_declared_duration_is_what_counts_for_its_job(held: Held) -> None:
    worker = Process()
    values: dict[str, Any] = {"job_timeout": 900.0, "job_acks_late": True, "job_redelivery_after": 1801.0}
    held.tell(worker, worker.job(1, span_expected_duration=1200.0, **values))
    assert held.job("id-1").lint == []


@pytest.mark.parametrize(
    ("state", "since", "found"),
    [
        ("idle in transaction", 61.0, True),
        ("idle in transaction (aborted)", 61.0, True),
        ("idle in transaction", 59.0, False),
        ("idle in transaction", None, False),
        ("active", 600.0, False),
        ("idle", 600.0, False),
    ],
)
def test_a_long_transaction(held: Held, state: str, since: float | None, found: bool) -> None:
    """Of a job that runs and is late for nothing: what it has locked stays locked."""
    worker = Process()
    held.tell(worker, worker.job(1, job_timeout=9.0, **sessions(("postgresql", "db:5432", "31", ""))))
    held.pipeline.database_facts("db:5432", [DatabaseSession("db:5432", "31", state=state, since_xact_s=since)])
    assert bool(of_rule(held, "long_transaction")) == found
    assert bool(held.job("id-1").lint) == found


def test_it_is_bounded(held: Held) -> None:
    """However many calls there are, and job names."""
    worker = Process()
    for line in range(LIMIT + 100):
        held.tell(worker, seen(worker, **{a.CODE_LINE: line}))
    assert len(held.view.findings()) == LIMIT
    for number in range(1, 300):
        held.tell(worker, worker.job(number, name=f"tasks.{number}"))
    assert len(held.view.findings()) == LIMIT


def test_at_metrics(held: Held) -> None:
    """A count by rule and job; never a page."""
    worker = Process()
    held.tell(worker, seen(worker), seen(worker, **{a.CODE_LINE: 8}), worker.job(1))
    page = held.metrics()
    labels = (
        'environment="test",job_name="tasks.charge",rule="call_without_timeout",service="billing",severity="warning"'
    )
    assert f"lastspan_lint_findings{{{labels}}} 2.0" in page
    assert held.states() == {"running": 1}
    assert set(RULES.values()) <= {"info", "warning"}


def test_wiring() -> None:
    """Each line says what was found; what is not fine says what to do."""
    fine = {
        "version": "1",
        "services": [{"service": "billing", "environment": "", "processes": {"running": 2}, "unseen_frameworks": []}],
        "without_jobs": [{"service": "web", "environment": "", "frameworks": [], "consumes": False}],
        "received": {"lastspan.span.open": 3, "ignored": 9},
        "dropped": {},
        "jobs": {},
        "open_spans": 1,
        "open_spans_limit": 10,
        "verdict_age_s": 0.2,
        "blind": False,
        "probe_failures": {},
    }
    lines = wiring(fine, "http://x")
    assert all(line.is_fine for line in lines)
    assert [line.found for line in lines if line.what in ("workers", "records")] == ["billing: 2 running", "3 received"]
    broken: list[dict[str, Any]] = [
        {"services": []},
        {"services": [{"service": "", "environment": "", "processes": {"lost": 1}, "unseen_frameworks": []}]},
        {"services": [{"service": "x", "environment": "", "processes": {"running": 1}, "unseen_frameworks": ["rq"]}]},
        {"without_jobs": [{"service": "x", "environment": "", "frameworks": ["celery"], "consumes": True}]},
        {"without_jobs": [{"service": "x", "environment": "", "frameworks": ["rq"], "consumes": False}]},
        {"without_jobs": [{"service": "x", "environment": "", "frameworks": [], "consumes": True}]},
        {"dropped": {"bad_id": 1}},
        {"open_spans": 10},
        {"verdict_age_s": 60.0},
        {"blind": True},
        {"probe_failures": {"db:5432: timeout": 1}},
    ]
    for change in broken:
        problems = [line for line in wiring(fine | change, "http://x") if not line.is_fine]
        assert len(problems) == 1, change
        assert problems[0].advice
