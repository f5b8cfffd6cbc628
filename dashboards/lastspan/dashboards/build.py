"""From descriptors to dashboards: everything is built before anything is written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from grafana_dashboards.components.base import ComponentRegistry
from grafana_dashboards.components.dashboards import Dashboard
from grafana_dashboards.components.projects import Project
from grafana_dashboards.errors import DashboardBuilderException
from grafana_dashboards.exporter import DashboardExporter, ProjectProcessor

from . import layout
from .mistakes import DescriptorError, Place, Problem
from .reading import documents

OURS: Final = Path(__file__).with_name("descriptors")
_FILE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_FORMS: Final = {
    "collector_url": (re.compile(r"https?://[^\s\"'`<>{}\\]+"), "an address: https://lastspan.example"),
    "refresh": (re.compile(r"\d+(s|m|h|d)|"), "how often: 30s, 1m; empty: never"),
}
"""What settings of our own project look like."""
_SETTING: Final = re.compile(r"[^{}\x00-\x1f\x7f-\x9f\ud800-\udfff]*")
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
    _refuse_wrong(settings, projects)
    collected = _Collected(places)
    for project in projects:
        collected.build(project, settings)
    if collected.problems:
        raise DescriptorError(collected.problems)
    _refuse_unlisted(registry, projects, places)
    return collected.dashboards


def write(dashboards: Dashboards, folder: Path) -> list[Path]:
    """Write each into a file of its own, all of them or none; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {folder / f"{name}.json": text(dashboard) for name, dashboard in sorted(dashboards.items())}
    halves = {path: path.with_name(f"{path.name}.new") for path in whole}
    try:
        for path, half in halves.items():
            half.write_text(whole[path], encoding="utf-8")
        for path, half in halves.items():
            os.replace(half, path)
    except OSError:
        for half in halves.values():
            with suppress(OSError):
                half.unlink(missing_ok=True)
        raise
    return list(whole)


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
            if name in self.dashboards:
                self.problems.append(self._twice(project.name, name))
                continue
            one = {**project.data, "dashboards": [name]}
            try:
                ProjectProcessor([self]).process_projects([_named(project, one)], settings)
            except DescriptorError as error:
                self.problems += error.problems
            except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
                self.problems.append(self._unforeseen(name, error))
            except DashboardBuilderException:
                place = self._places[project.name].line_of(name)
                self.problems.append(place.problem(f"no dashboard is called {name!r}"))

    def _twice(self, project_name: str, name: str) -> Problem:
        return self._places[project_name].line_of(name).problem("two dashboards have this name", panel=name)

    def _unforeseen(self, name: str, error: Exception) -> Problem:
        """Say that grafana-dashboard-builder takes something for granted that is not so, and that `shape` let by."""
        about = f"dashboard {name!r}"
        reason = f"grafana-dashboard-builder cannot build this ({type(error).__name__}: {error})"
        place = self._places.get(name)
        return Problem(reason, panel=about) if place is None else place.problem(reason, panel=about)

    def process_dashboard(self, project_name: str, dashboard_name: str, dashboard_data: dict[str, Any]) -> None:
        """Take one; grafana-dashboard-builder calls it."""
        if not _FILE.fullmatch(dashboard_name):
            place = self._places[project_name].line_of(dashboard_name)
            raise DescriptorError(
                [place.problem("the name becomes a file's: letters, digits, . _ -", panel=dashboard_name)]
            )
        if dashboard_name in self.dashboards:
            raise DescriptorError([self._twice(project_name, dashboard_name)])
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
            described = list(documents(str(file)))
            if not described:
                problems.append(Problem("it describes nothing", str(file), 1))
            for entry, place in described:
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


def _refuse_unlisted(registry: Any, projects: list[Any], places: Mapping[str, Place]) -> None:
    """Otherwise nobody would notice that a dashboard is not there."""
    listed = [str(name) for project in projects for name in project.data.get("dashboards") or ()]
    if any("{" in name for name in listed):  # names with parameters: who knows
        return
    forgotten = [one.name for one in registry[Dashboard] if one.name not in listed]
    if forgotten:
        reason = "no project lists it under `dashboards`: it would not be built"
        raise DescriptorError([places[name].problem(reason, panel=f"dashboard {name!r}") for name in forgotten])


def _refuse_wrong(settings: Mapping[str, str], projects: list[Any]) -> None:
    known = sorted({key for project in projects for key in project.data} - {"dashboards"})
    for key in settings:
        if key not in known:
            raise DescriptorError(
                [Problem(f"--set {key}: no project has this parameter; there are {', '.join(known)}")]
            )
        form, wanted = _FORMS.get(key, (_SETTING, "a text without braces, in one line"))
        if not form.fullmatch(settings[key]):
            raise DescriptorError([Problem(f"--set {key}: {settings[key]!r} is not {wanted}")])
