"""The dashboards against everything that can be known of them without a Grafana; and that these checks can fail."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from tests.dashboards import board

from lastspan.collector.model.records import Basis, State
from lastspan.collector.publish.pages.runbooks import runbook_text
from lastspan.dashboards import promql
from lastspan.dashboards.lint import lint
from lastspan.dashboards.sdk import as_json
from lastspan.semconv import METRICS
from lastspan.semconv.vocabulary import CAUSES

ROW_PIXELS, GAP_PIXELS = 30, 8
"""Of Grafana's grid: GRID_CELL_HEIGHT and GRID_CELL_VMARGIN in public/app/core/constants.ts."""
ABOVE_PIXELS = 150
"""What Grafana 11 … 13 has above the panels: two bars of 40 px (navigation, toolbar), a padding of 16 px, a line of
variables with the links beside it (32 px and 8 px below), 14 px to spare. An estimate: no Grafana was at hand."""
SCRAPED = {"instance", "job"}
"""Labels that Prometheus itself adds."""

Board = dict[str, Any]
names = pytest.mark.parametrize("name", board.built())


def round_trip(dashboard: Board) -> list[str]:
    """Return what the SDK's model of a dashboard does not know or would write otherwise."""
    register_default_plugins()  # so that it knows the options of each kind of panel and query
    return _differences(dashboard, as_json(Dashboard.from_json(dashboard)), "")


def _differences(one: Any, other: Any, at: str) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        return [way for key in one for way in _differences(one[key], other.get(key), f"{at}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            way
            for index, (a, b) in enumerate(zip(one, other, strict=True))
            for way in _differences(a, b, f"{at}[{index}]")
        ]
    return [] if one == other else [at]


@names
def test_the_sdk_reads_and_writes_it_unchanged(name: str) -> None:
    assert round_trip(board.built()[name]) == []


@names
def test_lint(name: str) -> None:
    assert lint(board.built()[name]) == []


# --- that the checks find what they are for: single mistakes, as they are made ----------------------------------------


def panel(dashboard: Board, kind: str) -> Board:
    found: Board = next(one for one in board.panels_of(dashboard) if one["type"] == kind)
    return found


MUTATIONS: dict[str, Callable[[Board], object]] = {
    "unknown panel": lambda d: panel(d, "stat").update(type="singlestat"),
    "same id twice": lambda d: panel(d, "table").update(id=panel(d, "stat")["id"]),
    "same title twice": lambda d: panel(d, "table").update(title=panel(d, "stat")["title"]),
    "overlap": lambda d: panel(d, "table")["gridPos"].update(y=1),
    "beyond the grid": lambda d: panel(d, "stat")["gridPos"].update(x=22),
    "unknown transformation": lambda d: panel(d, "table")["transformations"][0].update(id="merge2"),
    "unknown override": lambda d: panel(d, "table")["fieldConfig"]["overrides"][0]["properties"][0].update(id="link"),
    "unknown unit": lambda d: panel(d, "timeseries")["fieldConfig"]["defaults"].update(unit="second"),
    "no data source": lambda d: panel(d, "stat").pop("datasource"),
    "a string for a data source": lambda d: panel(d, "stat").update(datasource="Prometheus"),
    "unknown variable": lambda d: panel(d, "stat")["targets"][0].update(expr='lastspan_jobs{queue="$kueue"}'),
    "bad PromQL": lambda d: panel(d, "stat")["targets"][0].update(expr="sum(lastspan_jobs"),
    "no uid": lambda d: d.pop("uid"),
    "variable twice": lambda d: d["templating"]["list"].append(d["templating"]["list"][0]),
    "two queries of one name": lambda d: panel(d, "nodeGraph")["targets"][0].update(refId="edges"),
    "hidden legend": lambda d: panel(d, "timeseries")["options"]["legend"].update(showLegend=False),
    "no reducer": lambda d: panel(d, "stat")["options"]["reduceOptions"].update(calcs=[]),
    "unknown key of the dashboard": lambda d: d.update(rows=[]),
    "unknown key of a panel": lambda d: panel(d, "stat").update(descripton=""),
    "unknown option": lambda d: panel(d, "stat")["options"].update(colourMode="value"),
    "unknown field of a query": lambda d: panel(d, "stat")["targets"][0].update(query="up"),
}  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_each_single_mistake_is_found(mutation: str) -> None:
    wrong = copy.deepcopy(board.built()["fleet"])
    MUTATIONS[mutation](wrong)
    assert lint(wrong) or round_trip(wrong)


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", board.queries(), ids=str)
def test_every_metric_and_label_is_declared(query: board.Query) -> None:
    """By `semconv`; a histogram's parts have its labels, and `le`."""
    allowed: set[str] = set(SCRAPED)
    for selected in promql.metrics(query.expr):
        if selected.metric in board.FOREIGN:
            assert selected.labels <= board.FOREIGN[selected.metric]
            allowed |= board.FOREIGN[selected.metric]
            continue
        declared = METRICS.get(selected.metric) or METRICS[re.sub(r"_(bucket|sum|count)$", "", selected.metric)]
        own = set(declared.attributes) | SCRAPED | ({"le"} if declared.instrument == "histogram" else set())
        assert selected.labels <= own
        allowed |= own
    made = set(re.findall(r'label_(?:replace|join)\(.*?, "(\w+)", "', query.expr))
    assert promql.labels(query.expr) <= allowed | made


def test_a_name_that_is_not_declared_is_found() -> None:
    """The reading of queries sees selectors, groups and joins, wherever they stand."""
    query = 'topk(3, sum by (a, b) (rate(x{c="1"}[5m]))) / on (d) group_left (e) max without (f) (y{g=~"1"} offset 1m)'
    assert {part.metric: set(part.labels) for part in promql.metrics(query)} == {"x": {"c"}, "y": {"g"}}
    assert promql.labels(query) == {"a", "b", "d", "e", "f"}


VALUES = {
    "state": {state.value for state in State},
    "cause": set(CAUSES),
    "basis": {basis.value for basis in Basis},
    "outcome": {"ok", "error", "retry", "killed", "timeout", "revoked", "shutdown", "lost"},
    "severity": {"warning", "info"},  # of the lint
    "kind": {"job", "lock", "session", "peer", "process", "task"},
    "root": {"true"},
    "status": {"queued"},  # of rq-exporter
    "lock_holder": {""},
}
"""What labels may be selected by."""


@pytest.mark.parametrize("query", board.queries(), ids=str)
def test_every_value_that_is_selected_exists(query: board.Query) -> None:
    """A state or a cause that there is not would be counted as none, for ever."""
    for label, text in re.findall(r'(\w+)(?:=|!=|=~|!~)"([^"$]*)"', query.expr):
        for one in text.split("|"):
            assert any(re.fullmatch(one, value) for value in VALUES[label]), (label, one)


@names
def test_columns_that_are_shown_are_labels(name: str) -> None:
    """A table that keeps, orders or renames a column which no query has would lose it without a word."""
    for one in board.panels_of(board.built()[name]):
        columns = {"Value", "Value #A", "Value #B", *SCRAPED}
        for target in one.get("targets") or ():
            for selected in promql.metrics(target["expr"]) if "range" in target else ():
                if selected.metric in board.FOREIGN:
                    continue
                columns |= set(METRICS[re.sub(r"_(bucket|sum|count)$", "", selected.metric)].attributes)
        shown = set(columns)
        for change in one.get("transformations") or ():
            options = change["options"]
            assert set((options.get("include") or {}).get("names", ())) <= shown, one["title"]
            assert set(options.get("indexByName", ())) | set(options.get("renameByName", ())) <= shown, one["title"]
            shown |= set(options.get("renameByName", {}).values())


# --- links ----------------------------------------------------------------------------------------------------------


def links() -> list[tuple[str, str]]:
    return [
        (name, text)
        for name, dashboard in board.built().items()
        for text in board.texts([dashboard["panels"], dashboard.get("links", [])])
        if text.startswith(("/d/", "${collector"))
    ]


@pytest.mark.parametrize(("name", "link"), links())
def test_every_link_leads_somewhere(name: str, link: str) -> None:
    """To a dashboard of ours with variables that it has, with the time; or to a page of the collector's."""
    by_uid = {dashboard["uid"]: dashboard for dashboard in board.built().values()}
    if link.startswith("${collector:raw}"):
        if runbook := re.fullmatch(r"\$\{collector:raw\}/runbooks/(\w+)#\$\{__value\.raw\}", link):
            text = runbook_text(runbook[1]) or ""
            assert [cause for cause in CAUSES if f'id="{cause}"' not in text] == []
        else:
            assert re.fullmatch(r"\$\{collector:raw\}/jobs/\$\{[^}]+\}", link)
        return
    parts = urlsplit(link)
    target = by_uid[parts.path.removeprefix("/d/")]
    variables = {one["name"] for one in target["templating"]["list"]}
    assert {key.removeprefix("var-") for key, _ in parse_qsl(parts.query)} <= variables
    assert parts.query.endswith("${__url_time_range}")
    carried = set(re.findall(r"\$\{(\w+):queryparam\}", parts.query))
    here = {one["name"] for one in board.built()[name]["templating"]["list"]}
    sources = {"prometheus", "traces", "loki", "environment", "service"} & variables & here
    assert "${__all_variables}" in parts.query or carried >= sources, "the same data sources as here"


def test_fields_in_links_are_columns() -> None:
    """`${__data.fields.Key}` names a column by what it is called in the table."""
    seen = 0
    for dashboard in board.built().values():
        for one in board.panels_of(dashboard):
            for field in {field for text in board.texts(one) for field in re.findall(r"__data\.fields\.(\w+)", text)}:
                renamed = [change["options"].get("renameByName", {}) for change in one["transformations"]]
                assert field in {value for names in renamed for value in names.values()}
                seen += 1
    assert seen


def test_every_dashboard_leads_to_the_others() -> None:
    for dashboard in board.built().values():
        assert any(
            link["type"] == "dashboards" and link["tags"] == ["lastspan"] and link["keepTime"] and link["includeVars"]
            for link in dashboard["links"]
        )


# --- one screen -----------------------------------------------------------------------------------------------------


def test_one_job_answers_on_one_screen() -> None:
    """At 1440 × 900: what is wrong, where, why, who holds it and what to do end above the lower edge of the window."""
    dashboard = board.built()["one-job"]
    lower = {
        one["title"]: (one["gridPos"]["y"] + one["gridPos"]["h"]) * (ROW_PIXELS + GAP_PIXELS)
        - GAP_PIXELS
        + ABOVE_PIXELS
        for one in board.panels_of(dashboard)
    }
    first = {
        "State", "No activity for", "Age against the allowed duration", "CPU of its thread", "Progress",
        "Last report of its process", "Where it stopped, and why", "What to do", "Who waits for whom",
    }  # fmt: skip
    assert {title for title, pixels in lower.items() if pixels <= 900} == first


def test_all_facts_fit_into_their_table() -> None:
    """Each in a line of its own, and room for three that wrap."""
    (table,) = [one for one in board.panels_of(board.built()["one-job"]) if one["title"] == "Where it stopped, and why"]
    facts = table["transformations"][0]["options"]["include"]["names"]
    line, title = 36, 40  # of a small cell; of the panel
    height = table["gridPos"]["h"] * (ROW_PIXELS + GAP_PIXELS) - GAP_PIXELS
    assert title + line * len(facts) <= height
