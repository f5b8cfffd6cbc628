"""The dashboards as the tests read them: built once, and taken apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lastspan.dashboards.build import Dashboards, build
from lastspan.dashboards.lint import panels

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "dashboards" / "generated"
FOREIGN = {
    "celery_queue_length": {"queue_name"},
    "rq_jobs": {"queue", "status"},
    "rabbitmq_queue_messages_ready": {"queue"},
    "rabbitmq_detailed_queue_messages_ready": {"queue"},
}
"""Metrics of others (celery-exporter, rq-exporter, RabbitMQ), and their labels: shown where they are scraped."""


@cache
def built() -> Dashboards:
    return build()


@dataclass(frozen=True)
class Query:
    """One PromQL query of a panel."""

    dashboard: str
    panel: str
    ref_id: str
    expr: str
    is_instant: bool

    def __str__(self) -> str:
        return f"{self.dashboard} / {self.panel} / {self.ref_id}"

    def filled(self, values: Mapping[str, str]) -> str:
        """The query as Grafana would send it."""
        return re.sub(r"\$([A-Za-z_]\w*)", lambda match: values[match.group(1)], self.expr)


def queries() -> list[Query]:
    return [
        Query(name, panel["title"], target["refId"], target["expr"], bool(target.get("instant")))
        for name, dashboard in built().items()
        for panel in panels(dashboard)
        for target in panel.get("targets") or ()
        if "expr" in target and panel["datasource"]["type"] == "prometheus"
    ]


def panels_of(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All but rows."""
    return [panel for panel in panels(dict(dashboard)) if panel["type"] != "row"]


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
