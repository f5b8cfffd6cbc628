"""What is wrong with a descriptor, and where: file, line, panel, reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

Path = tuple[Any, ...]
"""Keys and positions on the way into a descriptor."""


class MistakeError(Exception):
    """Something is wrong at *path* within a component; whoever knows its place says where that is."""

    def __init__(self, reason: str, path: Path = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake, as a person is told of it."""

    reason: str
    file: str = ""
    line: int = 0
    panel: str = ""
    """Title of the panel; or what else it is about."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file else ""
        return f"{where}{self.panel}: {self.reason}" if self.panel else f"{where}{self.reason}"


class DescriptorError(Exception):
    """Descriptors cannot be built."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = list(problems)

    def within(self, panel: str, place: Place | None) -> DescriptorError:
        """Return the error with *panel* and *place* named wherever none is."""
        return DescriptorError([_within(problem, panel, place) for problem in self.problems])


@dataclass(frozen=True, slots=True)
class Place:
    """Where a component stands in its file."""

    node: yaml.Node

    def problem(self, reason: str, *, panel: str = "", path: Path = ()) -> Problem:
        """Return a problem at *path* below this place."""
        mark = _below(self.node, path).start_mark
        return Problem(reason, mark.name, mark.line + 1, panel)

    def line_of(self, text: str) -> Place:
        """Return the place of the first scalar that reads *text*; this one, if there is none."""
        return next((Place(node) for node in _scalars(self.node) if node.value == text), self)


def _within(problem: Problem, panel: str, place: Place | None) -> Problem:
    if not problem.file and place is not None:
        problem = place.problem(problem.reason, panel=problem.panel)
    return replace(problem, panel=problem.panel or panel)


def _below(node: yaml.Node, path: Path) -> yaml.Node:
    for step in path:
        child = _child(node, step)
        if child is None:
            return node
        node = child
    return node


def _child(node: yaml.Node, step: Any) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item: yaml.Node = node.value[step]
        return item
    return None


def _scalars(node: yaml.Node) -> list[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        return [node]
    if isinstance(node, yaml.SequenceNode):
        return [found for item in node.value for found in _scalars(item)]
    return [found for pair in node.value for item in pair for found in _scalars(item)]
