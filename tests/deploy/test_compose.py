"""deploy/compose.yaml: the specification's own types accept it, and every path, port, command and variable is real."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from typing import Any

import compose_spec
import pytest
from tests.deploy.files import DEPLOY, ROOT, read

from lastspan.examples import shop
from lastspan.instrumentation.config import environment_variables

COMPOSE = read("compose.yaml")
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("worker", "orders", "lastspan", "alerts", "pager")
GRAFANA = read("grafana", "compose.yaml")["services"]


def test_the_specification_accepts_it() -> None:
    compose_spec.PyCompose.from_json(json.dumps(COMPOSE))


def test_the_specification_would_not_accept_anything() -> None:
    wrong = json.loads(json.dumps(COMPOSE))
    wrong["services"]["loki"]["imagee"] = "grafana/loki"
    with pytest.raises(ValueError, match="imagee"):
        compose_spec.PyCompose.from_json(json.dumps(wrong))


def test_all_are_there() -> None:
    assert {*SERVICES, *GRAFANA} == {
        *OURS,
        *("otel-collector", "prometheus", "alertmanager", "tempo", "loki", "grafana"),
    }
    assert all((DEPLOY / path).is_file() for path in COMPOSE["include"])


@pytest.mark.parametrize("name", SERVICES)
def test_each_is_a_version_and_can_write_nothing_but_its_volumes(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there(name: str) -> None:
    for mount in SERVICES[name].get("volumes", ()):
        source = mount.partition(":")[0]
        if source.startswith("."):
            assert (DEPLOY / source).exists(), mount
            assert mount.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"], mount


def test_who_waits_for_whom_is_there() -> None:
    assert {name for one in SERVICES.values() for name in one.get("depends_on", ())} <= set(SERVICES)


def test_addresses_lead_to_services_and_to_ports_on_which_they_listen() -> None:
    """Every `name:port` in the files that compose.yaml mounts or sets."""
    listening = {
        "lastspan": {4317, 4318, 9417},
        "otel-collector": {4317, 4318, 8889},
        "orders": {9000},
        "pager": {9099},
        "prometheus": {9090},
        "alertmanager": {9093},
        "tempo": {3200, 4317},
        "loki": {3100},
    }
    files = ["compose.yaml", "grafana/compose.yaml", "otel-collector/agent.yaml"]
    files += [f"prometheus/targets/{path.name}" for path in (DEPLOY / "prometheus" / "targets").iterdir()]
    texts = "\n".join((DEPLOY / file).read_text(encoding="utf-8") for file in files)
    named = set(re.findall(rf"(?<![\w.-])({'|'.join(listening)}):(\d{{4,5}})", texts))
    assert {name for name, _ in named} == set(listening)
    assert all(int(port) in listening[name] for name, port in named)


def test_variables_are_ours_or_the_sdks() -> None:
    environment = SERVICES["worker"]["environment"]
    ours = {name for name in environment if name.startswith("OTEL_LASTSPAN_")}
    assert ours
    assert ours <= set(vars(environment_variables))
    source = (ROOT / "examples" / "lastspan" / "examples" / "shop.py").read_text(encoding="utf-8")
    others = {name for name in environment if not name.startswith("OTEL_")}
    assert all(f'"{name}"' in source for name in others)
    agent = (DEPLOY / "otel-collector" / "agent.yaml").read_text(encoding="utf-8")
    assert set(SERVICES["otel-collector"]["environment"]) == set(re.findall(r"\$\{env:(\w+):-", agent))


@pytest.mark.parametrize("name", ["orders", "pager"])
def test_modules_and_their_flags_are_there(name: str) -> None:
    _, _, module, flag, _ = SERVICES[name]["command"]
    assert importlib.util.find_spec(module) is not None
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, timeout=60)
    assert flag in done.stdout


def test_the_worker_takes_from_every_queue() -> None:
    (queues,) = [word for word in SERVICES["worker"]["command"] if word.startswith("--queues=")]
    routed = {route["queue"] for route in shop.app.conf.task_routes.values()}
    assert {"celery", *routed} == set(queues.partition("=")[2].split(","))
