"""What is wrong with a descriptor, and where: file, line, panel, reason."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
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

    def bad_format(self) -> tuple[Place, str] | None:
        """Return the first text that Python cannot format, and the title of its panel; None: there is none."""
        return next((found for found in _titled(self.node, "") if not _is_formattable(found[0].node.value)), None)

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


def _titled(node: yaml.Node, title: str) -> Iterator[tuple[Place, str]]:
    """Yield the texts below *node*, each with the title of what it belongs to."""
    if isinstance(node, yaml.ScalarNode):
        if node.tag == "tag:yaml.org,2002:str":
            yield Place(node), title
        return
    if isinstance(node, yaml.MappingNode):
        title = next((value.value for key, value in node.value if key.value == "title"), title)
    for item in node.value:
        for child in item if isinstance(item, tuple) else (item,):
            yield from _titled(child, title)


def _is_formattable(text: str) -> bool:
    try:
        string.Formatter().vformat(text, (), _Anything())
    except (AttributeError, IndexError, KeyError, ValueError):
        return False
    return True


class _Anything(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""
