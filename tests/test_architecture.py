"""Which room may import which, in all portions: arrows point one way, and none is drawn that is not listed here.

A room is a folder or a module; its name is that of its package without `lastspan`. `python -m tests.test_architecture`
prints who imports whom.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path
from typing import Final

import pytest

REPOSITORY: Final = Path(__file__).parents[1]
FOLDERS: Final = ("instrumentation", "collector", "alerts", "dashboards", "examples")
TOP_LEVEL_MAX: Final = 12
"""Entries in the top folder of a big portion: what one look takes in."""

ROOMS: Final = {
    # The contract. Every room may import it.
    "semconv": "",
    # The worker's part.
    "instrumentation.__init__": "load jobs",
    "instrumentation.load": "agent jobs libraries config guest",
    "instrumentation.agent": "announce send libraries registry config guest",
    "instrumentation.jobs": "registry guest",
    "instrumentation.libraries": "registry evidence guest",
    "instrumentation.announce": "send evidence registry config guest",
    "instrumentation.evidence.diagnosis": "evidence registry guest",
    "instrumentation.evidence.__init__": "evidence.stack evidence.kernel",
    "instrumentation.evidence.locks": "evidence.waits evidence.kernel evidence.stack evidence.python evidence.objects "
    "registry guest",
    "instrumentation.evidence.waits": "evidence.stack evidence.clients evidence.python evidence.objects registry guest",
    "instrumentation.evidence.loops": "evidence.python evidence.objects guest",
    "instrumentation.evidence.stack": "evidence.clients evidence.python evidence.objects registry guest",
    "instrumentation.evidence.clients": "evidence.objects registry",
    "instrumentation.evidence.python": "evidence.objects guest",
    "instrumentation.evidence.objects": "evidence.kernel guest",
    "instrumentation.evidence.kernel": "guest",
    "instrumentation.registry": "guest",
    "instrumentation.send": "config guest",
    "instrumentation.config": "guest",
    "instrumentation.guest": "",
    # The collector. The command line asks the API, as anybody does; only `lastspan collector` is `serve`.
    "collector.__init__": "cli dashboards",
    "collector.cli": "serve publish.text model alerts dashboards examples.demo examples.running",
    "collector.serve": "receive probe memory publish judge track decode model",
    "collector.receive": "decode model",
    "collector.probe": "model",
    "collector.memory": "track model",
    # Publishers ask the View, and no other publisher; `web` puts them behind one port.
    "collector.publish.web": "publish judge track model",
    "collector.publish.metrics": (
        "publish.families publish.labels publish.chosen publish.jobs publish.blocked_by publish.shapes publish.view "
        "publish.text judge track model"
    ),
    "collector.publish.pages": (
        "publish.jobs publish.blocked_by publish.status publish.shapes publish.view publish.text judge track model"
    ),
    "collector.publish.jaeger": "publish.jobs publish.shapes publish.view judge track model",
    "collector.publish.alert": (
        "publish.labels publish.chosen publish.jobs publish.shapes publish.view judge track model alerts"
    ),
    "collector.publish.status": "publish.view publish.text track model",
    "collector.publish.learned": "publish.shapes publish.view judge track model",
    "collector.publish.jobs": "publish.blocked_by publish.shapes publish.view judge track model",
    "collector.publish.chosen": "publish.view track",
    "collector.publish.labels": "publish.shapes judge",
    "collector.publish.blocked_by": "publish.shapes judge track model",
    "collector.publish.view": "judge track model",
    "collector.publish.shapes": "judge model",
    "collector.publish.families": "",
    "collector.publish.text": "model",
    "collector.judge.cause": (
        "judge.names judge.words judge.blockers judge.context judge.verdict judge.policy track model"
    ),
    "collector.judge.graph": (
        "judge.names judge.words judge.blockers judge.context judge.verdict judge.policy track model"
    ),
    "collector.judge.lint": (
        "judge.names judge.words judge.blockers judge.context judge.verdict judge.policy track model"
    ),
    "collector.judge.words": "judge.names judge.blockers judge.context judge.verdict judge.policy track model",
    "collector.judge.blockers": "judge.names judge.context judge.verdict judge.policy track model",
    "collector.judge.context": "judge.verdict judge.policy track model",
    "collector.judge.verdict": "judge.policy track model",
    "collector.judge.policy": "track model",
    "collector.judge.names": "model",
    "collector.track": "model",
    "collector.decode": "model",
    "collector.model": "",
    # What is built for others' programs, and what shows all of it.
    "alerts": "",
    "dashboards": "",
    "examples.stack": "examples.pager examples.demo examples.running collector.cli",
    "examples.pager": "collector.cli",
    "examples.orders": "examples.demo examples.running examples.shop",
    "examples.demo": "examples.running examples.shop",
    "examples.running": "",
    "examples.shop": "",
    "examples.files": "",
}
"""Each room, and the rooms that it may import. A name is looked up in the room's own portion first."""

PURE: Final = (
    "collector.model",
    "collector.decode",
    "collector.track",
    "collector.judge",
    "collector.memory.entries",
    "collector.publish.view",
    "collector.publish.chosen",
    "collector.publish.shapes",
    "collector.publish.labels",
    "collector.publish.blocked_by",
    "collector.publish.learned",
    "collector.publish.status",
    "collector.publish.text",
    "collector.publish.alert.model",
    "collector.publish.alert.texts",
    "collector.publish.alert.active_alerts",
    "collector.publish.alert.open_alerts",
    "collector.publish.alert.outbox",
    "collector.publish.alert.target",
)
"""What decides and keeps, and does no I/O: bytes, records and the time are given to it."""
FORBIDDEN: Final = frozenset(
    {
        "asyncio",
        "datetime",
        "grpc",
        "http",
        "logging",
        "os",
        "random",
        "signal",
        "socket",
        "threading",
        "time",
        "uvicorn",
    }
)
"""What pure rooms import none of: a clock, a socket, a thread, a loop, a log."""

Graph = Mapping[str, set[str]]


# --- what is there --------------------------------------------------------------------------------------------------


@cache
def modules() -> dict[str, Path]:
    """Return all modules by name, without `lastspan.`; a package is the `__init__` in it."""
    found = {}
    for folder in FOLDERS:
        root = REPOSITORY / folder / "lastspan"
        for path in sorted(root.rglob("*.py")):
            found[".".join(path.relative_to(root).with_suffix("").parts)] = path
    return found


def named(imported: str) -> str:
    """Return the module that an import means; a name that is none of ours is returned as it is."""
    name = imported.removeprefix("lastspan.")
    return f"{name}.__init__" if f"{name}.__init__" in modules() else name


@cache
def imports(module: str) -> frozenset[str]:
    """Return what a module imports: anywhere in it, also for types only."""
    package = "lastspan." + module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {named(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            parts = {named(f"{base}.{alias.name}") for alias in node.names}
            found |= {part if part in modules() else named(base) for part in parts}
    return frozenset(found - {module})


def ours(module: str) -> set[str]:
    """Return the modules of ours that a module imports."""
    return {one for one in imports(module) if one in modules()}


def room_of(module: str) -> str:
    """Return the room in which a module is; empty: in none, as a package that only says what is in it."""
    fits = [room for room in ROOMS if module == room or module.startswith(f"{room}.")]
    return max(fits, key=len, default="")


def drawn() -> Graph:
    """Return which rooms import which."""
    found: dict[str, set[str]] = {room: set() for room in ROOMS}
    for module in modules():
        if room := room_of(module):
            found[room] |= {room_of(one) for one in ours(module)} - {room, ""}
    return found


def allowed() -> Graph:
    """Return which rooms may import which."""
    found = {}
    for room, names in ROOMS.items():
        portion = room.partition(".")[0]
        targets = {one for name in names.split() for one in _rooms(name, portion)}
        found[room] = (targets | {"semconv"}) - {room}
    found["semconv"] = set()
    return found


def _rooms(name: str, portion: str) -> set[str]:
    """Return the rooms that a name means: one, or all in a folder."""
    for whole in (f"{portion}.{name}", name):
        if rooms := {room for room in ROOMS if room == whole or room.startswith(f"{whole}.")}:
            return rooms
    raise AssertionError(f"{name} is no room")


def circle(graph: Graph) -> list[str]:
    """Return a circle in a graph; empty: there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as found:
        return list(found.args[1])
    return []


# --- what holds -----------------------------------------------------------------------------------------------------


def test_every_module_is_in_a_room_that_is_there() -> None:
    """A package that is split into rooms only says what is in it."""
    homeless = [module for module in modules() if not room_of(module) and ours(module)]
    assert homeless == []
    assert set(ROOMS) == {room_of(module) for module in modules()} - {""}


def test_rooms_import_only_what_they_may() -> None:
    print(table())
    may, arrows = allowed(), {(room, other) for room, others in drawn().items() for other in others}
    assert not {(room, other) for room, other in arrows if other not in may[room]}


def test_arrows_point_one_way() -> None:
    """No room may import one that may import it, at any distance."""
    assert circle(allowed()) == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {module: set(ours(module)) for module in modules()}
    assert circle(graph) == []


@pytest.mark.parametrize("name", PURE)
def test_what_is_pure_does_no_io(name: str) -> None:
    """Nor does what it imports of ours."""
    whole = [module for module in modules() if module == name or module.startswith(f"{name}.")]
    assert whole, f"{name} is not there"
    for module in whole:
        assert not {one.partition(".")[0] for one in imports(module)} & FORBIDDEN, module
        impure = {one for one in ours(module) if not one.startswith((*PURE, "semconv.", "alerts."))}
        assert impure == set(), module


@pytest.mark.parametrize("portion", ["instrumentation", "collector"])
def test_one_look_takes_in_a_portion(portion: str) -> None:
    entries = [path for path in (REPOSITORY / portion / "lastspan" / portion).iterdir() if path.name != "__pycache__"]
    assert len(entries) <= TOP_LEVEL_MAX


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_namespace_has_no_owner(folder: str) -> None:
    """`lastspan` is a namespace package: an `__init__.py` would hide its other parts."""
    assert not (REPOSITORY / folder / "lastspan" / "__init__.py").exists()


# --- for people -----------------------------------------------------------------------------------------------------


def table() -> str:
    """Return who imports whom, those first on which others stand. `!`: it may not. All import semconv: left out."""
    graph, may = drawn(), allowed()
    expected = {room: others & may[room] for room, others in graph.items()}
    floors: dict[str, int] = {}
    for room in TopologicalSorter(expected).static_order():
        floors[room] = max((floors[one] + 1 for one in expected[room]), default=0)
    by_portion = defaultdict(list)
    for room in ROOMS:
        by_portion[room.partition(".")[0]].append(room)
    return "\n\n".join("\n".join(_lines(rooms, graph, may, floors)) for rooms in by_portion.values())


def _lines(rooms: list[str], graph: Graph, may: Graph, floors: Mapping[str, int]) -> Iterator[str]:
    portion = rooms[0].partition(".")[0]
    arrows = sum(len(graph[room] - {"semconv"}) for room in rooms)
    yield f"{portion}: {len(rooms)} rooms, {arrows} arrows, {len({floors[room] for room in rooms})} floors"
    for room in sorted(rooms, key=lambda room: (floors[room], room)):
        names = sorted(one.removeprefix(f"{portion}.") + "!" * (one not in may[room]) for one in graph[room])
        yield f"  {room.removeprefix(f'{portion}.'):20} → {', '.join(name for name in names if name != 'semconv')}"


if __name__ == "__main__":
    print(table())
