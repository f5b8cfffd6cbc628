"""What a frame executes now, and which `with` blocks it is inside: from its code positions and its source.

Where columns are not known (Python 3.10, `-X no_debug_ranges`) a line tells, if it has only one candidate.
"""

from __future__ import annotations

import ast
import linecache
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from types import CodeType, FrameType
from typing import Final, Generic, TypeVar

from .. import python
from ..objects.values import MISSING, attribute
from ..python import Span, variable
from .expressions import evaluate, mangled
from .frames import line_of

__all__ = [
    "MISSING",
    "Expr",
    "attribute",
    "calls",
    "entered",
    "evaluate",
    "expression",
    "holding",
    "is_entering",
    "is_known",
    "learn",
    "position",
    "variable",
]

_FILE_MAX: Final = 2_000_000
_TEXT_MAX: Final = 120

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Expr:
    """An expression at a place of the source."""

    text: str
    node: ast.expr
    file: str
    line: int
    entering: bool = False
    """It is the item of a `with` statement whose `__enter__` or `__aenter__` runs."""
    alias: str = ""
    """The name after `as`, in a `with` statement."""
    rebound: bool = False
    """The block gives one of its names to another object: it need not mean what was entered."""


class Cache(Generic[T]):
    """A bounded memory by code object (and place in it); the oldest half goes when it is full."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: dict[tuple[int, object], tuple[CodeType, T]] = {}

    def has(self, code: CodeType, place: object = None) -> bool:
        """Say whether it is known already."""
        return (id(code), place) in self._known

    def of(self, code: CodeType, place: object, make: Callable[[], T]) -> T:
        """Return what is known, or make it. The entry keeps the code, so that nothing else gets its id."""
        key = (id(code), place)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self._limit:
                for old in list(islice(self._known, self._limit // 2)):
                    del self._known[old]
            found = self._known[key] = code, make()
        return found[1]


_expressions: Final[Cache[Expr | None]] = Cache(4096)
_entered: Final[Cache[tuple[Expr | None, ...]]] = Cache(4096)
_calls: Final[Cache[tuple[tuple[tuple[int, int], str, Expr], ...]]] = Cache(1024)
_trees: Final[Cache[ast.AST | None]] = Cache(64)


# --- where a frame stands ---------------------------------------------------------------------------------------------


def expression(frame: FrameType) -> Expr | None:
    """Return the expression that the frame executes: a call, an await, the item of a `with` that it enters.

    Or what a `for` goes over, while it gets the next item.
    """
    code, place = frame.f_code, frame.f_lasti
    return _expressions.of(code, place, lambda: _guarded(_expression, code, place))


def entered(frame: FrameType) -> tuple[Expr | None, ...]:
    """Return the context managers of the `with` blocks that the frame is inside, innermost first.

    None stands for one whose source is not known.
    """
    return learn(frame.f_code, frame.f_lasti)


def holding(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames of a stack, innermost first, that are inside a `with` block or whose code acquires something."""
    for _ in range(_DEPTH_MAX):
        if frame is None:
            return
        code = frame.f_code
        known = _idle.get(id(code))
        if known is None:
            known = _remember(code)
        if known[1] is not None and frame.f_lasti not in known[1]:
            yield frame
        frame = frame.f_back


_DEPTH_MAX: Final = 4096
"""A recursion may have the lock at its outer end."""
_IDLE_MAX: Final = 4096
_idle: Final[dict[int, tuple[CodeType, set[int] | None]]] = {}
"""By code: the places that are inside no `with` block; None: there is none in it. Most frames are passed over so."""


def _remember(code: CodeType) -> tuple[CodeType, set[int] | None]:
    if len(_idle) >= _IDLE_MAX:
        _idle.clear()
    has_blocks = python.has_blocks(code) or "acquire" in code.co_names
    row = _idle[id(code)] = code, set() if has_blocks else None
    return row


def is_known(code: CodeType, place: int) -> bool:
    """Say whether a frame at this place costs no more than a look into a table."""
    return _entered.has(code, place) and ("acquire" not in code.co_names or _calls.has(code))


def learn(code: CodeType, place: int) -> tuple[Expr | None, ...]:
    """Read what is dear, source and syntax, of a place in code."""
    found = _entered.of(code, place, lambda: _guarded(_entered_at, code, place) or ())
    if "acquire" in code.co_names:
        calls(code)
    elif not found and (row := _idle.get(id(code))) is not None and row[1] is not None and len(row[1]) < _PLACES_MAX:
        row[1].add(place)
    return found


_PLACES_MAX: Final = 256


def calls(code: CodeType) -> tuple[tuple[tuple[int, int], str, Expr], ...]:
    """Return the calls of `acquire` and `release`: where each one ends, which it is, and of what."""
    return _calls.of(code, None, lambda: _guarded(_lock_calls, code, 0) or ())


def position(frame: FrameType) -> tuple[int, int]:
    """Return line and column (0 where columns are not known) where the frame stands."""
    span = python.span_of(frame.f_code, frame.f_lasti)
    return (span[0], span[2]) if span is not None else (line_of(frame), 0)


def is_entering(frame: FrameType) -> bool:
    """Say whether the frame is in the `__enter__` of a `with` statement, even where there is no source."""
    return python.entering(frame.f_code, frame.f_lasti) is not None


def _guarded(make: Callable[[CodeType, int], T], code: CodeType, place: int) -> T | None:
    """Other people's sources and code objects are not to be trusted."""
    try:
        return make(code, place)
    except Exception:  # a guest never raises; not to know is an answer
        return None


def _expression(code: CodeType, place: int) -> Expr | None:
    at = python.entering(code, place)
    if at is not None:
        return _item(code, at)
    if python.gets_next(code, place):
        place -= 4  # what is before these two instructions ends the expression
    span = python.span_of(code, place)
    if span is None:
        return _call_in_line(code, place)
    return _segment(code, span) or _call_that_ends(code, span)


# --- with blocks ------------------------------------------------------------------------------------------------------


def _entered_at(code: CodeType, place: int) -> tuple[Expr | None, ...]:
    if place < 0 or not python.has_blocks(code):
        return ()
    return tuple(_block(code, at, end) for at, end in python.blocks(code, place))


def _block(code: CodeType, at: int, end: int) -> Expr | None:
    expr = _guarded(_item, code, at) if at >= 0 else None
    if expr is None:
        return None
    is_rebound = not _names(expr.node).isdisjoint(python.stored(code, at + 2, end))
    return replace(expr, rebound=is_rebound) if is_rebound else expr


def _names(node: ast.AST) -> set[str]:
    """Return the names and attributes in an expression."""
    found = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return found | {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}


def _item(code: CodeType, at: int) -> Expr | None:
    """Return the context expression of the `with` block that is entered at *at*."""
    span = python.span_of(code, at)
    if span is None:
        return _item_in_line(code, at)
    lines = _lines(code.co_filename)
    if lines is None:
        return None
    if _WITH.match(_cut(lines, span)):
        # Up to 3.12 the instruction stands for the whole statement; the one before it ends the context expression.
        whole, before = span, at - 2
        while before >= 0 and span == whole:
            span, before = python.span_of(code, before) or whole, before - 2
        if span == whole or not _STARTS_ITEM.search(lines[span[0] - 1][: span[2]]):
            return None  # only a part of the item: which branch was taken is not known
    return _segment(code, span, entering=True)


_WITH: Final = re.compile(rb"(async\s+)?with\b")
_STARTS_ITEM: Final = re.compile(rb"(\bwith|,|\(|^)\s*$")
_ALIAS: Final = re.compile(rb"\s*as\s+([A-Za-z_]\w*)")


def _item_in_line(code: CodeType, at: int) -> Expr | None:
    """The same where columns are not known: by the order of all items, or by the line if it has only one."""
    tree = _tree(code)
    if tree is None:
        return None
    items = [
        (node.lineno, item)
        for node in _inside(tree)
        if isinstance(node, (ast.With, ast.AsyncWith))
        for item in node.items
    ]
    items.sort(key=lambda one: (one[1].context_expr.lineno, one[1].context_expr.col_offset))
    enters = python.enters(code)
    line = python.line_at(code, at)
    if len(enters) == len(items):  # a `finally` block may stand in the code twice
        items = [items[sum(place < at for place in enters)]]
    found = [item for first, item in items if first <= line <= (item.context_expr.end_lineno or 0)]
    if len(found) != 1:
        return None
    alias = found[0].optional_vars
    return _plausible(code, found[0].context_expr, entering=True, alias=alias.id if isinstance(alias, ast.Name) else "")


# --- source -----------------------------------------------------------------------------------------------------------


def _segment(code: CodeType, span: Span, *, entering: bool = False) -> Expr | None:
    """Read the expression that stands at a span of the file."""
    lines = _lines(code.co_filename)
    if lines is None or lines[span[0] - 1][: span[2]].rstrip().endswith(b"."):
        return None
    text = _cut(lines, span)
    try:
        node = ast.parse(b"(" + text + b"\n)", mode="eval").body if text.strip() else None
    except (SyntaxError, ValueError):
        return None
    if node is None:
        return None
    alias = _ALIAS.match(lines[span[1] - 1][span[3] :]) if entering else None
    return _plausible(
        code, node, line=span[0], entering=entering, alias=alias[1].decode("ascii", "replace") if alias else ""
    )


def _plausible(
    code: CodeType, node: ast.expr, *, line: int = 0, entering: bool = False, alias: str = ""
) -> Expr | None:
    """Refuse what the code cannot have come from: a file that was edited since it was imported."""
    known = _known_names(code)
    for part in ast.walk(node):
        name = part.id if isinstance(part, ast.Name) else part.attr if isinstance(part, ast.Attribute) else None
        if name is not None and name not in known and mangled(name, code) not in known:
            return None
    text = " ".join(ast.unparse(node).split())
    text = text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 1] + "…"
    return Expr(text, node, code.co_filename, line or node.lineno, entering, alias)


def _known_names(code: CodeType, depth: int = 0) -> set[str]:
    """Return the names in a function's code, and in that of the lambdas and comprehensions inside of it."""
    known = {*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars}
    for inner in code.co_consts if depth < _INNER_MAX else ():
        if isinstance(inner, CodeType) and inner.co_name.startswith("<"):
            known |= _known_names(inner, depth + 1)
    return known


_INNER_MAX: Final = 4


def _cut(lines: list[bytes], span: Span) -> bytes:
    first, last, start, end = span
    if first == last:
        return lines[first - 1][start:end]
    return b"\n".join([lines[first - 1][start:], *lines[first : last - 1], lines[last - 1][:end]])


_files: Final[dict[str, tuple[int, list[bytes] | None]]] = {}
_FILES_MAX: Final = 64
_FILES_SIZE: Final = 4_000_000


def _lines(filename: str) -> list[bytes] | None:
    """Return the lines of a source file in UTF-8; None without one. The last few files are remembered."""
    if filename not in _files:
        lines = _read(filename)
        size = sum(map(len, lines or ()))
        while _files and (len(_files) >= _FILES_MAX or sum(row[0] for row in _files.values()) + size > _FILES_SIZE):
            del _files[next(iter(_files))]
        _files[filename] = size, lines
    return _files[filename][1]


def _read(filename: str) -> list[bytes] | None:
    if filename.startswith("<"):  # made by the application, as dataclasses and notebooks do
        made = linecache.cache.get(filename)
        return "".join(made[2]).encode().split(b"\n") if type(made) is tuple and len(made) == 4 else None
    try:
        status = os.stat(filename)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _FILE_MAX or not filename.endswith((".py", ".pyw")):
            return None
        with open(filename, "rb") as file:
            content = file.read(_FILE_MAX)
    except (OSError, ValueError):
        return None
    return _as_utf8(content).split(b"\n")


_CODING: Final = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")


def _as_utf8(content: bytes) -> bytes:
    content = content.removeprefix(b"\xef\xbb\xbf")
    for line in content.split(b"\n", 2)[:2]:
        if (found := _CODING.match(line)) and found[1].lower() not in (b"utf-8", b"utf8"):
            return content.decode(found[1].decode("ascii"), "replace").encode()
    return content


# --- syntax of a function, where positions do not suffice -------------------------------------------------------------


def _tree(code: CodeType) -> ast.AST | None:
    """Return the syntax of a function, with its file's line numbers; None where the source does not fit the code."""
    return _trees.of(code, None, lambda: _guarded(_parse, code, 0))


_PARSED_LINES_MAX: Final = 500
_MODULE_LINES_MAX: Final = 1000
_ENDS_MAX: Final = 8


def _parse(code: CodeType, _place: int) -> ast.AST | None:
    lines = _lines(code.co_filename)
    if lines is None or (code.co_name.startswith("<") and code.co_name != "<module>"):
        return None
    if code.co_name == "<module>":
        return ast.parse(b"\n".join(lines)) if len(lines) <= _MODULE_LINES_MAX else None
    first = code.co_firstlineno
    last = max([first, *(line for _, _, line in code.co_lines() if line)])
    if last - first > _PARSED_LINES_MAX or last > len(lines):
        return None
    for end in islice(_ends(lines, first, last), _ENDS_MAX):
        try:
            tree = _parsed(lines[first - 1 : end], first)
        except (SyntaxError, ValueError):
            continue
        return _function(tree, code)
    return None


def _parsed(lines: list[bytes], first: int) -> ast.stmt:
    """Parse one block. Under an `if` it may keep its indentation, and so its columns."""
    is_indented = lines[0][:1] in (b" ", b"\t")
    tree = ast.parse(b"\n".join([b"if 1:", *lines] if is_indented else lines))
    ast.increment_lineno(tree, first - 2 if is_indented else first - 1)
    outer = tree.body[0]
    return outer.body[0] if is_indented and isinstance(outer, ast.If) else outer


def _ends(lines: list[bytes], first: int, last: int) -> Iterator[int]:
    """Yield the lines at which the function may end: what follows is not indented deeper."""
    margin = len(lines[first - 1]) - len(lines[first - 1].lstrip())
    for number in range(last, len(lines)):
        line = lines[number]
        if line.strip() and len(line) - len(line.lstrip()) <= margin and line.strip()[:1] not in b")]}#":
            yield number
    yield len(lines)


def _function(function: ast.stmt, code: CodeType) -> ast.AST | None:
    if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)) or function.name != code.co_name:
        return None
    arguments = function.args
    names = [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    count = code.co_argcount + code.co_kwonlyargcount
    if [mangled(name, code) for name in names] != [mangled(name, code) for name in code.co_varnames[:count]]:
        return None
    return function


def _inside(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk over a function's own code, not over the functions and classes inside."""
    waiting = list(ast.iter_child_nodes(tree))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            waiting.extend(ast.iter_child_nodes(node))


def _call_in_line(code: CodeType, place: int) -> Expr | None:
    """Return the call of the method that is called here, if the line has only one of that name."""
    tree, line = _tree(code), python.line_at(code, place)
    if tree is None:
        return None
    loaded = python.method_called(code, place)
    found = [
        node
        for node in _inside(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == loaded
        and node.lineno <= line <= (node.end_lineno or node.lineno)
    ]
    return _plausible(code, found[0]) if len(found) == 1 else None


def _call_that_ends(code: CodeType, span: Span) -> Expr | None:
    """Return the call that ends where the span does: that of a method begins at its name, if it has several lines."""
    tree = _tree(code)
    if tree is None:
        return None
    for node in _inside(tree):
        if isinstance(node, ast.Call) and (node.end_lineno, node.end_col_offset) == (span[1], span[3]):
            return _plausible(code, node)
    return None


def _lock_calls(code: CodeType, _place: int) -> tuple[tuple[tuple[int, int], str, Expr], ...]:
    tree = _tree(code)
    if tree is None:
        return ()
    found = []
    rebound = _given_twice(tree, code)
    for node in _inside(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr in ("acquire", "release") and (of := _plausible(code, node.func.value)) is not None:
            end = (node.end_lineno or node.lineno, node.end_col_offset or 0)
            if rebound.isdisjoint(_names(of.node)):
                found.append((end, node.func.attr, of))
    return tuple(sorted(found, key=lambda one: one[0]))


def _given_twice(tree: ast.AST, code: CodeType) -> set[str]:
    """Return the names that mean more than one object in a function."""
    given = Counter(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    for node in _inside(tree):
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            given[node.id if isinstance(node, ast.Name) else node.attr] += 1
    return {name for name, count in given.items() if count > 1}
