"""deploy/kubernetes: Kubernetes' schemas accept the objects, kustomize puts them together, names and ports meet."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from tests.deploy.files import DEPLOY, ROOT, manifests, one

from lastspan.collector.serve import config
from lastspan.instrumentation.config import environment_variables

VERSIONS = ("1.29", "1.37")
CUSTOM = {"ServiceMonitor": "monitoring.coreos.com/v1", "Instrumentation": "opentelemetry.io/v1alpha1"}
BUILT_IN = [manifest for manifest in manifests() if manifest["kind"] not in CUSTOM]
PORTS = {"otlp-grpc": 4317, "otlp-http": 4318, "web": 9417}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", BUILT_IN, ids=lambda manifest: manifest["kind"])
def test_the_schema_accepts_it(manifest: Any, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schema_would_not_accept_anything() -> None:
    wrong = one("StatefulSet")
    wrong["spec"]["template"]["spec"]["containers"][0]["imagee"] = "lastspan"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


@pytest.mark.parametrize("folder", ["kubernetes", "kubernetes/workers", "lastspan"])
def test_what_a_kustomization_names_is_there(folder: str) -> None:
    here = DEPLOY / folder
    tree = yaml.safe_load((here / "kustomization.yaml").read_text(encoding="utf-8"))
    for resource in tree.get("resources", ()):
        path = (here / resource).resolve()
        assert path.is_file() or (path / "kustomization.yaml").is_file(), resource
    files = {name for entry in tree.get("configMapGenerator", ()) for name in entry["files"]}
    assert all((here / name).is_file() for name in files)


@pytest.mark.applies(shutil.which("kubectl") is not None, reason="Debian 12 has none that is new enough")
def test_kustomize_puts_it_together() -> None:
    built = list(yaml.safe_load_all(kustomized("kubernetes")))
    kinds = [entry["kind"] for entry in built]
    assert {"Namespace", "StatefulSet", "Service", "ServiceMonitor", "NetworkPolicy", "PrometheusRule"} <= set(kinds)
    boards = [entry for entry in built if entry["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
    assert len(boards) == len(list((ROOT / "dashboards" / "generated").glob("*.json")))
    (settings,) = [e["metadata"]["name"] for e in built if e["metadata"]["name"].startswith("lastspan-settings-")]
    (stateful,) = [entry for entry in built if entry["kind"] == "StatefulSet"]
    volumes = {volume["name"]: volume for volume in stateful["spec"]["template"]["spec"]["volumes"]}
    assert volumes["settings"]["configMap"]["name"] == settings
    assert container(stateful)["image"] == "lastspan:0.1.0"
    spaced = [entry for entry in built if entry["kind"] != "Namespace"]
    assert {entry["metadata"]["namespace"] for entry in spaced} == {"lastspan"}


def kustomized(folder: str) -> str:
    command = ["kubectl", "kustomize", str(DEPLOY / folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def container(stateful: Any) -> Any:
    (only,) = stateful["spec"]["template"]["spec"]["containers"]
    return only


def test_the_pod_is_guarded() -> None:
    pod = one("StatefulSet")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert f"USER {pod['securityContext']['runAsUser']}\n" in dockerfile
    assert pod["automountServiceAccountToken"] is False
    assert container(one("StatefulSet"))["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_its_settings_are_those_of_the_collector() -> None:
    told = {entry["name"]: entry["value"] for entry in container(one("StatefulSet"))["env"]}
    settings = config.load({}, file=str(DEPLOY / "lastspan" / "lastspan.yaml"), environment=told)
    addresses = (settings.otlp_grpc, settings.otlp_http, settings.web)
    assert [int(address.rpartition(":")[2]) for address in addresses] == list(PORTS.values())
    mounts = {entry["mountPath"]: entry["name"] for entry in container(one("StatefulSet"))["volumeMounts"]}
    assert mounts[str(settings.data_dir)] == "data"
    assert set(told) <= {f"LASTSPAN_{name.upper()}" for name in config.CollectorSettings.__struct_fields__}


def test_ports_have_one_name_everywhere() -> None:
    stateful, service = one("StatefulSet"), one("Service")
    assert {port["name"]: port["containerPort"] for port in container(stateful)["ports"]} == PORTS
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == PORTS
    assert service["spec"]["clusterIP"] == "None"
    assert stateful["spec"]["serviceName"] == service["metadata"]["name"] == "lastspan"
    probes = [container(stateful)[name]["httpGet"] for name in ("readinessProbe", "livenessProbe")]
    assert [(probe["path"], probe["port"]) for probe in probes] == [("/readyz", "web"), ("/healthz", "web")]


def test_volumes_are_mounted_and_mounts_are_volumes() -> None:
    spec = one("StatefulSet")["spec"]
    volumes = {entry["name"] for entry in spec["template"]["spec"]["volumes"]}
    volumes |= {entry["metadata"]["name"] for entry in spec["volumeClaimTemplates"]}
    assert {entry["name"] for entry in container(one("StatefulSet"))["volumeMounts"]} == volumes


def test_who_may_come_in() -> None:
    """OTLP from workers alone, the web port from Prometheus, Grafana and the ingress alone; nobody from anywhere."""
    policy = one("NetworkPolicy")["spec"]
    rules = {
        tuple(port["port"] for port in rule["ports"]): [
            next(iter(peer["podSelector"]["matchLabels"].values())) for peer in rule["from"]
        ]
        for rule in policy["ingress"]
    }
    assert rules == {("otlp-grpc", "otlp-http"): ["true"], ("web",): ["prometheus", "grafana", "ingress-nginx"]}
    assert all(peer["podSelector"]["matchLabels"] for rule in policy["ingress"] for peer in rule["from"])
    assert policy["egress"] == []
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert policy["podSelector"] == {"matchLabels": labels_of_the_pod()}


def labels_of_the_pod() -> Any:
    return one("StatefulSet")["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize("kind", CUSTOM)
def test_the_operators_know_the_kind(kind: str) -> None:
    assert one(kind)["apiVersion"] == CUSTOM[kind]
    assert set(one(kind)) == {"apiVersion", "kind", "metadata", "spec"}


def test_prometheus_finds_the_service_by_its_labels_and_calls_it_lastspan() -> None:
    spec, service = one("ServiceMonitor")["spec"], one("Service")
    assert set(spec) == {"jobLabel", "selector", "endpoints"}
    assert spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][spec["jobLabel"]] == "lastspan"
    (endpoint,) = spec["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("web", "/metrics")


def test_the_operator_sets_variables_that_are_ours() -> None:
    spec = one("Instrumentation")["spec"]
    told = {entry["name"]: entry["value"] for entry in spec["python"]["env"]}
    ours = {name for name in told if name.startswith("OTEL_LASTSPAN_")}
    assert ours <= set(vars(environment_variables))
    assert told["OTEL_LASTSPAN_ENDPOINT"] == f"http://lastspan.lastspan.svc:{PORTS['otlp-http']}"
    policy = yaml.safe_dump(one("NetworkPolicy"))
    (label,) = re.findall(r"labels: \{([\w-]+):", Path(DEPLOY / "kubernetes/workers/instrumentation.yaml").read_text())
    assert f"{label}: 'true'" in policy
