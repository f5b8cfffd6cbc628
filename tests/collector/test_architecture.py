"""Who may know whom: the core knows no clock, socket, thread, loop or log; only `pipeline` knows every room."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lastspan.collector

ROOT = Path(lastspan.collector.__file__).parent
CORE = (
    "evidence",
    "model",
    "proto",
    "values",
    "layout",
    "tails",
    "calls",
    "attributes",
    "parts",
    "decode",
    "databases",
    "logfire",
    "gresearch",
    "otlp_json",
    "sketch",
    "learn",
    "policy",
    "judge",
    "known",
    "blockers",
    "words",
    "cause",
    "graph",
    "lint",
    "track",
    "entries",
    "alert/model",
    "alert/texts",
    "alert/wrong",
    "alert/open",
    "alert/outbox",
)
FORBIDDEN = {
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
MAY_KNOW = {
    "evidence": set(),
    "model": {"evidence"},
    "values": set(),
    "proto": set(),
    "layout": {"model", "values"},
    "tails": {"layout", "proto", "values"},
    "calls": {"model", "values"},
    "otlp_json": {"values"},
    "logfire": {"calls", "model", "values"},
    "gresearch": {"layout", "logfire", "model", "otlp_json", "proto", "values"},
    "attributes": {"layout", "model", "proto", "tails", "values"},
    "parts": {"evidence", "layout", "model", "proto", "sketch", "values"},
    "speakers": {"model"},
    "decode": {
        "attributes",
        "calls",
        "evidence",
        "gresearch",
        "layout",
        "logfire",
        "model",
        "parts",
        "proto",
        "speakers",
        "values",
    },
    "databases": {"model"},
    "sketch": set(),
    "learn": {"model", "sketch"},
    "track": {"evidence", "learn", "model", "sketch"},
    "entries": {"model", "track"},
    "database": {"entries"},
    "memory": {"database", "entries", "track"},
    "policy": {"learn", "model"},
    "judge": {"model", "policy", "track"},
    "known": {"databases", "evidence", "judge", "model", "policy", "track"},
    "blockers": {"evidence", "judge", "known", "model", "track"},
    "words": {"blockers", "known", "model", "track"},
    "cause": {"blockers", "evidence", "judge", "known", "model", "track", "words"},
    "graph": {"blockers", "known", "track", "words"},
    "lint": {"evidence", "known", "model", "policy", "track", "words"},
}


def modules(room: str) -> list[Path]:
    single = ROOT / f"{room}.py"
    return [single] if single.exists() else sorted((ROOT / room).rglob("*.py"))


def imported(path: Path) -> tuple[set[str], set[str]]:
    """Return the top names that are imported from elsewhere, and the rooms that are."""
    outside: set[str] = set()
    rooms: set[str] = set()
    depth = len(path.relative_to(ROOT).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            outside |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            outside.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level == depth:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            rooms |= {name.partition(".")[0] for name in names}
    return outside, rooms


@pytest.mark.parametrize("room", CORE)
def test_the_core_is_pure(room: str) -> None:
    assert modules(room), f"{room} is not there"
    for path in modules(room):
        outside, _ = imported(path)
        assert not outside & FORBIDDEN, f"{path.name} imports {outside & FORBIDDEN}"


@pytest.mark.parametrize(("room", "known"), MAY_KNOW.items())
def test_rooms_know_only_those_before_them(room: str, known: set[str]) -> None:
    for path in modules(room):
        _, rooms = imported(path)
        assert rooms <= known, f"{path.name} knows {rooms - known}"


def test_the_namespace_has_no_owner() -> None:
    """`lastspan` is a namespace package: an `__init__.py` would hide its other parts."""
    assert not (ROOT.parent / "__init__.py").exists()
