"""What instructions say: where the `with` statements of a function are entered, which blocks are around a place in it.

Of an instruction that this interpreter has not, the number is -1: no instruction has it, so nothing is found.
"""

from __future__ import annotations

import dis
import importlib
import inspect
from collections.abc import Iterator
from itertools import islice
from types import CodeType
from typing import Final, TypeAlias

Span: TypeAlias = "tuple[int, int, int, int]"
"""First line, last line, first column, column after the last; columns in bytes of UTF-8."""

_REAL: Final = 256
"""Since 3.12 `dis` also names instructions of the compiler's own, from here on, which no code has."""


def _number(name: str) -> int:
    found = dis.opmap.get(name, -1)
    return found if found < _REAL else -1


def _numbers(*names: str) -> frozenset[int]:
    return frozenset(map(_number, names)) - {-1}


def _specials() -> tuple[str, ...]:
    """Return the methods that `LOAD_SPECIAL` finds (3.14), in the order of its argument."""
    try:
        return tuple(importlib.import_module("_opcode").get_special_method_names())
    except (ImportError, AttributeError):
        return ()


_SETUP: Final = _numbers("SETUP_WITH", "SETUP_ASYNC_WITH")
"""3.10: enters a block, and says where it ends."""
_ENTER: Final = _numbers("BEFORE_WITH") | _SETUP
_ENTER_ASYNC: Final = _number("BEFORE_ASYNC_WITH")
_SPECIAL, _CALL = _number("LOAD_SPECIAL"), _number("CALL")
"""3.14: `__enter__` is found by the one, called by the other."""
_SPECIALS: Final = _specials()
_LEAVE_BY_ERROR: Final = _number("WITH_EXCEPT_START")
_AWAITING: Final = _numbers(
    *("CACHE", "GET_AWAITABLE", "LOAD_CONST", "LOAD_COMMON_CONSTANT", "PUSH_NULL", "SEND", "YIELD_VALUE", "YIELD_FROM"),
    *("RESUME", "END_SEND", "JUMP_BACKWARD_NO_INTERRUPT", "JUMP_BACKWARD"),
)
"""The instructions of an await: between the start of an `async with` and its body, that of `__aenter__`."""
_AWAIT_MAX: Final = 40
"""Bytes that they take."""
_BEGIN, _NEXT = _number("GET_ITER"), _number("FOR_ITER")

has_columns: Final = hasattr(CodeType, "co_positions")
"""Code knows the columns of its instructions, unless it was compiled without (`-X no_debug_ranges`)."""


def span_of(code: CodeType, place: int) -> Span | None:
    """Return what an instruction was compiled from; None where columns are not known."""
    if place < 0 or not has_columns:
        return None
    found = next(islice(code.co_positions(), place // 2, None), ())
    return None if len(found) != 4 or None in found else found  # type: ignore[return-value]


def line_at(code: CodeType, place: int) -> int:
    """Return the line of an instruction; 0: it has none."""
    for first, end, line in code.co_lines():
        if first <= place < end:
            return line or 0
    return 0


def method_called(code: CodeType, place: int) -> str | None:
    """Return the name of the method that is called here, or else of the attribute that was loaded last.

    Of 3.10 the instructions are a pair, with those of the arguments between them.
    """
    steps = [one for one in dis.get_instructions(code) if one.offset <= place]
    is_paired = bool(steps) and steps[-1].opname == "CALL_METHOD"
    depth = 0
    for one in reversed(steps[:-1]):
        if one.opname == "LOAD_METHOD" and depth:
            depth -= 1
        elif one.opname == "LOAD_METHOD" or (one.opname == "LOAD_ATTR" and not is_paired):
            return str(one.argval)
        elif one.opname == "CALL_METHOD" and is_paired:
            depth += 1
    return None


def gets_next(code: CodeType, place: int) -> bool:
    """Say whether a `for` gets its first item here: up to 3.12 this stands for the whole statement."""
    operations = code.co_code
    return 2 <= place < len(operations) and operations[place] == _NEXT and operations[place - 2] == _BEGIN


def has_blocks(code: CodeType) -> bool:
    """Say whether there is a `with` block in a function."""
    return _LEAVE_BY_ERROR >= 0 and _LEAVE_BY_ERROR in code.co_code[::2]


def enters(code: CodeType) -> list[int]:
    """Return where `with` blocks are entered, in the order of the code."""
    operations = code.co_code
    places = range(0, len(operations), 2)
    if _SETUP:
        return [place for place in places if operations[place] in _SETUP]
    return [place for place in places if _is_entry(operations, place)]


def _is_entry(operations: bytes, place: int) -> bool:
    if operations[place] == _CALL:
        return _special(operations, place) in ("__enter__", "__aenter__")
    return operations[place] in _ENTER or operations[place] == _ENTER_ASYNC


def _special(operations: bytes, place: int) -> str:
    """Return the special method that is called at a place; empty: another one."""
    if place < 2 or operations[place - 2] != _SPECIAL or operations[place - 1] >= len(_SPECIALS):
        return ""
    return _SPECIALS[operations[place - 1]]


def entering(code: CodeType, place: int) -> int | None:
    """Return where the `with` statement is entered whose `__enter__` (or the await of it) runs at *place*."""
    operations = code.co_code
    if not 0 <= place < len(operations):
        return None
    if _is_entry(operations, place):
        return place
    if not code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        return None
    while place >= 0 and operations[place] in _AWAITING:
        place -= 2
    is_async = operations[place] == _ENTER_ASYNC or _special(operations, place) == "__aenter__"
    return place if place >= 0 and is_async and _is_entry(operations, place) else None


def blocks(code: CodeType, place: int) -> Iterator[tuple[int, int]]:
    """Yield where the `with` blocks around *place* were entered (-1: unknown), and where they end; innermost first."""
    operations = code.co_code
    if _SETUP:
        yield from reversed([(at, end) for at, end in _setups(operations) if at < place < end])
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
            end = max(row.end for row in table if row.target == handler and row.start < handler)
            before = range(body - 2, max(body - _AWAIT_MAX, -1), -2)
            yield next((at for at in before if _is_entry(operations, at)), -1), end
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


def stored(code: CodeType, first: int, end: int) -> Iterator[str]:
    """Yield the local variables and attributes that are given a value between two places."""
    operations = code.co_code
    for at in range(first, min(end, len(operations)), 2):
        name, argument = dis.opname[operations[at]], operations[at + 1]
        if name == "STORE_ATTR" and argument < len(code.co_names):
            yield code.co_names[argument]
        elif name.startswith("STORE_FAST"):  # since 3.13 there are pairs, with two numbers in one
            for index in (argument,) if name == "STORE_FAST" else (argument >> 4, argument & 15):
                if index < len(code.co_varnames):
                    yield code.co_varnames[index]
