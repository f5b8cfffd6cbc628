"""Components of grafana-dashboard-builder for the panels of today's Grafana, each built by a builder of the SDK.

    panels       stat-panel table-panel timeseries-panel state-timeline-panel heatmap-panel bar-gauge-panel text-panel
                 logs-panel traces-panel node-graph-panel
    targets      prom prom-now prom-table loki jaeger
    templates    datasource-variable query-variable textbox-variable constant-variable
    annotations  annotation-query
    links        tag-link url-link

The keys of each are the methods of its builder. `house` is what we set unless the descriptor does. To add a panel:
subclass `_Panel` and `PanelsItemBase`, name the builder. What makes the dashboard of them is in `layout`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from grafana_dashboards.common import get_component_type
from grafana_dashboards.components.annotations import AnnotationsItemBase
from grafana_dashboards.components.base import JsonGenerator
from grafana_dashboards.components.links import LinksItemBase
from grafana_dashboards.components.panels import PanelsItemBase
from grafana_dashboards.components.targets import Targets, TargetsItemBase
from grafana_dashboards.components.templates import TemplatesItemBase
from grafana_foundation_sdk.builders import (
    bargauge,
    dashboard,
    heatmap,
    logs,
    loki,
    nodegraph,
    prometheus,
    stat,
    statetimeline,
    table,
    text,
    timeseries,
)
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.dashboard import DashboardLink

from .mistakes import DescriptorError, MistakeError, Path, Place, Problem
from .reading import PLACE, PLACED, plain
from .sdk import Built, apply, decode

_SOURCES: Final = {
    "prometheus": {"type": "prometheus", "uid": "${prometheus}"},
    "loki": {"type": "loki", "uid": "${loki}"},
    "jaeger": {"type": "jaeger", "uid": "${traces}"},
    "grafana": {"type": "grafana", "uid": "-- Grafana --"},
}
"""Data sources by the kind of query: variables of the dashboard, so that each site names its own."""


class PlacedPanel(Built):
    """A panel, and where it is described."""

    def __init__(self, model: Any, place: Place | None) -> None:
        super().__init__(model)
        self.model = model
        self.place = place


class _Component:
    """Builds a descriptor's mapping, and says where a mistake is."""

    sdk: ClassVar[Any]
    """Makes the builder."""
    house: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        if issubclass(cls, JsonGenerator):  # not what such classes share
            PLACED.add(get_component_type(cls))

    def gen_json_from_data(self, data: Any, context: Any) -> Any:
        """Return what the mapping describes."""
        place, about = None, get_component_type(type(self))
        try:
            if not isinstance(data, dict):
                raise MistakeError(f"{about} is a mapping, not {data!r}")
            place = data.get(PLACE)
            about = self.about(data)
            return self.made({key: value for key, value in data.items() if key != PLACE}, place)
        except MistakeError as mistake:
            reason, path = mistake.reason, mistake.path
            problem = Problem(reason) if place is None else place.problem(reason, path=path)
            raise DescriptorError([problem]).within(about, place) from None
        except DescriptorError as error:
            raise error.within(about, place) from None

    def about(self, data: dict[str, Any]) -> str:
        """Return how a person knows it."""
        name = plain(data.get("name"))
        return f"{get_component_type(type(self))} {name!r}" if name else str(get_component_type(type(self)))

    def made(self, data: dict[str, Any], place: Place | None) -> Any:
        """Return the model."""
        builder = self.builder(data)
        apply(builder, {key: value for key, value in self.house.items() if key not in data})
        return apply(builder, plain(data)).build()

    def builder(self, data: dict[str, Any]) -> Any:
        """Return a builder; it may take away what it needs."""
        return type(self).sdk()


# --- panels -----------------------------------------------------------------------------------------------------------


class _Panel(_Component):
    def about(self, data: dict[str, Any]) -> str:
        return f"panel {plain(data.get('title')) or '(without a title)'!r}"

    def made(self, data: dict[str, Any], place: Place | None) -> PlacedPanel:
        for needed in ("title", "description"):
            if not data.get(needed):
                raise MistakeError(f"a panel has a {needed}; a description says what to do")
        if "targets" in data:
            targets = self._targets(data["targets"])
            kinds = sorted({target.source for target in targets})
            if len(kinds) > 1 and "datasource" not in data:
                raise MistakeError(f"its queries are for {' and '.join(kinds)}; a panel asks one", ("targets",))
            data["targets"] = [target.model for target in targets]
            data.setdefault("datasource", _SOURCES[targets[0].source])
        return PlacedPanel(super().made(data, place), place)

    def _targets(self, described: Any) -> list[Target]:
        """Let grafana-dashboard-builder resolve them: named, with parameters, in place."""
        if not isinstance(described, list) or not described:
            raise MistakeError("targets are a list of queries", ("targets",))
        for index, one in enumerate(described):
            _refuse_unknown(self._registry, one, ("targets", index))
        targets: list[Target] = self._registry.create_component(Targets, {"targets": described}).gen_json()
        for index, target in enumerate(targets):
            target.model.ref_id = target.model.ref_id or (_LETTERS[index] if index < len(_LETTERS) else f"Q{index}")
        return targets

    @property
    def _registry(self) -> Any:
        return self.registry  # type: ignore[attr-defined]  # of the component that this is mixed into


def _refuse_unknown(registry: Any, described: Any, path: Path) -> None:
    """What is neither a kind of query nor a named one would become a query of Graphite."""
    kinds = {get_component_type(kind) for kind in Target.__subclasses__()}
    for kind in [described] if isinstance(described, str) else described:
        if kind not in kinds and kind not in registry._get_component(Targets):
            raise MistakeError(f"{kind!r} is no kind of query; there are {', '.join(sorted(kinds))}", path)


_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LAST = {"calcs": ["lastNotNull"]}
_LEGEND = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}


class StatPanel(_Panel, PanelsItemBase):
    """One figure."""

    sdk = stat.Panel
    house: ClassVar = {"reduce_options": _LAST, "graph_mode": "none", "color_mode": "value", "height": 4, "span": 4}


class TablePanel(_Panel, PanelsItemBase):
    """Rows."""

    sdk = table.Panel
    house: ClassVar = {"filterable": True, "cell_height": "sm"}


class TimeseriesPanel(_Panel, PanelsItemBase):
    """Lines over time."""

    sdk = timeseries.Panel
    house: ClassVar = {
        "legend": _LEGEND,
        "tooltip": {"mode": "multi", "sort": "desc"},
        "fill_opacity": 10,
        "show_points": "never",
        "min": 0,
        "height": 8,
        "span": 12,
    }


class StateTimelinePanel(_Panel, PanelsItemBase):
    """States over time."""

    sdk = statetimeline.Panel
    house: ClassVar = {"legend": _LEGEND, "show_value": "never", "merge_values": True, "height": 8, "span": 12}


class HeatmapPanel(_Panel, PanelsItemBase):
    """A histogram over time."""

    sdk = heatmap.Panel
    house: ClassVar = {"height": 8, "span": 12}


class BarGaugePanel(_Panel, PanelsItemBase):
    """Bars, the longest first."""

    sdk = bargauge.Panel
    house: ClassVar = {
        "reduce_options": _LAST,
        "orientation": "horizontal",
        "display_mode": "basic",
        "show_unfilled": True,
        "value_mode": "text",
        "min": 0,
        "height": 8,
        "span": 12,
    }


class TextPanel(_Panel, PanelsItemBase):
    """Markdown."""

    sdk = text.Panel
    house: ClassVar = {"mode": "markdown"}


class LogsPanel(_Panel, PanelsItemBase):
    """Log lines."""

    sdk = logs.Panel
    house: ClassVar = {"show_time": True, "wrap_log_message": True, "sort_order": "Descending", "height": 8, "span": 12}


class NodeGraphPanel(_Panel, PanelsItemBase):
    """Two tables, `nodes` and `edges`, as a graph."""

    sdk = nodegraph.Panel
    house: ClassVar = {"height": 10, "span": 12}


class TracesPanel(_Panel, PanelsItemBase):
    """One trace."""

    house: ClassVar = {"height": 10, "span": 12}

    def builder(self, data: dict[str, Any]) -> Any:
        """The SDK has none for it: the one for any panel."""
        return dashboard.Panel().type("traces")


# --- queries ----------------------------------------------------------------------------------------------------------


class Target(_Component):
    """A query, and the kind of data source that answers it."""

    source: ClassVar[str]

    def about(self, data: dict[str, Any]) -> str:
        """Return nothing: it is known by its panel."""
        return ""

    def made(self, data: dict[str, Any], place: Place | None) -> Target:  # noqa: D102
        self.model = super().made(data, place)
        return self


class Prom(Target, TargetsItemBase):
    """PromQL over the time range."""

    sdk = prometheus.Dataquery
    source = "prometheus"
    house: ClassVar = {"range": True}


class PromNow(Target, TargetsItemBase):
    """PromQL at the end of the time range."""

    sdk = prometheus.Dataquery
    source = "prometheus"
    house: ClassVar = {"instant": True}


class PromTable(Target, TargetsItemBase):
    """PromQL at the end of the time range: a column for each label."""

    sdk = prometheus.Dataquery
    source = "prometheus"
    house: ClassVar = {"instant": True, "format": "table"}


class Loki(Target, TargetsItemBase):
    """LogQL."""

    sdk = loki.Dataquery
    source = "loki"


class _Plain(Dataquery):
    """A query that the SDK does not know, as it is."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        self.ref_id = ""

    def to_json(self) -> dict[str, Any]:
        return {**({"refId": self.ref_id} if self.ref_id else {}), **self.fields}


class Jaeger(Target, TargetsItemBase):
    """A trace of a Jaeger query API, by its id."""

    source = "jaeger"

    def made(self, data: dict[str, Any], place: Place | None) -> Target:  # noqa: D102
        if set(data) != {"query"}:
            raise MistakeError("jaeger has one option, query: the id of a trace")
        self.model = _Plain(**plain(data))
        return self


class GrafanaTags(Target, TargetsItemBase):
    """Annotations that people and deploy scripts leave in Grafana, by tag."""

    source = "grafana"

    def made(self, data: dict[str, Any], place: Place | None) -> Target:  # noqa: D102
        if set(data) != {"tags"}:
            raise MistakeError("grafana-tags has one option, tags")
        self.model = _Plain(type="tags", limit=100, matchAny=True, **plain(data))
        return self


# --- variables, annotations, links ------------------------------------------------------------------------------------


class _Named(_Component):
    def builder(self, data: dict[str, Any]) -> Any:
        if not isinstance(data.get("name"), str):
            raise MistakeError("it needs a name")
        return type(self).sdk(data.pop("name"))


class DatasourceVariable(_Named, TemplatesItemBase):
    """Which data source."""

    sdk = dashboard.DatasourceVariable


class QueryVariable(_Named, TemplatesItemBase):
    """Values that Prometheus knows."""

    sdk = dashboard.QueryVariable
    house: ClassVar = {"datasource": _SOURCES["prometheus"], "refresh": 2, "sort": 1}


class TextboxVariable(_Named, TemplatesItemBase):
    """What somebody types."""

    sdk = dashboard.TextBoxVariable


class ConstantVariable(_Named, TemplatesItemBase):
    """What `--set` says."""

    sdk = dashboard.ConstantVariable


class AnnotationQuery(_Component, AnnotationsItemBase):
    """Moments, drawn into every panel."""

    sdk = dashboard.AnnotationQuery
    house: ClassVar = {"enable": True}

    def made(self, data: dict[str, Any], place: Place | None) -> Any:  # noqa: D102
        source = "prometheus"
        if "target" in data:
            _refuse_unknown(self.registry, data["target"], ("target",))
            described = {"targets": [data["target"]]}
            (target,) = self.registry.create_component(Targets, described).gen_json()
            data["target"], source = target.model, target.source
        data.setdefault("datasource", _SOURCES[source])
        return super().made(data, place)


class _Link(_Component):
    kind: ClassVar[str]

    def made(self, data: dict[str, Any], place: Place | None) -> Any:
        return decode(DashboardLink, {"type": self.kind, **plain(data)})


class TagLink(_Link, LinksItemBase):
    """All dashboards with a tag."""

    kind = "dashboards"


class UrlLink(_Link, LinksItemBase):
    """An address."""

    kind = "link"
