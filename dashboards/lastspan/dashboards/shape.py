"""The outline of a descriptor, looked at before grafana-dashboard-builder sees it: that takes it for granted.

Nodes are looked at, not values, so each mistake has its line. What `!include` brings is not seen here.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import Final

import yaml

from .mistakes import Place, Problem

MOST: Final = 100_000
"""Values in one document, aliases counted as often as they are used."""
ITEMS: Final = {
    "rows": ("row",), "panels": (), "targets": (), "templates": (), "annotations": (), "links": (),
}  # fmt: skip
"""Lists of components."""
_ROW: Final = frozenset(("title", "panels", "collapse", "repeat", "height", "showTitle"))
_TEXT: Final = "tag:yaml.org,2002:str"
_WRITTEN: Final = frozenset((_TEXT, "!raw", "!promql"))


def refuse_endless(node: yaml.Node) -> None:
    """Raise `yaml.MarkedYAMLError` if a document holds itself, or more than anybody would write."""
    _count(node, {}, set())


def _count(node: yaml.Node, counted: dict[int, int], within: set[int]) -> int:
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in within:
        raise yaml.MarkedYAMLError(problem="this holds itself, by an alias", problem_mark=node.start_mark)
    if id(node) not in counted:
        within.add(id(node))
        counted[id(node)] = 1 + sum(_count(child, counted, within) for child in _children(node))
        within.discard(id(node))
    if counted[id(node)] > MOST:
        raise yaml.MarkedYAMLError(problem=f"more than {MOST:,} values in one document", problem_mark=node.start_mark)
    return counted[id(node)]


def problems(entry: yaml.Node) -> Iterator[Problem]:
    """Yield what is wrong with the outline of a component, and with its texts."""
    yield from _texts(entry, "")
    parts = _keys(entry)
    name = parts.get("name")
    if name is None:
        if "project" in parts or "dashboard" in parts:
            yield Place(entry).problem("it needs a name")
        return  # for anchors
    if _text(name) is None:
        yield Place(name).problem("a name is a text")
    for key, node in parts.items():
        if key == "project":
            yield from _project(node)
        elif key == "dashboard":
            yield from _dashboard(node, _text(name) or "")
        elif key in ITEMS:
            yield from _items(key, node, "")


def _project(node: yaml.Node) -> Iterator[Problem]:
    listed = _keys(node).get("dashboards")
    names = listed.value if isinstance(listed, yaml.SequenceNode) else []
    if not names or not all(_text(name) for name in names):
        yield Place(listed or node).problem("a project is a mapping; under `dashboards` it lists those to build")


def _dashboard(node: yaml.Node, name: str) -> Iterator[Problem]:
    about = f"dashboard {name!r}"
    if not isinstance(node, yaml.MappingNode):
        yield Place(node).problem("a dashboard is a mapping: uid, title, rows …", panel=about)
        return
    parts = _keys(node)
    for needed in ("uid", "title", "rows"):
        if needed not in parts:
            yield Place(node).problem(f"a dashboard has {'a ' if needed != 'rows' else ''}{needed}", panel=about)
    for key, below in parts.items():
        if key in ITEMS:
            yield from _items(key, below, about, empty=key != "rows")


def _items(key: str, node: yaml.Node, about: str, *, empty: bool = True) -> Iterator[Problem]:
    if _is_included(node):
        return
    if not isinstance(node, yaml.SequenceNode) or not (node.value or empty):
        yield Place(node).problem(f"{key} are a list", panel=about)
        return
    for item in node.value:
        if _text(item) or _is_included(item):
            continue
        if not isinstance(item, yaml.MappingNode) or not item.value:
            yield Place(item).problem(f"in {key} stands a name, or one component: `- KIND: {{…}}`", panel=about)
            continue
        for kind, below in item.value:
            yield from _item(kind, below, about)


def _item(kind: yaml.Node, node: yaml.Node, about: str) -> Iterator[Problem]:
    if _is_included(node):
        return
    if not isinstance(node, yaml.MappingNode):
        yield Place(kind).problem(f"{kind.value} is a mapping", panel=about)
        return
    parts = _keys(node)
    if kind.value == "row":
        for key in sorted(set(parts) - _ROW):
            yield Place(parts[key]).problem(f"a row has no option {key!r}", panel=about)
        if "panels" in parts:
            yield from _items("panels", parts["panels"], about, empty=False)
        else:
            yield Place(node).problem("a row has panels", panel=about)
    elif str(kind.value).endswith("-panel") and "targets" in parts:
        title = _text(parts.get("title")) or "(without a title)"
        yield from _items("targets", parts["targets"], f"panel {title!r}", empty=False)
    elif "target" in parts:
        yield from _items("target", yaml.SequenceNode("", [parts["target"]], parts["target"].start_mark), about)


# --- texts ----------------------------------------------------------------------------------------------------------


def _texts(node: yaml.Node, title: str) -> Iterator[Problem]:
    if isinstance(node, yaml.ScalarNode):
        reason = _unreadable(node)
        if reason:
            yield Place(node).problem(reason, panel=f"panel {title!r}" if title else "")
        return
    title = _text(_keys(node).get("title")) or title
    for child in _children(node):
        yield from _texts(child, title)


def _unreadable(node: yaml.ScalarNode) -> str:
    if node.tag not in _WRITTEN:
        return ""
    if not all(letter.isprintable() or letter.isspace() or ord(letter) > 0x9F for letter in node.value) or any(
        "\ud800" <= letter <= "\udfff" for letter in node.value
    ):
        return "it holds a character that cannot be shown"
    if node.tag != _TEXT:
        return ""
    try:
        for _ in parameters(node.value):
            pass
    except ValueError as error:
        return f"texts with braces need !raw or !promql ({error})"
    return ""


def parameters(text: str) -> Iterator[str]:
    """Yield the parameters that a text names, `{refresh}`; raise `ValueError` if its braces are something else."""
    for _, name, layout, conversion in string.Formatter().parse(text):
        if name is None:
            continue
        if not name.isidentifier() or layout or conversion:
            raise ValueError(f"{{{name}}} is no parameter")
        yield name


# --- nodes ----------------------------------------------------------------------------------------------------------


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    for child in node.value:
        yield from child if isinstance(child, tuple) else (child,)


def _keys(node: yaml.Node) -> dict[str, yaml.Node]:
    """Return what a mapping holds under texts; of anything else, nothing."""
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}


def _text(node: yaml.Node | None) -> str | None:
    found = node is not None and isinstance(node, yaml.ScalarNode) and node.tag in _WRITTEN
    return str(node.value) if node is not None and found else None


def _is_included(node: yaml.Node) -> bool:
    return bool(node.tag == "!include")
