"""The dashboard as a whole, as Grafana 10 … 13 reads it: schema 42, a grid, stable ids.

grafana-dashboard-builder finds its own `Dashboard` by class, so a subclass would not be used: `install` gives that
class another way to write itself. What has no `uid` is written the old way.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Any, Final

from grafana_dashboards.components import dashboards
from grafana_dashboards.components.annotations import Annotations
from grafana_dashboards.components.links import Links
from grafana_dashboards.components.rows import Rows
from grafana_dashboards.components.templates import Templates
from grafana_dashboards.errors import DashboardBuilderException
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import GridPos

from .components import PlacedPanel
from .lint import COLUMNS, lint
from .mistakes import DescriptorError, MistakeError, Place, Problem
from .reading import PLACE, plain
from .sdk import Built, apply, as_json

_PARTS: Final = ("rows", "templates", "annotations", "links")
_HOUSE: Final = {
    "timezone": "browser",
    "tooltip": 1,  # one cross-hair for all panels
    "refresh": "30s",
    "time": {"from_val": "now-3h", "to": "now"},
    "editable": True,
}
_older = dashboards.Dashboard.gen_json_from_data


def install() -> None:
    """Have grafana-dashboard-builder write dashboards our way; harmless twice."""
    dashboards.Dashboard.gen_json_from_data = _dashboard


def _dashboard(self: Any, data: dict[str, Any], context: Any) -> Any:
    if "uid" not in data:
        return _older(self, data, context)
    place = data.get(PLACE)
    about = f"dashboard {data.get('title', self.name)!r}"
    try:
        builder, places = _build(self.registry, data, place)
        model = builder.build()
        _number(model)
        written = _finish(as_json(model))
    except MistakeError as mistake:
        problem = Problem(mistake.reason) if place is None else place.problem(mistake.reason, path=mistake.path)
        raise DescriptorError([problem]).within(about, place) from None
    except DashboardBuilderException as error:
        raise DescriptorError([_of_builder(error, place)]).within(about, place) from None
    _refuse(written, places, place, about)
    return written


def _build(registry: Any, data: dict[str, Any], place: Place | None) -> tuple[Any, dict[str, Place | None]]:
    head = {key: value for key, value in data.items() if key not in (*_PARTS, "title", PLACE)}
    builder = dashboard.Dashboard(plain(data["title"]))
    apply(builder, {key: value for key, value in _HOUSE.items() if key not in head})
    apply(builder, plain(head))
    for variable in _items(registry, Templates, "templates", data):
        builder.with_variable(Built(variable))
    for annotation in _items(registry, Annotations, "annotations", data):
        builder.annotation(Built(annotation))
    builder.links([Built(link) for link in _items(registry, Links, "links", data)])
    places: dict[str, Place | None] = {}
    floor = [0] * COLUMNS
    for row in _items(registry, Rows, "rows", data):
        for panel in row["panels"]:
            if not isinstance(panel, PlacedPanel):
                raise MistakeError(
                    f"{panel.get('type')!r} is a panel of an older Grafana; use one of lastspan's", ("rows",)
                )
            places.setdefault(panel.model.title, panel.place)
        _add_row(builder, row, floor)
    return builder, places


def _items(registry: Any, kind: type, key: str, data: dict[str, Any]) -> list[Any]:
    """Return a part's items, each whatever its component makes."""
    found: list[Any] = registry.create_component(kind, {key: data[key]}).gen_json() if key in data else []
    return found


def _add_row(builder: Any, row: dict[str, Any], floor: list[int]) -> None:
    bar = dashboard.Row(plain(row["title"]))
    if row.get("repeat"):
        bar.repeat(row["repeat"])
    line = GridPos(h=1, w=COLUMNS)
    if row["collapse"] or row["title"]:
        line = _place(line, floor)
        bar.grid_pos(line)
    panels = [panel.model for panel in row["panels"]]
    for panel in panels:
        panel.grid_pos = _place(panel.grid_pos or GridPos(h=8, w=12), floor)
    if row["collapse"]:
        floor[:] = [line.y + 1] * COLUMNS  # closed, it is one line high
        bar.collapsed(True)
        for panel in panels:
            bar.with_panel(Built(panel))
    if row["collapse"] or row["title"]:
        builder.with_row(bar)
    if not row["collapse"]:
        for panel in panels:
            builder.with_panel(Built(panel))


def _place(size: Any, floor: list[int]) -> Any:
    """Return the highest place that is free, the leftmost of these: what is low stacks beside what is high.

    *floor*: for each column, where it is free. (The SDK would place in lines, and run over the right edge.)
    """
    width = min(size.w, COLUMNS)
    y, x = min((max(floor[x : x + width]), x) for x in range(COLUMNS - width + 1))
    floor[x : x + width] = [y + size.h] * width
    return GridPos(x=x, y=y, h=size.h, w=size.w)


def _number(model: Any) -> None:
    """Give each panel an id made of its title: links to a panel stay good when others come or go."""
    taken: set[int] = set()
    for panel in _all(model.panels):
        number = zlib.crc32((panel.title or panel.type_val).encode()) % 100_000 + 1
        while number in taken:
            number += 1
        taken.add(number)
        panel.id_val = number


def _all(panels: Any) -> Iterator[Any]:
    for panel in panels or ():
        yield panel
        yield from _all(getattr(panel, "panels", None))


def _finish(written: Any) -> Any:
    """Take back what the SDK sets for Grafana 13 alone: it moves links and annotations into a menu."""
    marks = written.setdefault("annotations", {}).setdefault("list", [])
    for item in (*written.get("links", ()), *marks):
        item.pop("placement", None)
    return written


def _refuse(written: Any, places: dict[str, Place | None], place: Place | None, about: str) -> None:
    problems = []
    for finding in lint(written):
        where = places.get(finding.panel) or place
        panel = f"panel {finding.panel!r}" if finding.panel else about
        problems.append(
            Problem(finding.reason, panel=panel) if where is None else where.problem(finding.reason, panel=panel)
        )
    if problems:
        raise DescriptorError(problems)


def _of_builder(error: Exception, place: Place | None) -> Problem:
    """Say where a name stands that grafana-dashboard-builder does not know."""
    name = re.search(r"with name '(.+?)' found", str(error))
    if place is None or name is None:
        return Problem(str(error))
    return place.line_of(name.group(1)).problem(f"nothing is called {name.group(1)!r}, and no component either")


install()
