"""Which tests run, and in what order.

What does not apply to this Python or system is left out; what starts processes is marked, by what its code names; what
takes long goes first; and where CI is set nothing is skipped.
"""

from __future__ import annotations

import inspect
import os
import subprocess
from collections.abc import Generator, Iterator
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

import pytest

_FOLLOWED: Final = ("tests.", "bench.", "lastspan.examples.")
"""What is under test is not followed: that it could start a process says nothing of the test."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, Any, Any]:
    """Mark before `-m` is looked at; sort after pytest-randomly has shuffled the modules, and the tests of each."""
    _leave_out_what_does_not_apply(config, items)
    for item in items:
        if isinstance(item, pytest.Function) and _starts_processes(item):
            item.add_marker("processes")
    result = yield
    items.sort(key=_turn)
    return result


def _turn(item: pytest.Item) -> int:
    """Long modules first, for nobody likes to wait for a last one; the others in a random order."""
    return 0 if item.get_closest_marker("long") else 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Where CI is set nothing is skipped: a skip is a failure there, and says what is missing."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI"):
        report.outcome, report.longrepr = "failed", f"skipped where CI is set: {report.longrepr[2]}"
    return report


def _leave_out_what_does_not_apply(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test of what this Python or system does not have is no test here; a skip is for a server that is missing."""
    applies = [all(mark.args[0] for mark in item.iter_markers("applies")) for item in items]
    if not all(applies):
        config.hook.pytest_deselected(items=[item for item, does in zip(items, applies, strict=True) if not does])
        items[:] = [item for item, does in zip(items, applies, strict=True) if does]


def _starts_processes(item: pytest.Function) -> bool:
    """Say whether a test's code, its fixtures', or any that those name in turn, uses `subprocess`."""
    seen: set[int] = set()
    left = list(_run_by(item))
    while left:
        one = left.pop()
        if one is subprocess:
            return True
        if id(one) not in seen and isinstance(one, FunctionType | type):
            seen.add(id(one))
            left += _named_by(one)
    return False


def _run_by(item: pytest.Function) -> Iterator[Any]:
    """Yield the functions of a test: its own, its fixtures', and those that it is given."""
    yield item.function
    for fixtures in item._fixtureinfo.name2fixturedefs.values():
        yield from (fixture.func for fixture in fixtures)
    if hasattr(item, "callspec"):
        yield from item.callspec.params.values()


@cache
def _named_by(thing: FunctionType | type) -> tuple[Any, ...]:
    """Return what a function names, or what the functions of a class do, of this repository's own code."""
    if isinstance(thing, type):
        methods = (value for kind in thing.__mro__ if _is_followed(kind) for value in vars(kind).values())
        return tuple(getattr(method, "fget", getattr(method, "__func__", method)) for method in methods)
    function = inspect.unwrap(thing)
    if not _is_followed(function):
        return ()
    names = set(_names(function.__code__))
    found = [function.__globals__[name] for name in names & function.__globals__.keys()]
    inside = [vars(module) for module in found if isinstance(module, ModuleType) and _is_followed(module)]
    return (*found, *(module[name] for module in inside for name in names & module.keys()))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _is_followed(thing: Any) -> bool:
    return f"{getattr(thing, '__module__', None) or thing.__name__}.".startswith(_FOLLOWED)
