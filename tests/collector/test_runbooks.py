"""Runbooks over HTTP, from a real collector: the links of alerts lead somewhere, and to nothing else."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import yaml
from tests.collector.served import PATIENT, Served

from lastspan.alerts.build import alert_names, build
from lastspan.alerts.settings import AlertSettings
from lastspan.semconv.vocabulary import CAUSES


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    collector = Served(tmp_path_factory.mktemp("runbooks"), *PATIENT, grpc="off")
    yield collector
    assert collector.stop() == 0
    assert "Traceback" not in collector.log.read_text()


def get(served: Served, path: str) -> tuple[int, str, dict[str, str]]:
    """Ask for a path exactly as it is: `requests` would tidy it."""
    connection = http.client.HTTPConnection(served.web.removeprefix("http://"), timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body, {name.lower(): value for name, value in answer.getheaders()}


def test_the_link_of_each_alert_leads_to_its_runbook(served: Served) -> None:
    rules = yaml.safe_load(build(AlertSettings(collector_url=served.web))["rules.yml"])["groups"]
    urls = {rule["annotations"]["runbook_url"] for group in rules for rule in group["rules"] if "alert" in rule}
    assert len(urls) == len(alert_names())
    for url in urls:
        status, body, headers = get(served, urlsplit(url).path)
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8"), url
        assert "<h1" in body
        assert url.rpartition("/")[2] in body


def test_each_cause_has_a_place_in_the_runbook_of_a_stuck_job(served: Served) -> None:
    _, body, _ = get(served, "/runbooks/LastspanJobStuck")
    assert set(CAUSES) - set(re.findall(r'id="(\w+)"', body)) == set()


@pytest.mark.parametrize("alert", alert_names())
def test_a_runbook_runs_no_script_and_loads_nothing_from_elsewhere(served: Served, alert: str) -> None:
    _, body, headers = get(served, f"/runbooks/{alert}")
    assert not re.findall(r"<script(?![^>]*\bsrc=\"/)", body)
    assert not re.findall(r"""\b(?:src|action)=["']?(?:https?:)?//""", body)
    assert not re.findall(r"\bon\w+=|javascript:", body)
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/runbooks/LastspanNothing",
        "/runbooks/",
        "/runbooks",
        "/runbooks/LastspanJobStuck.md",
        "/runbooks/../pyproject.toml",
        "/runbooks/..%2f..%2fsettings.py",
        "/runbooks/%2e%2e/%2e%2e/settings",
        "/runbooks/LastspanJobStuck%00",
        "/runbooks/LastspanJobStuck/../LastspanBlind",
        "/runbooks//etc/passwd",
        "/runbooks/%2fetc%2fpasswd",
        "/runbooks/<script>alert(1)</script>",
        "/runbooks/" + "Lastspan" * 200,
    ],
)
def test_there_is_nothing_else(served: Served, path: str) -> None:
    status, body, headers = get(served, path)
    assert status in (400, 404)
    assert headers["content-type"].partition(";")[0] in ("text/plain", "application/json")
    assert "root:" not in body
