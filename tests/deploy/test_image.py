"""deploy/Dockerfile: what its linter finds, and what a reader of an image looks for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from tests.deploy.files import DEPLOY, ROOT

from lastspan.collector.serve import config

DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
PINS = (DEPLOY / "requirements.txt").read_text(encoding="utf-8")


def stage(name: str) -> str:
    """Return the lines of a stage."""
    (found,) = re.findall(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.DOTALL | re.MULTILINE)
    return str(found)


def test_the_linter_finds_nothing() -> None:
    command = [str(Path(sys.executable).with_name("hadolint")), "--failure-threshold=style", str(DEPLOY / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_base_is_a_version() -> None:
    bases = {image for image in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) if ":" in image}
    assert bases
    assert all(re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", image) for image in bases)


def test_every_package_has_one_version() -> None:
    lines = [line for line in PINS.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.-]+==[\w.]+", line) for line in lines)
    pinned = {line.partition("==")[0]: line.partition("==")[2] for line in lines}
    wanted = [Requirement(line) for line in requires("lastspan") or ()]
    for requirement in wanted:
        in_an_image = any(is_asked_for(requirement, extra) for extra in ("", "collector", "probes", "demo"))
        if in_an_image and requirement.name != "lastspan":
            assert requirement.specifier.contains(pinned[requirement.name.lower()], prereleases=True), requirement


def is_asked_for(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def test_it_is_no_root_and_says_whether_it_is_well() -> None:
    collector = stage("collector")
    assert re.search(r"^USER 10001$", stage("base"), re.MULTILINE)
    assert "USER" not in collector
    assert "HEALTHCHECK" in collector
    assert "/readyz" in collector
    assert DOCKERFILE.rstrip().endswith('CMD ["collector"]')  # the last stage is the one that is built


def test_its_settings_are_those_of_the_collector() -> None:
    collector_stage = stage("collector")
    told = dict(re.findall(r"(LASTSPAN_\w+)=(\S+)", collector_stage))
    settings = config.load({}, environment=told)
    ports = {address.rpartition(":")[2] for address in (settings.otlp_grpc, settings.otlp_http, settings.web)}
    (exposed,) = re.findall(r"^EXPOSE (.+)$", DOCKERFILE, re.MULTILINE)
    assert ports == set(exposed.split()) == {"4317", "4318", "9417"}
    assert f"VOLUME {settings.data_dir}\n" in collector_stage
    assert len(told) == 4


def test_what_is_copied_is_what_the_build_needs() -> None:
    """Each folder that pyproject.toml packs is let in."""
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (line,) = re.findall(r"^packages = (.+)$", project, re.MULTILINE)
    packed = set(json.loads(line))
    assert packed | {"pyproject.toml", "README.md", "LICENSE", "deploy/requirements.txt"} <= allowed
