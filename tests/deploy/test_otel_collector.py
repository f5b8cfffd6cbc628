"""deploy/otel-collector: each part is wired, lastspan's records take one route, and the key is one that workers send.

The OpenTelemetry Collector itself is in no package registry; what is checked here is its configuration's own logic.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.deploy.files import read

from lastspan.semconv import attributes, events

KINDS = ("receivers", "processors", "exporters", "extensions")


@pytest.fixture(params=["agent.yaml", "gateway.yaml"])
def collector(request: pytest.FixtureRequest) -> Any:
    return read("otel-collector", request.param)


def test_what_is_named_is_there_and_what_is_there_is_used(collector: Any) -> None:
    pipelines = collector["service"]["pipelines"].values()
    used = {kind: {name for one in pipelines for name in one.get(kind, ())} for kind in KINDS}
    used["extensions"] = set(collector["service"]["extensions"])
    assert used == {kind: set(collector[kind]) for kind in KINDS}


def test_every_pipeline_guards_its_memory_first(collector: Any) -> None:
    assert all(one["processors"][0] == "memory_limiter" for one in collector["service"]["pipelines"].values())


def test_all_records_of_a_worker_reach_one_collector() -> None:
    gateway = read("otel-collector", "gateway.yaml")
    (balancer,) = gateway["exporters"].values()
    assert balancer["routing_key"] == "attributes"
    assert balancer["routing_attributes"] == [attributes.WORKER_ID]
    assert balancer["resolver"]["dns"]["port"] == "4317"
    assert "batch" not in gateway["processors"]
    assert "endpoint" not in balancer["protocol"]["otlp"]


def test_the_agent_tells_lastspans_records_from_others() -> None:
    """The two filters are each other's opposite, and their pattern is that of our events."""
    agent = read("otel-collector", "agent.yaml")
    kept, dropped = (agent["processors"][f"filter/{name}"]["logs"]["log_record"] for name in ("lastspan", "others"))
    assert kept[0].replace("not IsMatch", "IsMatch").replace(" and ", " or ") == dropped[0]
    (pattern,) = set(re.findall(r'"(\^[^"]+)"', dropped[0]))
    names = [value for value in vars(events).values() if isinstance(value, str) and value.startswith("lastspan.")]
    assert names
    assert all(re.match(pattern, name) for name in names)
    assert not re.match(pattern, "lastspanish.news")
    assert attributes.EVENT_NAME in dropped[0]


def test_a_verdict_does_not_wait_for_a_batch() -> None:
    pipelines = read("otel-collector", "agent.yaml")["service"]["pipelines"]
    assert "batch" not in pipelines["logs/lastspan"]["processors"]
    assert pipelines["logs/lastspan"]["exporters"] == ["otlp_grpc/lastspan"]
