"""What no schema says: the mistakes that leave a panel empty, or a link that leads nowhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from grafana_foundation_sdk.models import units

from . import promql
from .mistakes import MistakeError


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


COLUMNS: Final = 24
PANELS: Final = _words("""
    alertlist annolist bargauge barchart dashlist gauge heatmap histogram logs news nodeGraph piechart row stat
    state-timeline status-history table text timeseries traces trend xychart
""")
TRANSFORMATIONS: Final = _words("""
    append calculateField concatenate configFromData convertFieldType convertFrameType extractFields fieldLookup
    filterByRefId filterByValue filterFields filterFieldsByName formatString formatTime groupBy groupToNestedTable
    groupingToMatrix heatmap histogram joinByField joinByLabels labelsToFields limit merge organize partitionByValues
    prepareTimeSeries reduce renameByRegex rowsToFields seriesToRows sortBy timeSeriesTable transpose
""")
OVERRIDES: Final = _words("""
    actions color decimals description displayName filterable links mappings max min noValue thresholds unit
""")
BUILT_IN: Final = _words("""
    __all __all_variables __data __dashboard __field __from __interval __interval_ms __name __org __range __range_ms
    __range_s __rate_interval __series __time __timezone __to __url_time_range __user __value
""")
_VARIABLE: Final = re.compile(r"\$\{(\w+)[^}]*\}|\$(\w+)")
_CUSTOM_UNIT: Final = re.compile(r"(suffix|prefix|time|si|count|currency|bool):.+")
_LINES: Final = frozenset({"timeseries", "state-timeline", "status-history", "trend", "histogram"})
_WITHOUT_DATA: Final = frozenset({"row", "text", "dashlist", "alertlist", "annolist", "news"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake in a dashboard."""

    panel: str
    """Title; empty: the dashboard itself."""
    reason: str


def lint(dashboard: dict[str, Any]) -> list[Finding]:
    """Return what is wrong with a dashboard as Grafana reads it."""
    found = [Finding("", reason) for reason in _head(dashboard)]
    declared = {one["name"] for one in dashboard.get("templating", {}).get("list", ())} | BUILT_IN
    every = list(panels(dashboard))
    for panel in every:
        found += [Finding(panel.get("title", ""), reason) for reason in _panel(panel, declared)]
    return found + list(_together(every))


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield all panels, those within collapsed rows too."""
    for panel in dashboard.get("panels", ()):
        yield panel
        yield from panels(panel)


def _head(dashboard: dict[str, Any]) -> Iterator[str]:
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", dashboard.get("uid") or ""):
        yield "a uid has 1 to 40 letters, digits, - and _"
    if not re.fullmatch(r"(\d+(ms|[smhdwMy]))?", dashboard.get("refresh") or ""):
        yield f"refresh is a time as 30s or 1m, not {dashboard['refresh']!r}"
    names = Counter(one["name"] for one in dashboard.get("templating", {}).get("list", ()))
    yield from (f"the variable {name} is there twice" for name, count in names.items() if count > 1)


def _panel(panel: dict[str, Any], declared: set[str]) -> Iterator[str]:
    if panel["type"] not in PANELS:
        yield f"{panel['type']!r} is no panel of Grafana itself"
    if panel["type"] not in _WITHOUT_DATA and not isinstance(panel.get("datasource"), dict):
        yield "it has no data source"
    if panel["gridPos"]["x"] + panel["gridPos"]["w"] > COLUMNS:
        yield f"it goes beyond the grid's {COLUMNS} columns"
    yield from _fields(panel.get("fieldConfig") or {})
    for one in panel.get("transformations") or ():
        if one["id"] not in TRANSFORMATIONS:
            yield f"{one['id']!r} is no transformation"
    yield from _options(panel["type"], panel.get("options") or {})
    yield from _queries(panel)
    used = {name for text in _texts({**panel, "panels": None}) for match in _VARIABLE.findall(text) for name in match}
    yield from (
        f"${name} is no variable of this dashboard" for name in sorted(used - declared - {""}) if not name.isdigit()
    )


def _fields(config: dict[str, Any]) -> Iterator[str]:
    used = [config.get("defaults", {}).get("unit")]
    for override in config.get("overrides", ()):
        for one in override["properties"]:
            if one["id"] not in OVERRIDES and not one["id"].startswith("custom."):
                yield f"{one['id']!r} is nothing that can be overridden"
            if one["id"] == "unit":
                used.append(one.get("value"))
    for unit in used:
        if unit and unit not in _units() and not _CUSTOM_UNIT.fullmatch(unit):
            yield f"{unit!r} is no unit"


def _options(kind: str, options: dict[str, Any]) -> Iterator[str]:
    if kind in _LINES and (options.get("legend") or {}).get("showLegend") is False:
        yield "its legend is hidden: nobody knows which line is which"
    if "reduceOptions" in options and not options["reduceOptions"].get("calcs"):
        yield "it reduces by no calculation: it stays empty"


def _queries(panel: dict[str, Any]) -> Iterator[str]:
    names = Counter(target.get("refId") for target in panel.get("targets") or ())
    yield from (f"two queries are called {name}" for name, count in names.items() if count > 1)
    source = panel.get("datasource")
    if isinstance(source, dict) and source.get("type") == "prometheus":
        for target in panel.get("targets") or ():
            try:
                promql.check(target.get("expr") or "")
            except MistakeError as mistake:
                yield mistake.reason


def _together(every: list[dict[str, Any]]) -> Iterator[Finding]:
    for index, panel in enumerate(every):
        for other in every[:index]:
            title = panel.get("title", "")
            if panel["id"] == other["id"]:
                yield Finding(title, f"it has the id of {other.get('title')!r}")
            if title and title == other.get("title"):
                yield Finding(title, "two panels have this title: their ids would change places")
            if _overlap(panel["gridPos"], other["gridPos"]) and not _is_hidden(other, every):
                yield Finding(title, f"it lies over {other.get('title')!r}")


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def _is_hidden(panel: dict[str, Any], every: list[dict[str, Any]]) -> bool:
    """Panels of a collapsed row lie nowhere until it is opened."""
    return any(panel in (row.get("panels") or ()) for row in every if row["type"] == "row")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


@cache
def _units() -> frozenset[str]:
    return frozenset(
        value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("__")
    )
