"""`deploy/grafana`: every reference leads to something, and the three ways to deploy say the same."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from tests.dashboards import board

GRAFANA = board.ROOT / "deploy" / "grafana"
FILES = sorted(path for path in (*GRAFANA.rglob("*.yaml"), board.ROOT / "dashboards" / "kustomization.yaml"))


def read(*parts: str) -> list[Any]:
    return list(yaml.safe_load_all(GRAFANA.joinpath(*parts).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def sources() -> list[dict[str, Any]]:
    (file,) = read("provisioning", "datasources", "lastspan.yaml")
    found: list[dict[str, Any]] = file["datasources"]
    return found


@pytest.fixture(scope="module")
def grafana() -> dict[str, Any]:
    (file,) = read("compose.yaml")
    service: dict[str, Any] = file["services"]["grafana"]
    return service


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(board.ROOT)))
def test_every_file_is_yaml(path: Any) -> None:
    assert all(list(yaml.safe_load_all(path.read_text(encoding="utf-8"))))


def test_links_between_data_sources_lead_to_one_that_is_there(sources: list[dict[str, Any]]) -> None:
    uids = [source["uid"] for source in sources]
    assert len(uids) == len(set(uids))
    named = {text for source in sources for key, text in pairs(source["jsonData"]) if key == "datasourceUid"}
    assert named <= set(uids)
    assert named >= {"lastspan-loki", "lastspan-tempo", "lastspan-open-traces", "lastspan-prometheus"}


def pairs(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in [(key, item), *pairs(item)]]
    return [pair for item in value for pair in pairs(item)] if isinstance(value, list) else []


def test_the_kinds_that_dashboards_ask_for_are_there(sources: list[dict[str, Any]]) -> None:
    asked = {
        one["query"] for dashboard in board.built().values() for one in dashboard["templating"]["list"]
        if one["type"] == "datasource"
    }  # fmt: skip
    assert asked == {"prometheus", "jaeger", "loki"} <= {source["type"] for source in sources}


def test_variables_of_the_environment_are_set_and_others_are_escaped(
    sources: list[dict[str, Any]], grafana: dict[str, Any]
) -> None:
    """Grafana would replace `${__value.raw}` by nothing."""
    texts = list(board.texts(sources))
    named = {name for text in texts for name in re.findall(r"(?<!\$)\$\{?(\w+)", text)}
    assert named == {"PROMETHEUS_URL", "LASTSPAN_URL", "TEMPO_URL", "LOKI_URL"} <= set(grafana["environment"])


def test_grafana_reads_what_is_mounted(grafana: dict[str, Any]) -> None:
    mounted = {
        there: (GRAFANA / here).resolve()
        for here, there, *_ in (one.split(":") for one in grafana["volumes"])
        if here.startswith(".")
    }
    (providers,) = read("provisioning", "dashboards", "lastspan.yaml")
    (provider,) = providers["providers"]
    assert mounted[provider["options"]["path"]] == board.GENERATED
    assert mounted["/etc/grafana/provisioning"] == GRAFANA / "provisioning"
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    folder, _, name = home.rpartition("/")
    assert (mounted[folder] / name).is_file()


def test_the_operator_gets_every_dashboard() -> None:
    generated = {path.name for path in board.GENERATED.glob("*.json")}
    kustomization = yaml.safe_load((board.ROOT / "dashboards" / "kustomization.yaml").read_text(encoding="utf-8"))
    maps = {one["name"]: one["files"] for one in kustomization["configMapGenerator"]}
    assert {file for files in maps.values() for file in files} == {f"generated/{name}" for name in generated}
    asked = {
        one["spec"]["configMapRef"]["name"]: one["spec"]["configMapRef"]["key"]
        for one in read("operator", "dashboards.yaml")
    }
    assert {name: [f"generated/{key}"] for name, key in asked.items()} == maps
    (own,) = read("operator", "kustomization.yaml")
    assert all((GRAFANA / "operator" / path).exists() for path in own["resources"])


def test_a_config_map_holds_a_dashboard() -> None:
    """A megabyte is the most; `kubectl apply` keeps a copy beside it, of at most 256 KiB."""
    assert max(path.stat().st_size for path in board.GENERATED.glob("*.json")) < 200 * 1024


def test_the_operator_gets_the_same_data_sources(sources: list[dict[str, Any]], grafana: dict[str, Any]) -> None:
    def filled(value: Any) -> Any:
        if isinstance(value, str):
            for name, default in grafana["environment"].items():
                value = value.replace(f"${{{name}}}", re.sub(r"\$\{\w+:-(.*)\}", r"\1", default))
            return value.replace("$$", "$")
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        return [filled(item) for item in value] if isinstance(value, list) else value

    assert [one["spec"]["datasource"] for one in read("operator", "datasources.yaml")] == filled(sources)
