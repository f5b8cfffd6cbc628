"""Families of `/metrics`, by their names in `semconv.metrics`: others are refused."""

from __future__ import annotations

from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from lastspan.semconv import METRICS


def empty_family(name: str) -> Any:
    """Return an empty family of a declared metric."""
    declared = METRICS[name]
    makers = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily, "histogram": HistogramMetricFamily}
    return makers[declared.instrument](name, declared.brief, labels=declared.attributes)


def one_value(name: str, value: float) -> Metric:
    """Return a family of one value without labels."""
    family = empty_family(name)
    family.add_metric((), value)
    return family  # type: ignore[no-any-return]
