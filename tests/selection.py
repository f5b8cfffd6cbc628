"""Which tests run where, and in what order: by what they are marked with, and by the fixtures that they use."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _leave_out_what_does_not_apply(config, items)


def _leave_out_what_does_not_apply(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test of what this Python or system does not have is no test here; skipped is what lacks a server."""
    apart = [item for item in items if not all(mark.args[0] for mark in item.iter_markers("applies"))]
    if apart:
        config.hook.pytest_deselected(items=apart)
        left_out = set(apart)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Where CI is set nothing is skipped: a skip is a failure there, and says what is missing."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI"):
        report.outcome, report.longrepr = "failed", f"skipped where CI is set: {report.longrepr[2]}"
    return report
