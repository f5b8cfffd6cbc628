"""Direct mode without sockets: what is wrong, which alerts are on, what waits to be told. The clock is held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.collector.held import SECOND, Held
from tests.collector.records import Process

from lastspan.alerts.settings import AlertSettings, with_pairs
from lastspan.collector.publish.alert.active_alerts import ALERTS, active_alerts
from lastspan.collector.publish.alert.model import ActiveAlert, AlertInput, IncidentSummary, Post, Suspect
from lastspan.collector.publish.alert.open_alerts import MAX_OPEN, OpenAlerts
from lastspan.collector.publish.alert.outbox import BATCH, MAX_WAITING, Outbox
from lastspan.collector.publish.chosen import chosen_incidents, chosen_suspects
from lastspan.collector.publish.jobs import job_view
from lastspan.collector.serve.config import ConfigError, check

NASTY = ['"} or vector(1) #', "{{ $labels.job_key }}", "a\nb\\n", "`%q`", "‮ 🦄 é", "<!channel>&", "x" * 4096]
MANY, DEADLOCK, LOST, HOLDER, STUCK, BLIND, WATCHDOG = ALERTS


# --- what is wrong --------------------------------------------------------------------------------------------------


def seen(held: Held, *, blind: bool = False, wall_s: float = 1_700_000_000.0) -> AlertInput:
    """Return what the pager sees now."""
    held.tick()
    view, known = held.view, held.view.known()
    rows = [job for job in chosen_suspects(view) if job.suspect_state is not None]
    suspects = [
        Suspect(job_view(view, job, wall=lambda: wall_s, context=known), job.suspect_state.since_ns)
        for job in rows
        if job.suspect_state is not None
    ]
    incidents = [
        IncidentSummary(name, one.environment, one.last_span, one.cause, len(one.jobs), one.severity.value)
        for name, one in chosen_incidents(view)
    ]
    return AlertInput(tuple(suspects), tuple(incidents), blind, held.now_ns)


def alerts(held: Held, *, blind: bool = False, **settings: str) -> dict[str, list[ActiveAlert]]:
    """Return what is wrong, by name of the alert, without the one that always is."""
    pairs = [f"{key.replace('__', '.')}={value}" for key, value in settings.items()]
    found: dict[str, list[ActiveAlert]] = {}
    for alert in active_alerts(seen(held, blind=blind), with_pairs(pairs, ALERTS), instance="here"):
        found.setdefault(dict(alert.labels)["alertname"], []).append(alert)
    assert len(found.pop(WATCHDOG)) == 1
    return found


def told(worker: Process, count: int, **call: Any) -> Iterator[Any]:
    """Yield the records of jobs that stopped at one call."""
    for number in range(1, 2 * count, 2):
        yield worker.job(number, age=70.0)
        yield worker.http(number + 1, number, age=65.0, call_unbounded=True, **call)


def test_a_healthy_job_is_no_alert(held: Held) -> None:
    worker = Process()
    held.tell(worker, worker.job(1, age=70.0), worker.http(2, 1, age=5.0))
    assert alerts(held) == {}


def test_a_stuck_job_has_the_labels_and_texts_of_the_rules(held: Held) -> None:
    worker = Process()
    held.tell(worker, *told(worker, 1))
    found = alerts(held)
    assert list(found) == [STUCK]
    (alert,) = found[STUCK]
    labels = dict(alert.labels)
    assert labels.pop("incident").startswith("http-")
    assert labels.pop("job_key").endswith("-0000000000000001")
    assert labels == {
        "alertname": STUCK, "severity": "warning", "environment": "test", "service": "billing",
        "job_name": "tasks.charge", "queue": "celery", "job_id": "id-1",
    }  # fmt: skip
    assert alert.annotations["summary"] == (
        "tasks.charge is stuck. The HTTP call GET api.example:443 has not returned and has no timeout."
    )
    assert alert.annotations["description"].splitlines() == [
        "tasks.charge id-1, queue celery, service billing, test",
        "why: The HTTP call GET api.example:443 has not returned and has no timeout.",
        "no activity for: 1m 10s, since 2023-11-14 22:12:10 UTC",
        "what to do first: Check whether api.example:443 is healthy; then give the call a timeout.",
        "stopped at: GET api.example:443",
        "host: host-1",
        "pid: 100",
    ]
    assert alert.annotations["runbook_url"].endswith("/runbooks/LastspanJobStuck")
    assert alert.annotations["incident_url"].endswith("-0000000000000001")


@pytest.mark.parametrize(("count", "is_many"), [(4, False), (5, True)])
def test_many_jobs_are_an_alert_of_their_own_which_comes_first(held: Held, count: int, is_many: bool) -> None:
    worker = Process()
    held.tell(worker, *told(worker, count))
    found = alerts(held)
    assert (MANY in found) is is_many
    assert len(found[STUCK]) == count
    if is_many:
        assert next(iter(found)) == MANY
        assert found[MANY][0].annotations["summary"].startswith("5 jobs stopped at GET api.example:443: ")
        first, oldest, why, still, *_, among, names = found[MANY][0].annotations["description"].splitlines()
        assert (first, oldest) == ("5 jobs in test", "the oldest: tasks.charge id-1")
        assert why == "why: The HTTP call GET api.example:443 has not returned and has no timeout."
        assert still.startswith("no activity for: 1m ")
        assert (among, names) == ("jobs by name:", "tasks.charge: 5")


def test_an_incident_pages_if_one_of_its_jobs_does(held: Held) -> None:
    worker = Process()
    held.tell(worker, *told(worker, 6))
    assert {dict(alert.labels)["severity"] for alert in alerts(held)[MANY]} == {"warning"}
    held.tell(worker, worker.job(99, age=4000.0), worker.http(100, 99, age=4000.0, call_unbounded=True))
    assert {dict(alert.labels)["severity"] for alert in alerts(held)[MANY]} == {"page"}


def test_a_lost_worker(held: Held) -> None:
    worker = Process()
    held.tell(worker, worker.job(1), worker.job(3))
    held.wait(46)
    (alert,) = alerts(held)[LOST]
    assert alert.annotations["summary"] == "a worker of billing on host-1 is lost, with 2 jobs open"
    assert dict(alert.labels)["severity"] == "page"


@pytest.mark.parametrize(("count", "fires"), [(1, False), (2, True)])
def test_who_holds_a_lock(held: Held, count: int, fires: bool) -> None:
    worker = Process()
    for number in range(1, 2 * count, 2):
        lock = {"wait_kind": "lock", "lock_name": "stock", "lock_holder_thread": "MainThread"}
        held.tell(worker, worker.job(number, age=70.0), worker.span(number + 1, number, age=65.0, **lock))
    found = alerts(held, blocked_at_least="2")
    assert (HOLDER in found) is fires
    if fires:
        holder = "thread MainThread of process 100 on host-1"
        assert found[HOLDER][0].annotations["summary"] == f"{holder} holds the lock that 2 jobs wait for"
        assert dict(found[HOLDER][0].labels)["lock_holder"] == holder


def test_a_deadlock(held: Held) -> None:
    worker = Process()
    for number in (1, 3):
        lock: dict[str, Any] = {"wait_kind": "lock", "lock_name": f"l{number}", "lock_cycle": ["a", "b"]}
        held.tell(worker, worker.job(number, age=70.0), worker.span(number + 1, number, age=65.0, **lock))
    (alert,) = alerts(held)[DEADLOCK]
    assert alert.annotations["summary"] == "2 jobs are in a deadlock"


def test_it_doubts_itself(held: Held) -> None:
    (alert,) = alerts(held, blind=True)[BLIND]
    assert (alert.wait_ns, alert.ours) == (60 * SECOND, True)


def test_thresholds_severities_and_links_are_those_that_were_set(held: Held) -> None:
    worker = Process()
    held.tell(worker, *told(worker, 2))
    found = alerts(
        held, many="2", severity__LastspanJobStuck="page", collector_url="https://l.example", grafana_url="https://g"
    )
    assert MANY in found
    stuck = found[STUCK][0]
    assert dict(stuck.labels)["severity"] == "page"
    assert stuck.annotations["incident_url"].startswith("https://l.example/jobs/")
    assert stuck.annotations["dashboard_url"].startswith("https://g/d/lastspan-job?var-job=")


@pytest.mark.parametrize("value", NASTY)
def test_no_value_of_a_job_breaks_an_alert(held: Held, value: str) -> None:
    """Labels are cut, never empty, valid; links hold no raw value."""
    worker = Process()
    facts = {"lock_name": value, "lock_holder_thread": value, "wait_kind": "lock"}
    held.tell(worker, worker.job(1, name=value, age=70.0, job_id=value, job_queue=value))
    held.tell(worker, worker.span(2, 1, name=value, age=65.0, job_name=value, job_id=value, **facts))
    (alert,) = alerts(held)[STUCK]
    assert all(text and len(text) <= 200 for _, text in alert.labels)
    assert all(len(text) < 2000 for text in alert.annotations.values())
    assert dict(alert.labels)["job_name"] == value[:200]
    assert value not in alert.annotations["incident_url"]


# --- which are on ---------------------------------------------------------------------------------------------------


def alert(name: str = "a", summary: str = "s", **more: Any) -> ActiveAlert:
    return ActiveAlert((("alertname", name),), {"summary": summary}, 0, **more)


class Open:
    """Open alerts on a clock in seconds: resend 60, hold 900, keep 60."""

    def __init__(self) -> None:
        self.open = OpenAlerts(resend_ns=60 * SECOND, hold_ns=900 * SECOND, keep_ns=60 * SECOND)

    def at(self, second: int, *alerts: ActiveAlert) -> list[tuple[str, bool]]:
        return [(dict(post.labels)["alertname"], post.over) for post in self.posts(second, *alerts)]

    def posts(self, second: int, *alerts: ActiveAlert) -> list[Post]:
        return self.open.update(alerts, second * SECOND)


def test_an_alert_is_told_at_once_again_every_minute_and_when_it_is_over() -> None:
    it = Open()
    assert it.at(0, alert()) == [("a", False)]
    assert [it.at(second, alert()) for second in (1, 30, 59)] == [[], [], []]
    assert it.at(60, alert()) == [("a", False)]
    assert [it.at(second) for second in (61, 119)] == [[], []]
    assert it.at(120) == [("a", False)]  # kept: it is told again meanwhile
    assert it.at(121) == [("a", True)]
    assert it.at(122) == []
    assert len(it.open) == 0


def test_what_recovers_and_comes_again_is_one_alert() -> None:
    it = Open()
    began = it.posts(0, alert())[0].starts_ns
    assert it.at(50) == []
    assert it.at(55, alert()) == []
    (again,) = it.posts(60, alert())
    assert (again.starts_ns, again.over) == (began, False)


def test_news_are_told_sooner_but_not_at_each_look() -> None:
    it = Open()
    assert it.at(0, alert(summary="5 jobs")) == [("a", False)]
    assert [it.at(second, alert(summary=f"{second} jobs")) for second in (1, 2, 3, 4)] == [[]] * 4
    assert it.posts(5, alert(summary="500 jobs"))[0].annotations == {"summary": "500 jobs"}


def test_what_has_to_last_is_not_told_before() -> None:
    it = Open()
    assert [it.at(second, alert(wait_ns=60 * SECOND)) for second in (10, 40, 69)] == [[], [], []]
    assert it.at(70, alert(wait_ns=60 * SECOND)) == [("a", False)]
    assert it.at(131) == [("a", True)]
    assert [it.at(second, alert(wait_ns=60 * SECOND)) for second in (200, 230)] == [[], []]
    assert it.at(231) == []  # it was never told: nor is its end
    assert it.at(280, alert(wait_ns=60 * SECOND)) == []  # and the time begins anew


def test_it_ends_ahead_and_what_is_about_us_sooner() -> None:
    it = Open()
    ends = [post.ends_ns // SECOND for post in it.posts(0, alert(), alert("ours", ours=True))]
    assert ends == [900, 240]


def test_open_alerts_are_bounded() -> None:
    it = Open()
    assert len(it.posts(0, *(alert(str(number)) for number in range(MAX_OPEN + 10)))) == MAX_OPEN
    assert it.open.refused == 10


# --- what waits to be told ------------------------------------------------------------------------------------------


def post(name: str, *, over: bool = False, ends: int = 900) -> Post:
    return Post((("alertname", name),), {}, 0, ends * SECOND, over)


def test_a_batch_is_bounded_and_the_last_word_counts() -> None:
    box = Outbox(900 * SECOND)
    box.put([post(str(number)) for number in range(BATCH + 5)])
    first = box.due(0)
    assert len(first) == BATCH
    box.put([newer := post("0", over=True, ends=1)])  # while the first batch is under way
    box.done(first)
    rest = box.due(0)
    assert len(rest) == 6
    assert newer in rest


def test_it_is_tried_again_ever_more_slowly_and_at_once_after_a_success() -> None:
    box, now_ns, waits = Outbox(900 * SECOND), 0, []
    box.put([post("a")])
    for _ in range(7):
        assert box.due(now_ns)
        assert box.failed(now_ns) is (now_ns == 0)
        assert box.due(now_ns) == []
        waits.append(box.wait_s(now_ns))
        now_ns += int(waits[-1] * SECOND)
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    box.done(box.due(now_ns))
    box.put([post("b")])
    assert box.due(now_ns)


def test_an_end_that_nobody_heard_for_long_is_forgotten() -> None:
    """Alertmanager has dropped the alert by itself: it was told to end."""
    box = Outbox(900 * SECOND)
    box.put([post("on", ends=10), post("over", over=True, ends=10)])
    assert len(box.due(910 * SECOND)) == 2
    assert [dict(one.labels)["alertname"] for one in box.due(911 * SECOND)] == ["on"]


def test_what_waits_is_bounded() -> None:
    box = Outbox(SECOND)
    assert box.put(post(str(number)) for number in range(MAX_WAITING + 3)) == 3
    assert box.put([post("1")]) == 0
    assert len(box) == MAX_WAITING


# --- settings -------------------------------------------------------------------------------------------------------

URLS = {"urls": ["http://am:9093"]}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"urls": ["am:9093"]}, 'urls[0]: "am:9093" is not the URL of an Alertmanager; write http://host:9093'),
        ({"urls": ["http://u:pw@am"]}, "urls[0]: holds a user or password; write username, and password_env or pa"),
        ({"urls": ["http://u:pw@am:x"]}, 'urls[0]: "am:x" is not the URL of an Alertmanager; write http://host:9093'),
        ({"urls": ["http://am/api/v2/alerts"]}, "urls[0]: write it without /api/v2/alerts"),
        ({"urls": ["http://am", "http://am"]}, "urls: one is listed twice"),
        (URLS | {"username": "u"}, "username: needs password_env or password_file"),
        (URLS | {"password_file": "/x"}, "password_file: a password needs a username"),
        (URLS | {"token_env": "A", "token_file": "/x"}, "token_env: token_file is set too; write one of password_env,"),
        (URLS | {"token_env": "NOT_THERE"}, "token_env: the environment has no NOT_THERE"),
        (URLS | {"ca_file": "/nowhere"}, "ca_file: cannot be used: No such file or directory"),
        (URLS | {"hold": "90s"}, "hold: 90s is less than twice resend (1m): alerts would end between"),
        (URLS | {"resend": "0s"}, "resend: 0s is too short; write 1s or more"),
        (URLS | {"alerts": {"many": 0}}, "alerts.many: 0 is not above 0"),
        (URLS | {"alerts": {"hold": "1h"}}, "alerts.hold: is not a setting of direct mode; there are many, "),
        (URLS | {"alerts": {"severity": {"X": "page"}}}, "alerts.severity.X: 'X' is not one of "),
        (URLS | {"nothing": 1}, "nothing: is not a setting"),
    ],
)
def test_a_wrong_setting_is_named_with_its_fix(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as problem:
        check({"alertmanager": setting}, "lastspan.yaml")
    assert str(problem.value).startswith(f"lastspan.yaml: alertmanager.{message}")
    assert "pw" not in str(problem.value).replace("password", "")


def test_it_is_off_by_default() -> None:
    assert check({}, "test").alertmanagers().urls == ()
    assert check({}, "test").alertmanagers().settings == AlertSettings()
