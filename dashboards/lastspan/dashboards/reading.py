"""Descriptors as YAML: places are kept, keys may not repeat, and three tags are known.

`!raw` keeps its braces: grafana-dashboard-builder would take `{{state}}` or `${job}` for parameters of its own.
`!promql` is `!raw` whose PromQL is parsed, and in which `%jobs` and its like are written out.
`!words causes` are value mappings, written from what `semconv` declares.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterator
from pathlib import Path as File
from typing import Any

import yaml
from grafana_dashboards.gdbyaml import GDBLoader

from . import promql, shape, words
from .mistakes import DescriptorError, MistakeError, Path, Place, Problem

PLACE = "__place__"
"""The key under which a component's mapping says where it stands."""

PLACED: set[str] = {"dashboard", "row"}
"""Types of components whose place is kept; ours add themselves."""


class Raw:
    """A text that nobody expands: no `str`, so it goes through the contexts of grafana-dashboard-builder untouched."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def plain(self) -> str:
        """Return the text."""
        return self.text


SELECTORS = {
    "%where": 'environment=~"$environment", service=~"$service"',
    "%jobs": 'environment=~"$environment", service=~"$service", job_name=~"$job_name", queue=~"$queue"',
    "%job": 'job_key="$job"',
}
"""What a query may write for the variables of its dashboard: `lastspan_jobs{%jobs}`."""
_SELECTOR = re.compile(r"%[a-z]+")


class Query(Raw):
    """PromQL, in one line, its selectors written out."""

    __slots__ = ()

    def plain(self) -> str:
        """Return the query, or raise `MistakeError`."""
        text = _SELECTOR.sub(_selector, " ".join(self.text.split()))
        promql.check(text)
        return text


def _selector(match: re.Match[str]) -> str:
    if match.group() not in SELECTORS:
        raise MistakeError(f"{match.group()!r} is not one of the selectors {', '.join(SELECTORS)}")
    return SELECTORS[match.group()]


def plain(value: Any, path: Path = ()) -> Any:
    """Return *value* with texts for what the tags made, and without places."""
    if isinstance(value, Raw):
        try:
            return value.plain()
        except MistakeError as mistake:
            raise MistakeError(mistake.reason, path) from None
    if isinstance(value, list):
        return [plain(item, (*path, index)) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: plain(item, (*path, key)) for key, item in value.items() if key != PLACE}
    return value


def documents(path: str) -> Iterator[tuple[Any, Place]]:
    """Yield what a file describes, each with its place; anything but a list of mappings is an error."""
    with open(path, encoding="utf-8") as stream:
        try:
            loader = _Descriptors(stream)
            while loader.check_node():
                yield from _entries(loader, loader.get_node())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise DescriptorError([Problem(error.problem or str(error), path, mark.line + 1 if mark else 0)]) from None
        except yaml.reader.ReaderError as error:
            raise DescriptorError([Problem(str(error.reason), path, _line_of(stream, error.position))]) from None
        except yaml.YAMLError as error:
            raise DescriptorError([Problem(str(error), path, 1)]) from None
        except RecursionError:
            raise DescriptorError([Problem("it is nested too deeply", path, 1)]) from None


def _line_of(stream: Any, position: int) -> int:
    stream.seek(0)
    return int(stream.read(position).count("\n")) + 1


def _entries(loader: Any, node: yaml.Node) -> Iterator[tuple[Any, Place]]:
    shape.refuse_endless(node)
    described = loader.construct_document(node)
    if not isinstance(node, yaml.SequenceNode):
        raise DescriptorError([Place(node).problem("a descriptor is a list of components: `- name: …`")])
    for entry, entry_node in zip(described, node.value, strict=True):
        if not isinstance(entry, dict):
            raise DescriptorError([Place(entry_node).problem("a component is a mapping: `name: …`, and what it is")])
        found = list(shape.problems(entry_node))
        if found:
            raise DescriptorError(found)
        yield entry, Place(entry_node)


# --- what GDBLoader learns, so that its own command line knows it too ------------------------------------------------


def _mapping(loader: Any, node: yaml.MappingNode) -> Iterator[dict[Any, Any]]:
    data: dict[Any, Any] = {}
    yield data
    _refuse_twice(node)
    data.update(loader.construct_mapping(node))
    for key_node, value_node in node.value:
        value = data.get(key_node.value) if isinstance(key_node.value, Hashable) else None
        if key_node.value in PLACED and isinstance(value, dict):
            value[PLACE] = Place(value_node)


def _refuse_twice(node: yaml.MappingNode) -> None:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if isinstance(key_node, yaml.ScalarNode) and key_node.tag != "tag:yaml.org,2002:merge":
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value!r} is there twice", key_node.start_mark
                )
            seen.add(key_node.value)


def _words(loader: Any, node: yaml.ScalarNode) -> list[dict[str, Any]]:
    try:
        return words.mappings(str(node.value))
    except KeyError:
        known = ", ".join(words.TABLES)
        raise yaml.constructor.ConstructorError(None, None, f"!words knows {known}", node.start_mark) from None


GDBLoader.add_constructor("tag:yaml.org,2002:map", _mapping)
GDBLoader.add_constructor("!raw", lambda loader, node: Raw(loader.construct_scalar(node)))
GDBLoader.add_constructor("!promql", lambda loader, node: Query(loader.construct_scalar(node)))
GDBLoader.add_constructor("!words", _words)


class _Descriptors(GDBLoader):
    """Descriptors are data: none may make a Python object or call anything, as GDBLoader would allow.

    And they become JSON: a date is the text that was written, and what JSON has not is refused.
    """

    def __init__(self, stream: Any, depth: int = 0) -> None:
        super().__init__(stream)
        self._depth = depth

    def construct_include(self, node: yaml.ScalarNode) -> Any:
        """Return what another file holds: the value of a YAML file, the text of any other."""
        path = File(self._root, str(self.construct_scalar(node)))
        try:
            if self._depth >= _INCLUDES:
                raise OSError(0, f"files that include others, {_INCLUDES} deep")
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "no UTF-8 text"
            raise yaml.constructor.ConstructorError(None, None, f"{path}: {reason}", node.start_mark) from None
        if path.suffix not in (".yaml", ".yml"):
            return text
        return _included(path, self._depth + 1)


def _included(path: File, depth: int) -> Any:
    with path.open(encoding="utf-8") as stream:
        loader = _Descriptors(stream, depth)
        node = loader.get_single_node()
        if node is None:
            return None
        shape.refuse_endless(node)
        return loader.construct_document(node)


def _number(loader: Any, node: yaml.ScalarNode) -> float:
    number: float = loader.construct_yaml_float(node)
    if not math.isfinite(number):
        raise yaml.constructor.ConstructorError(None, None, f"{node.value} is no number", node.start_mark)
    return number


_INCLUDES = 5
_Descriptors.yaml_multi_constructors = {}
for _tag in [tag for tag in _Descriptors.yaml_constructors if tag and "python/" in tag]:
    del _Descriptors.yaml_constructors[_tag]
for _kind in ("binary", "omap", "pairs", "set"):
    del _Descriptors.yaml_constructors[f"tag:yaml.org,2002:{_kind}"]
_Descriptors.add_constructor("tag:yaml.org,2002:float", _number)
_Descriptors.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: loader.construct_scalar(node))
