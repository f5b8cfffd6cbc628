"""PromQL within dashboards: Grafana's variables in it, and what it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

import promql_parser

from lastspan.semconv import METRICS

from .mistakes import MistakeError

_DURATION: Final = re.compile(r"\$__(?:rate_interval|interval|range)\b")
_OURS: Final = re.compile(r"lastspan_\w+")
_VARIABLE: Final = re.compile(r"\$\{[A-Za-z_]\w*(?::\w+)?\}|\$[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Named:
    """A metric and the labels that a query selects it by."""

    metric: str
    labels: frozenset[str]


def parse(query: str) -> Any:
    """Return the syntax tree of a query, Grafana's variables replaced; raise `MistakeError`."""
    probe = _VARIABLE.sub("x", _DURATION.sub("5m", query))
    try:
        return promql_parser.parse(probe)
    except ValueError as error:
        raise MistakeError(f"bad PromQL, {error}: {query}") from None


def check(query: str) -> None:
    """Raise `MistakeError` if a query cannot be parsed or names a metric that lastspan does not have."""
    for one in metrics(query):
        if _OURS.fullmatch(one.metric) and one.metric not in _known():
            near = get_close_matches(one.metric, _known(), 1)
            raise MistakeError(f"lastspan has no metric {one.metric}" + (f"; is it {near[0]}?" if near else ""))


@cache
def _known() -> frozenset[str]:
    """Return all names that `semconv` declares, as Prometheus has them: those of workers come by OTLP."""
    found: set[str] = set()
    for name, metric in METRICS.items():
        plain = name.replace(".", "_")
        ends = ("", "_bucket", "_sum", "_count") if metric.instrument == "histogram" else ("",)
        units = ("", "_seconds", "_total", "_ratio") if "." in name else ("",)
        found |= {plain + unit + end for unit in units for end in ends}
    return frozenset(found)


def metrics(query: str) -> list[Named]:
    """Return what a query selects."""
    return [
        Named(part.name or _name_of(part), frozenset(match.name for match in part.matchers.matchers) - {"__name__"})
        for part in _parts(parse(query))
        if isinstance(part, promql_parser.VectorSelector)
    ]


def labels(query: str) -> frozenset[str]:
    """Return the labels by which a query groups and joins."""
    found: set[str] = set()
    for part in _parts(parse(query)):
        modifier = getattr(part, "modifier", None)
        for owner in (modifier, getattr(modifier, "matching", None)):
            found.update(getattr(owner, "labels", None) or ())
        found.update(getattr(modifier, "group_labels", None) or ())
    return frozenset(found)


def _name_of(selector: Any) -> str:
    return next((str(match.value) for match in selector.matchers.matchers if match.name == "__name__"), "")


def _parts(part: Any) -> Iterator[Any]:
    yield part
    below = [getattr(part, name, None) for name in ("expr", "lhs", "rhs", "param", "vector_selector")]
    for child in (*below, *(getattr(part, "args", None) or ())):
        if child is not None:
            yield from _parts(child)
