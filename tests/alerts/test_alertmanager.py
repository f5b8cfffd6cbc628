"""Who is told, and what people read: `amtool` over the committed files."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from tests.alerts.test_rules import GENERATED, NASTY
from tests.servers import program

from lastspan.alerts.alertmanager import config
from lastspan.alerts.settings import AlertSettings

CONFIG: Final = GENERATED / "alertmanager.yml"
GOLDEN: Final = Path(__file__).with_name("page.txt")


def amtool(*arguments: str) -> str:
    command = [os.environ.get("AMTOOL") or program("amtool"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def alert(**annotations: str) -> dict[str, Any]:
    labels = {"alertname": "LastspanJobStuck", "severity": "page", "incident": "http-1"}
    return {"status": "firing", "labels": labels, "annotations": annotations, "startsAt": "2026-01-01T00:00:00Z"}


def rendered(tmp_path: Path, template: str, *alerts: dict[str, Any], status: str = "firing") -> str:
    data = tmp_path / "data.json"
    payload = {
        "status": status,
        "alerts": [{**one, "status": status} for one in alerts],
        "commonLabels": alerts[0]["labels"],
        "groupLabels": {"alertname": "LastspanJobStuck"},
        "externalURL": "http://alerts",
    }
    data.write_text(json.dumps(payload))
    return amtool(
        "template", "render", f"--template.glob={GENERATED}/lastspan.tmpl", f"--template.data={data}",
        f"--template.text={{{{ template {json.dumps(template)} . }}}}",
    )  # fmt: skip


def test_the_committed_configuration_is_valid() -> None:
    assert "SUCCESS" in amtool("check-config", str(CONFIG))


def test_all_channels_and_the_watchdog_are_valid(tmp_path: Path) -> None:
    settings = AlertSettings(
        watchdog_url="https://deadman.example/x", route={"page": "pagerduty,slack,email,webhook", "info": "email"}
    )
    (tmp_path / "alertmanager.yml").write_text(config(settings))
    (tmp_path / "lastspan.tmpl").write_text((GENERATED / "lastspan.tmpl").read_text())
    assert "SUCCESS" in amtool("check-config", str(tmp_path / "alertmanager.yml"))


@pytest.mark.parametrize(
    ("receiver", "labels"),
    [
        ("lastspan-page", ("alertname=LastspanJobStuck", "severity=page", 'incident="a b{}"')),
        ("lastspan-warning", ("alertname=LastspanJobOverdue", "severity=warning")),
        ("nobody", ("alertname=LastspanTimeoutMissing", "severity=info")),
        ("nobody", ("alertname=LastspanWatchdog", "severity=none")),
        ("nobody", ("alertname=SomebodyElses", "severity=page")),
    ],
)
def test_routes(receiver: str, labels: tuple[str, ...]) -> None:
    said = amtool("config", "routes", "test", f"--config.file={CONFIG}", f"--verify.receivers={receiver}", *labels)
    assert receiver in said


STORY: Final = alert(
    summary="send is stuck. The HTTP call POST smtp:443 has not returned and has no timeout.",
    description="send id-1, queue mail\nwhy: The HTTP call POST smtp:443 has not returned and has no timeout.\n"
    "no activity for: 10m 4s, since 2026-01-01 00:00:00 UTC\n"
    "what to do first: Check whether smtp:443 is healthy; then give the call a timeout.\nstopped at: POST smtp:443",
    why="The HTTP call POST smtp:443 has not returned and has no timeout.",
    first_step="Check whether smtp:443 is healthy; then give the call a timeout.",
    incident_url="http://127.0.0.1:9417/jobs/k-1",
    runbook_url="http://127.0.0.1:9417/runbooks/LastspanJobStuck",
)


def test_pages_read_as_agreed(tmp_path: Path) -> None:
    """`GOLDEN=1` writes them anew, to be read."""
    names = ["title", "why", "do", "text", "slack.title", "slack.text", "html", "url", "silence", "runbook"]
    said = [f"--- {name}\n{rendered(tmp_path, f'lastspan.{name}', STORY)}\n" for name in names]
    said.append(f"--- over\n{rendered(tmp_path, 'lastspan.title', STORY, status='resolved')}\n")
    said.append(f"--- seven\n{rendered(tmp_path, 'lastspan.text', *[STORY] * 7)}\n")
    if os.environ.get("GOLDEN"):
        GOLDEN.write_text("".join(said))
    assert "".join(said) == GOLDEN.read_text()


@pytest.mark.parametrize("value", [*NASTY, "x" * 10240])
def test_no_value_of_a_job_breaks_a_page(tmp_path: Path, value: str) -> None:
    """It stays text: no template, and in Slack no mention."""
    one = alert(summary=value, description=value, incident_url="http://i", runbook_url="http://r")
    for name in ("title", "text", "slack.text", "html"):
        rendered(tmp_path, f"lastspan.{name}", one)
    assert "<!channel>" not in rendered(tmp_path, "lastspan.slack.text", one)
