"""deploy/prometheus and the alerts that the stack and compose.yaml build: promtool and amtool accept them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.deploy.files import DEPLOY, read, tool

from lastspan.examples import stack


@pytest.fixture
def alerts(tmp_path: Path) -> Path:
    """What the service `alerts` of compose.yaml writes, by its own command line."""
    words = [word for word in read("compose.yaml")["services"]["alerts"]["command"] if not word.startswith("--out=")]
    folder = tmp_path / "alerts"
    lastspan = Path(sys.executable).with_name("lastspan")
    done = subprocess.run(
        [lastspan, *words, f"--out={folder}"], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_promtool_accepts_the_configuration_with_the_rules_and_targets_that_compose_mounts(
    alerts: Path, tmp_path: Path
) -> None:
    targets = {path.stem: read("prometheus", "targets", path.name)[0]["targets"] for path in target_files()}
    stack.settings(tmp_path / "prometheus", alerts, targets)
    command = [tool("promtool"), "check", "config", str(tmp_path / "prometheus" / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "1 rule files found" in done.stdout


def test_amtool_accepts_the_configuration(alerts: Path) -> None:
    command = [tool("amtool"), "check-config", str(alerts / "alertmanager.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "http://pager:9099" in (alerts / "alertmanager.yml").read_text(encoding="utf-8")


def test_each_file_of_targets_is_asked_for_and_there() -> None:
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    assert sorted(re.findall(r"targets/([\w.]+)\]", text)) == [path.name for path in target_files()]


def test_the_scrape_has_the_name_that_the_rules_know(alerts: Path) -> None:
    jobs = [one["job_name"] for one in read("prometheus", "prometheus.yml")["scrape_configs"]]
    assert jobs[0] == "lastspan"
    assert 'up{job="lastspan"}' in (alerts / "rules.yml").read_text(encoding="utf-8")


def target_files() -> list[Path]:
    return sorted((DEPLOY / "prometheus" / "targets").iterdir())
