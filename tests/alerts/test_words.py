"""What people read of each cause, of one job and of many: by the rules, in direct mode, from every receiver."""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.alerts.test_alertmanager import amtool
from tests.alerts.test_rules import GENERATED, NASTY, UP, promtool
from tests.collector.test_alert import seen
from tests.collector.test_cause_words import CASES, Scene

from lastspan.alerts.alertmanager import TELLING, config
from lastspan.alerts.settings import AlertSettings
from lastspan.collector.publish.alert.active_alerts import active_alerts
from lastspan.collector.publish.alert.model import ActiveAlert
from lastspan.collector.publish.metrics import render
from lastspan.semconv.vocabulary import CAUSES

GOLDEN: Final = Path(__file__).with_name("words.txt")
SCENES: Final = {
    "http_no_timeout": "http_call_without_timeout",
    "http_call": "http_call",
    "db_query": "query",
    "db_lock": "row_lock_seen_by_a_probe",
    "lock_wait": "lock_of_a_thread",
    "deadlock": "deadlock_in_a_process",
    "cpu_loop": "endless_loop",
    "call_loop": "endless_pagination",
    "event_loop_blocked": "event_loop_victim",
    "waiting_for_job": "job_that_nobody_started",
    "waiting": "wait_for_queue",
    "socket_wait": "socket_that_is_silent",
    "gil_held": "native_code_waits",
    "worker_frozen": "stopped",
    "worker_lost": "lost",
    "redelivered": "redelivered",
    "unknown": "unknown_span",
}
MANY: Final = 8
NOW_S: Final = 60.0
"""Of promtool, whose time begins at 0."""
MAY_BE_EMPTY: Final = {"code", "lock_holder", "why", "first_step", "stopped_at"}
"""Annotations that are there in the rules also when there is nothing to say."""


def scene_of(cause: str, copies: int) -> Scene:
    scene = Scene(copies=copies)
    CASES[SCENES[cause]](scene)
    scene.held.wait(11)  # an incident whose cause may soon be known better has a name by then
    return scene


def alerts_of(scene: Scene, wall_s: float = NOW_S) -> list[ActiveAlert]:
    """Return what direct mode tells, without what is about us."""
    found = active_alerts(seen(scene.held, wall_s=wall_s), AlertSettings(), instance="here")
    return [alert for alert in found if not alert.ours]


@cache
def page(cause: str, copies: int) -> tuple[ActiveAlert, ...]:
    """Return the alerts of the one page that is sent of an incident: those that tell most."""
    found = alerts_of(scene_of(cause, copies), 1_796_092_200.0)
    name = min((dict(alert.labels)["alertname"] for alert in found), key=TELLING.index)
    return tuple(alert for alert in found if dict(alert.labels)["alertname"] == name)


# --- the rules say what direct mode says ------------------------------------------------------------------------------


def series(scene: Scene) -> dict[str, str]:
    """Return the collector's page as promtool takes it."""
    text = asyncio.run(render(scene.held.view, wall=lambda: NOW_S)).decode()
    samples = [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(("lastspan_job_", "lastspan_stuck_job_info", "lastspan_incident_jobs"))
    ]
    return {as_series(sample.name, sample.labels): f"{sample.value:.0f}x8" for sample in samples}


def as_series(name: str, labels: Mapping[str, str]) -> str:
    told = {**labels, "instance": "a:1", "job": "lastspan"}
    return f"{name}{{{','.join(f'{key}={json.dumps(value, ensure_ascii=False)}' for key, value in told.items())}}}"


def expected(alerts: list[ActiveAlert]) -> Iterator[dict[str, Any]]:
    for name in TELLING:
        of_name = [alert for alert in alerts if dict(alert.labels)["alertname"] == name]
        told = [
            {
                "exp_labels": {key: value for key, value in alert.labels if key != "alertname"},
                "exp_annotations": {**dict.fromkeys(_empty(name), ""), **alert.annotations},
            }
            for alert in of_name
        ]
        yield {"eval_time": "60s", "alertname": name, "exp_alerts": told}


def _empty(name: str) -> set[str]:
    return MAY_BE_EMPTY if name == "LastspanJobStuck" else MAY_BE_EMPTY - {"code", "lock_holder"}


def test_rules_and_direct_mode_say_the_same_of_every_cause(tmp_path: Path) -> None:
    """Labels and annotations of all alerts, letter by letter."""
    assert set(SCENES) == set(CAUSES)
    scenes = {(cause, copies): scene_of(cause, copies) for cause in SCENES for copies in (1, MANY)}
    tests = [
        {
            "name": f"{cause}, {copies}",
            "interval": "15s",
            "input_series": [{"series": key, "values": value} for key, value in {**UP, **series(scene)}.items()],
            "alert_rule_test": list(expected(alerts_of(scene))),
        }
        for (cause, copies), scene in scenes.items()
    ]
    assert promtool(tmp_path, tests) == ""


# --- what people read -------------------------------------------------------------------------------------------------


def templates() -> dict[str, str]:
    """Return all texts of all receivers, by their place in the file."""
    every = AlertSettings(route={"page": "pagerduty,slack,email,webhook"})
    (receiver,) = (one for one in yaml.safe_load(config(every))["receivers"] if one["name"] == "lastspan-page")
    return dict(_texts(receiver, ""))


def _texts(tree: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(tree, str) and "{{" in tree:
        yield place, tree
    elif isinstance(tree, (dict, list)):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _texts(value, f"{place}.{key}".lstrip("."))


_BREAK: Final = "\n-----\n"


def rendered(tmp_path: Path, *alerts: ActiveAlert, status: str = "firing") -> dict[str, str]:
    """Return all texts of a page, as amtool renders them."""
    wanted, data = templates(), tmp_path / "data.json"
    told = [{"status": status, "labels": dict(one.labels), "annotations": dict(one.annotations)} for one in alerts]
    labels = dict(set(alerts[0].labels).intersection(*(one.labels for one in alerts)))
    payload = {"status": status, "alerts": told, "commonLabels": labels, "externalURL": "http://alerts"}
    data.write_text(json.dumps(payload))
    said = amtool(
        "template", "render", f"--template.glob={GENERATED}/lastspan.tmpl", f"--template.data={data}",
        f"--template.text={_BREAK.join(wanted.values())}",
    )  # fmt: skip
    return dict(zip(wanted, said.split(_BREAK), strict=True))


def as_text(alerts: tuple[ActiveAlert, ...]) -> str:
    first = alerts[0].annotations
    more = f" ({len(alerts)} of this kind)" if len(alerts) > 1 else ""
    return f"{first['summary']}{more}\n\n{first['description']}\n"


def test_pages_of_all_causes_read_as_agreed() -> None:
    """`GOLDEN=1` writes them anew, to be read aloud at three in the morning."""
    said = [f"=== {cause}, {copies}\n{as_text(page(cause, copies))}\n" for cause in SCENES for copies in (1, MANY)]
    if os.environ.get("GOLDEN"):
        GOLDEN.write_text("".join(said))
    assert "".join(said) == GOLDEN.read_text()


@pytest.mark.parametrize("cause", SCENES)
def test_every_receiver_is_told_the_whole_story(tmp_path: Path, cause: str) -> None:
    """The subject, why and what to do first, and each line of the story, whatever the receiver's own way of writing."""
    for copies in (1, MANY):
        alerts = page(cause, copies)
        said = rendered(tmp_path, *alerts)
        first = alerts[0].annotations
        subjects = {place: text for place, text in said.items() if place.split(".")[-1] in SUBJECTS}
        assert len(subjects) == 4
        for text in subjects.values():
            assert html.unescape(text).startswith(first["summary"][:70])
            assert len(html.unescape(text)) <= 100
        stories = {place: html.unescape(text) for place, text in said.items() if place.split(".")[-1] in STORIES}
        assert len(stories) == 4
        for place, text in stories.items():
            assert [line for line in first["description"].splitlines() if line not in text] == [], place
        assert said["pagerduty_configs.0.details.why"] == first["why"]
        assert said["pagerduty_configs.0.details.what to do first"] == first["first_step"]
        assert f"what to do first: {first['first_step']}" in first["description"]


SUBJECTS: Final = {"title", "fallback", "description", "Subject"}
STORIES: Final = {"text", "html", "story"}


def test_a_page_says_where_by_host_or_lock_and_who_holds_it() -> None:
    """The kind of fault: "stopped at GET", "held by MainThread", "lock holder" of what is no lock."""
    for cause, where in {
        "http_call": "stopped at: GET api.example:443",
        "db_query": "stopped at: SELECT orders at db:5432",
        "lock_wait": "lock holder: thread flusher of process 31 on host-1",
        "db_lock": "lock holder: job id-9",
        "waiting_for_job": "waits for: job sync-43",
        "socket_wait": "stopped at: run/tasks.sync, 10.0.0.9:7000",
    }.items():
        for copies in (1, MANY):
            story = page(cause, copies)[0].annotations["description"]
            assert where in story.splitlines()
            assert ("lock holder" in story) is (cause in {"lock_wait", "db_lock"})
    assert "other jobs that stopped at the same thing: 7" in stuck("waiting_for_job")["description"]


def stuck(cause: str) -> Mapping[str, str]:
    """Return the annotations of one job of many."""
    found = alerts_of(scene_of(cause, MANY))
    return next(alert.annotations for alert in found if dict(alert.labels)["alertname"] == "LastspanJobStuck")


@pytest.mark.parametrize("status", ["firing", "resolved"])
@pytest.mark.parametrize("value", NASTY)
def test_a_subject_is_one_line_of_100_letters_whatever_jobs_are_called(tmp_path: Path, value: str, status: str) -> None:
    scene, value = Scene(), value[:4096]  # the longest that is taken
    scene.held.tell(
        scene.worker,
        scene.worker.job(1, name=value, age=250.0, job_id=value),
        scene.worker.span(2, 1, name=value, age=240.0, job_name=value, wait_kind="lock", lock_name=value),
    )
    scene.held.wait(11)
    (alert,) = alerts_of(scene)
    for count in (1, 12):
        said = rendered(tmp_path, *[alert] * count, status=status)
        for place, text in said.items():
            if place.split(".")[-1] in SUBJECTS:
                assert len(html.unescape(text)) <= 100
        assert "<!channel>" not in said["slack_configs.0.title"] + said["slack_configs.0.text"]
    assert re.sub(r"\s", " ", alert.annotations["why"]) == alert.annotations["why"]
