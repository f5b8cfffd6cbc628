"""What a frame executes now, from its code positions and its source; and the objects that such an expression names.

Nothing of the host runs here: no property, no `__getattr__`, no `__eq__`, no metaclass. What cannot be read that way is
`MISSING`. Where columns are not known (Python 3.10, `-X no_debug_ranges`) a line tells, if it has only one candidate.
"""

from __future__ import annotations

import ast
import dis
import inspect
import linecache
import os
import re
import stat
import sys
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from types import CodeType, FrameType
from typing import Any, Final, Generic, TypeAlias, TypeVar

MISSING: Final = object()
"""There is no such thing, or it cannot be read without running somebody's code."""

Span: TypeAlias = "tuple[int, int, int, int]"
"""First line, last line, first column, column after the last; columns in bytes of UTF-8."""

_FILE_MAX: Final = 2_000_000
_TEXT_MAX: Final = 120
_KEYS_MAX: Final = 10_000
_NUMBER_MAX: Final = 1 << 32

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

_ENTER: Final = frozenset(
    dis.opmap[name]
    for name in ("BEFORE_WITH", "BEFORE_ASYNC_WITH", "SETUP_WITH", "SETUP_ASYNC_WITH")
    if name in dis.opmap
)
_SETUP: Final = frozenset(dis.opmap[name] for name in ("SETUP_WITH", "SETUP_ASYNC_WITH") if name in dis.opmap)
_LEAVE_BY_ERROR: Final = dis.opmap["WITH_EXCEPT_START"]
_AWAIT_MAX: Final = 32
"""Bytes between the start of an `async with` and its body: the await of `__aenter__`."""


def expression(frame: FrameType) -> Expr | None:
    """Return the expression that the frame executes: a call, an await, or the item of a `with` that it enters."""
    code, place = frame.f_code, frame.f_lasti
    return _expressions.of(code, place, lambda: _guarded(_expression, code, place))


def entered(frame: FrameType) -> tuple[Expr | None, ...]:
    """Return the context managers of the `with` blocks that the frame is inside, innermost first.

    None stands for one whose source is not known.
    """
    code, place = frame.f_code, frame.f_lasti
    return _entered.of(code, place, lambda: _guarded(_entered_at, code, place) or ())


def is_known(code: CodeType, place: int) -> bool:
    """Say whether both, of a frame at this place, cost no more than a look into a table."""
    return _entered.has(code, place) and ("acquire" not in code.co_names or _calls.has(code))


def learn(code: CodeType, place: int) -> None:
    """Read what is dear, source and syntax, before a frame at this place is looked at."""
    _entered.of(code, place, lambda: _guarded(_entered_at, code, place) or ())
    if "acquire" in code.co_names:
        calls(code)


def calls(code: CodeType) -> tuple[tuple[tuple[int, int], str, Expr], ...]:
    """Return the calls of `acquire` and `release`: where each one ends, which it is, and of what."""
    return _calls.of(code, None, lambda: _guarded(_lock_calls, code, 0) or ())


def position(frame: FrameType) -> tuple[int, int]:
    """Return line and column (0 where columns are not known) where the frame stands."""
    span = _span(frame.f_code, frame.f_lasti)
    return (span[0], span[2]) if span is not None else (frame.f_lineno or 0, 0)


def is_entering(frame: FrameType) -> bool:
    """Say whether the frame is in the `__enter__` of a `with` statement, even where there is no source."""
    return _entering(frame.f_code, frame.f_lasti) is not None


def _guarded(make: Callable[[CodeType, int], T], code: CodeType, place: int) -> T | None:
    """Other people's sources and code objects are not to be trusted."""
    try:
        return make(code, place)
    except Exception:  # a guest never raises; not to know is an answer
        return None


def _expression(code: CodeType, place: int) -> Expr | None:
    at = _entering(code, place)
    if at is not None:
        return _item(code, at)
    span = _span(code, place)
    if span is None:
        return _call_in_line(code, place)
    return _segment(code, span) or _call_that_ends(code, span)


def _entering(code: CodeType, place: int) -> int | None:
    """Return where the `with` statement is entered whose `__enter__` (or the await of it) runs at *place*."""
    if place < 0:
        return None
    operations = code.co_code
    if operations[place] in _ENTER:
        return place
    if not code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        return None
    here = _raw_span(code, place)
    for at in range(place, max(place - _AWAIT_MAX, -1), -2):
        if _raw_span(code, at) != here:
            return None
        if operations[at] in _ENTER:
            return at
    return None


def _raw_span(code: CodeType, place: int) -> tuple[int | None, ...]:
    if sys.version_info >= (3, 11):
        return next(islice(code.co_positions(), place // 2, None))
    return (_line(code, place),)


def _span(code: CodeType, place: int) -> Span | None:
    if place < 0:
        return None
    raw = _raw_span(code, place)
    return None if len(raw) != 4 or None in raw else raw  # type: ignore[return-value]


def _line(code: CodeType, place: int) -> int:
    for first, end, line in code.co_lines():
        if first <= place < end:
            return line or 0
    return 0


# --- with blocks ------------------------------------------------------------------------------------------------------


def _entered_at(code: CodeType, place: int) -> tuple[Expr | None, ...]:
    if place < 0 or _LEAVE_BY_ERROR not in code.co_code[::2]:
        return ()
    return tuple(_guarded(_item, code, at) for at in _entries(code, place))


def _entries(code: CodeType, place: int) -> Iterator[int]:
    """Yield where the `with` blocks around *place* were entered, innermost first."""
    operations = code.co_code
    if sys.version_info < (3, 11):
        yield from reversed([at for at, end in _setups(operations) if at < place < end])
        return
    table = dis._parse_exception_table(code)  # type: ignore[attr-defined]
    seen: set[int] = set()
    while (handler := next((row.target for row in table if row.start <= place < row.end), None)) is not None:
        if handler in seen:
            return
        seen.add(handler)
        # An exception in the body would go to the block's handler, and from there to the handler of the block around.
        if operations[handler + 2] == _LEAVE_BY_ERROR:
            body = min(row.start for row in table if row.target == handler)
            yield next((at for at in range(body - 2, body - _AWAIT_MAX, -2) if operations[at] in _ENTER), body - 2)
        place = handler


def _setups(operations: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and handler of each `with` block of Python 3.10, whose instructions stand in the source's order."""
    argument = 0
    for at in range(0, len(operations), 2):
        argument = argument << 8 | operations[at + 1]
        if operations[at] == dis.EXTENDED_ARG:
            continue
        if operations[at] in _SETUP:
            yield at, at + 2 + argument * 2
        argument = 0


def _item(code: CodeType, at: int) -> Expr | None:
    """Return the context expression of the `with` block that is entered at *at*."""
    span = _span(code, at)
    if span is None:
        return _item_in_line(code, at)
    lines = _lines(code.co_filename)
    if lines is None:
        return None
    if _WITH.match(_cut(lines, span)):
        # Up to 3.12 the instruction stands for the whole statement; the one before it ends the context expression.
        whole, before = span, at - 2
        while before >= 0 and span == whole:
            span, before = _span(code, before) or whole, before - 2
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
    operations = code.co_code
    enters = [place for place in range(0, len(operations), 2) if operations[place] in (_SETUP or _ENTER)]
    line = _line(code, at)
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
    try:
        node = ast.parse(b"(" + _cut(lines, span) + b"\n)", mode="eval").body
    except (SyntaxError, ValueError):
        return None
    alias = _ALIAS.match(lines[span[1] - 1][span[3] :]) if entering else None
    return _plausible(
        code, node, line=span[0], entering=entering, alias=alias[1].decode("ascii", "replace") if alias else ""
    )


def _plausible(
    code: CodeType, node: ast.expr, *, line: int = 0, entering: bool = False, alias: str = ""
) -> Expr | None:
    """Refuse what the code cannot have come from: a file that was edited since it was imported."""
    known = {*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars}
    for part in ast.walk(node):
        name = part.id if isinstance(part, ast.Name) else part.attr if isinstance(part, ast.Attribute) else None
        if name is not None and name not in known and _mangled(name, code) not in known:
            if isinstance(part, ast.Name) and _is_bound_inside(name, node):
                continue
            return None
    text = " ".join(ast.unparse(node).split())
    text = text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 1] + "…"
    return Expr(text, node, code.co_filename, line or node.lineno, entering, alias)


def _is_bound_inside(name: str, node: ast.expr) -> bool:
    """Say whether a lambda or a comprehension in the expression makes the name: its code is another one."""
    return any(
        isinstance(part, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp))
        for part in ast.walk(node)
    )


def _mangled(name: str, code: CodeType) -> str:
    """Return the name that the compiler made of `__name` inside a class."""
    if not name.startswith("__") or name.endswith("__"):
        return name
    return next((known for known in code.co_names if known.startswith("_") and known.endswith(name)), name)


def _cut(lines: list[bytes], span: Span) -> bytes:
    first, last, start, end = span
    if first == last:
        return lines[first - 1][start:end]
    return b"\n".join([lines[first - 1][start:], *lines[first : last - 1], lines[last - 1][:end]])


_files: Final[dict[str, list[bytes] | None]] = {}
_FILES_MAX: Final = 16


def _lines(filename: str) -> list[bytes] | None:
    """Return the lines of a source file in UTF-8; None without one. The last few files are remembered."""
    if filename not in _files:
        if len(_files) >= _FILES_MAX:
            del _files[next(iter(_files))]
        _files[filename] = _read(filename)
    return _files[filename]


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


_PARSED_LINES_MAX: Final = 2000
_ENDS_MAX: Final = 8


def _parse(code: CodeType, _place: int) -> ast.AST | None:
    lines = _lines(code.co_filename)
    if lines is None or (code.co_name.startswith("<") and code.co_name != "<module>"):
        return None
    if code.co_name == "<module>":
        return ast.parse(b"\n".join(lines)) if len(lines) <= _PARSED_LINES_MAX else None
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
    if [_mangled(name, code) for name in names] != [_mangled(name, code) for name in code.co_varnames[:count]]:
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
    """Return the call of the method whose name was loaded last, if the line has only one of that name."""
    tree, line = _tree(code), _line(code, place)
    if tree is None:
        return None
    before = [one for one in dis.get_instructions(code) if one.offset < place]
    loaded = next((one.argval for one in reversed(before) if one.opname in ("LOAD_METHOD", "LOAD_ATTR")), None)
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
    for node in _inside(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr in ("acquire", "release") and (of := _plausible(code, node.func.value)) is not None:
            end = (node.end_lineno or node.lineno, node.end_col_offset or 0)
            found.append((end, node.func.attr, of))
    return tuple(sorted(found, key=lambda one: one[0]))


# --- objects ----------------------------------------------------------------------------------------------------------


def variable(frame: FrameType, name: str) -> object:
    """Return the value of one name as the frame sees it: local, of a closure, global or built in."""
    code = frame.f_code
    if code.co_flags & inspect.CO_OPTIMIZED:
        if name in code.co_varnames or name in code.co_cellvars or name in code.co_freevars:
            return _local(frame, name)
    elif (found := _entry(frame.f_locals, name)) is not MISSING:
        return found
    found = _entry(frame.f_globals, name)
    return found if found is not MISSING else _entry(frame.f_builtins, name)


def _entry(namespace: object, name: str) -> object:
    try:
        return dict.get(namespace, name, MISSING)  # type: ignore[call-overload]
    except TypeError:  # a class body may have a mapping of its own: not ours to call
        return MISSING


_OWN_SNAPSHOT: Final = frozenset({"locals", "vars", "eval", "exec", "dir"})


def _local(frame: FrameType, name: str) -> object:
    if sys.version_info >= (3, 13):
        return frame.f_locals.get(name, MISSING)
    # Before PEP 667 reading leaves a dictionary in the frame, which keeps the values alive: it is emptied again, unless
    # the function (or somebody who looked into it) has it too. A tracer would write it back into the frame.
    if not _OWN_SNAPSHOT.isdisjoint(frame.f_code.co_names) or frame.f_trace is not None:
        return MISSING
    if threading.gettrace() is not None or threading.getprofile() is not None:
        return MISSING
    snapshot = frame.f_locals
    value = snapshot.get(name, MISSING)
    if sys.getrefcount(snapshot) <= 3:  # the frame's, ours, and the argument's
        snapshot.clear()
    return value


def evaluate(node: ast.AST, frame: FrameType) -> object:
    """Return the object that an expression names in a frame, without running anybody's code; else `MISSING`."""
    try:
        return _evaluate(node, frame)
    except Exception:  # a guest never raises
        return MISSING


def _evaluate(node: ast.AST, frame: FrameType) -> object:
    match node:
        case ast.Name(id=name):
            return variable(frame, _mangled(name, frame.f_code))
        case ast.Attribute(value=value, attr=name):
            owner = _evaluate(value, frame)
            return MISSING if owner is MISSING else attribute(owner, _mangled(name, frame.f_code))
        case ast.Subscript(value=value, slice=key):
            return element(_evaluate(value, frame), _evaluate(key, frame))
        case ast.Constant(value=constant):
            return constant
        case ast.BinOp(left=left, op=operator, right=right):
            return _computed(operator, _evaluate(left, frame), _evaluate(right, frame))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            number = _evaluate(operand, frame)
            return -number if type(number) in (int, float) else MISSING  # type: ignore[operator]
        case ast.NamedExpr(target=target):
            return _evaluate(target, frame)
        case _:
            return MISSING


def _computed(operator: ast.operator, left: object, right: object) -> object:
    if type(left) is not int or type(right) is not int or abs(left) > _NUMBER_MAX or abs(right) > _NUMBER_MAX:
        return MISSING
    match operator:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Mod() | ast.FloorDiv() if right == 0:
            return MISSING
        case ast.Mod():
            return left % right
        case ast.FloorDiv():
            return left // right
        case _:
            return MISSING


def element(owner: object, key: object) -> object:
    """Return an element of an exact dict, list or tuple by an exact str or int."""
    if type(owner) is dict and type(key) in (str, int):
        if len(owner) > _KEYS_MAX or not all(type(one) in (str, int) for one in list(owner)):
            return MISSING  # another key of the same hash would be asked whether it is equal
        return owner.get(key, MISSING)
    if type(owner) is list and type(key) is int:
        return owner[key] if -len(owner) <= key < len(owner) else MISSING
    if type(owner) is tuple and type(key) is int:
        return owner[key] if -len(owner) <= key < len(owner) else MISSING
    return MISSING


_mro: Final[Callable[[type], tuple[type, ...]]] = type.__dict__["__mro__"].__get__
_namespace: Final[Callable[[type], types.MappingProxyType[str, Any]]] = type.__dict__["__dict__"].__get__
_own_name: Final[Callable[[type], str]] = type.__dict__["__name__"].__get__
_own_module: Final[Callable[[type], object]] = type.__dict__["__module__"].__get__
_PLAIN_LOOKUPS: Final[tuple[object, ...]] = (
    object.__getattribute__,
    type.__getattribute__,
    types.ModuleType.__getattribute__,
)


def kinds(value: object) -> tuple[type, ...]:
    """Return the classes of an object as they are, whatever its `__class__` says."""
    return _mro(type(value))


def class_name(kind: type) -> str:
    """Return module and name of a class, whatever its metaclass says."""
    return f"{_own_module(kind)}.{_own_name(kind)}" if type(_own_module(kind)) is str else _own_name(kind)


def class_attribute(kind: type, name: str) -> object:
    """Return what a class or one of its bases has under a name, without binding it."""
    for base in _mro(kind):
        if (found := _namespace(base).get(name, MISSING)) is not MISSING:
            return found
    return MISSING


def attribute(owner: object, name: str) -> object:
    """Return an attribute that is plainly stored: in the instance, in a slot, in the class or the module."""
    kind = type(owner)
    if not any(class_attribute(kind, "__getattribute__") is plain for plain in _PLAIN_LOOKUPS):
        return MISSING
    of_class = class_attribute(kind, name)
    if of_class is not MISSING:
        if type(of_class) is types.MemberDescriptorType:
            return _slot(of_class, owner)
        if class_attribute(type(of_class), "__set__") is not MISSING:
            return MISSING  # a property, or something like it
    if type in _mro(kind):
        found = class_attribute(owner, name)  # type: ignore[arg-type]
        return MISSING if found is not MISSING and _is_descriptor(found) else found
    stored = _stored(owner)
    if stored is not None and (found := _stored_entry(stored, name)) is not MISSING:
        return found
    return MISSING if of_class is not MISSING and _is_descriptor(of_class) else of_class


def _is_descriptor(value: object) -> bool:
    return class_attribute(type(value), "__get__") is not MISSING


def _slot(slot: types.MemberDescriptorType, owner: object) -> object:
    try:
        return slot.__get__(owner, type(owner))
    except (AttributeError, TypeError):  # nothing in it
        return MISSING


def _stored(owner: object) -> dict[str, object] | None:
    """Return an instance's own dictionary; None if its class gives out something else under that name."""
    descriptor = class_attribute(type(owner), "__dict__")
    if type(descriptor) not in (types.GetSetDescriptorType, types.MemberDescriptorType):
        return None
    found = descriptor.__get__(owner, type(owner))  # type: ignore[attr-defined]
    return found if type(found) is dict else None


def _stored_entry(stored: dict[str, object], name: str) -> object:
    if len(stored) > _KEYS_MAX or not all(type(one) is str for one in list(stored)):
        return MISSING
    return stored.get(name, MISSING)
