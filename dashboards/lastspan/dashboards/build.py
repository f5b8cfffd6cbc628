"""From descriptors to dashboards: everything is built before anything is written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from grafana_dashboards.components.base import ComponentRegistry
from grafana_dashboards.components.projects import Project
from grafana_dashboards.errors import DashboardBuilderException
from grafana_dashboards.exporter import DashboardExporter, ProjectProcessor

from . import layout
from .mistakes import DescriptorError, Place, Problem
from .reading import documents

OURS: Final = Path(__file__).with_name("descriptors")
Dashboards = dict[str, dict[str, Any]]
"""File name without ending → the dashboard."""


def build(descriptors: Iterable[Path] = (OURS,), settings: Mapping[str, str] | None = None) -> Dashboards:
    """Return the dashboards that files (or folders of them) describe; *settings* are parameters of their projects.

    Raises `DescriptorError` with all that is wrong.
    """
    layout.install()
    registry = ComponentRegistry()
    places = _load(registry, [file for path in descriptors for file in _files(Path(path))])
    projects = list(registry[Project])
    settings = dict(settings or {})
    _refuse_unknown(settings, projects)
    collected = _Collected(places)
    for project in projects:
        collected.build(project, settings)
    if collected.problems:
        raise DescriptorError(collected.problems)
    return collected.dashboards


def write(dashboards: Dashboards, folder: Path) -> list[Path]:
    """Write each into a file of its own, as a whole or not at all; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, dashboard in sorted(dashboards.items()):
        path = folder / f"{name}.json"
        half = path.with_suffix(".json.new")
        half.write_text(text(dashboard), encoding="utf-8")
        os.replace(half, path)
        written.append(path)
    return written


def text(dashboard: Mapping[str, Any]) -> str:
    """Return a dashboard as it is written: the same for the same descriptors, readable in a diff."""
    return json.dumps(dashboard, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


class _Collected(DashboardExporter):
    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places
        self.dashboards: Dashboards = {}
        self.problems: list[Problem] = []

    def build(self, project: Any, settings: Mapping[str, str]) -> None:
        """Build a project's dashboards; each that cannot be built adds its problems."""
        for name in project.data.get("dashboards") or ():
            one = {**project.data, "dashboards": [name]}
            try:
                ProjectProcessor([self]).process_projects([_named(project, one)], settings)
            except DescriptorError as error:
                self.problems += error.problems
            except (AttributeError, IndexError, KeyError, ValueError) as error:
                self.problems.append(self._of_format(name, error))
            except DashboardBuilderException:
                place = self._places[project.name].line_of(name)
                self.problems.append(place.problem(f"no dashboard is called {name!r}"))

    def _of_format(self, name: str, error: Exception) -> Problem:
        """Say which text it was that grafana-dashboard-builder took for a format with parameters."""
        place = self._places[name]
        found = place.bad_format()
        if found is None:
            raise error  # something else: ours
        where, title = found
        reason = f"texts with braces need !raw or !promql ({error})"
        return where.problem(reason, panel=f"panel {title!r}" if title else "")

    def process_dashboard(self, project_name: str, dashboard_name: str, dashboard_data: dict[str, Any]) -> None:
        """Take one; grafana-dashboard-builder calls it."""
        if dashboard_name in self.dashboards:
            place = self._places[project_name].line_of(dashboard_name)
            raise DescriptorError([place.problem("two dashboards have this name", panel=dashboard_name)])
        twin = next(
            (name for name, one in self.dashboards.items() if one.get("uid") == dashboard_data.get("uid")), None
        )
        if twin is not None and "uid" in dashboard_data:
            place = self._places[dashboard_name].line_of(dashboard_data["uid"])
            raise DescriptorError([place.problem(f"{twin!r} has this uid", panel=dashboard_name)])
        self.dashboards[dashboard_name] = dashboard_data


def _named(project: Any, data: dict[str, Any]) -> Any:
    return Project({"name": project.name, "project": data}, project.registry)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for ending in ("yaml", "yml") for file in path.rglob(f"*.{ending}"))
    return [path]


def _load(registry: Any, files: Iterable[Path]) -> dict[str, Place]:
    """Fill the registry; return where projects and dashboards stand."""
    places: dict[str, Place] = {}
    problems: list[Problem] = []
    projects = False
    for file in files:
        try:
            for entry, place in documents(str(file)):
                problems += _add(registry, entry, place)
                if "project" in entry or "dashboard" in entry:
                    places.setdefault(str(entry.get("name")), place)
                projects |= "project" in entry
        except OSError as error:
            problems.append(Problem(error.strerror or str(error), str(file), 1))
        except UnicodeDecodeError:
            problems.append(Problem("this is no UTF-8 text", str(file), 1))
        except DescriptorError as error:
            problems += error.problems
    if not projects and not problems:
        problems.append(Problem("no project is described: a project lists the dashboards to build"))
    if problems:
        raise DescriptorError(problems)
    return places


def _add(registry: Any, entry: dict[str, Any], place: Place) -> list[Problem]:
    kinds = [key for key in entry if key != "name"]
    if "name" not in entry:  # for anchors
        return []
    if len(kinds) != 1:
        return [place.problem(f"beside its name it is one thing, not {', '.join(map(str, kinds)) or 'none'}")]
    if registry._types.get(kinds[0]) is None:  # otherwise it would be skipped without a word
        return [place.problem(f"{kinds[0]!r} is no kind of component", panel=str(entry["name"]))]
    try:
        registry.add(entry)
    except (DashboardBuilderException, AttributeError, TypeError) as error:
        return [place.problem(str(error), panel=str(entry["name"]))]
    return []


def _refuse_unknown(settings: Mapping[str, str], projects: list[Any]) -> None:
    known = sorted({key for project in projects for key in project.data} - {"dashboards"})
    for key in settings:
        if key not in known:
            raise DescriptorError(
                [Problem(f"--set {key}: no project has this parameter; there are {', '.join(known)}")]
            )
