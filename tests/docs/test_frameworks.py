"""`docs/frameworks.md` says what is seen of each framework's jobs, and the suite tries what it says."""

from __future__ import annotations

from pathlib import Path

from docs.generate import frameworks
from tests.conformance.cases import CASES

PAGE = Path(__file__).parents[2] / "docs" / "frameworks.md"


def test_the_page_is_what_the_modules_declare() -> None:
    """Change what a module tells, then `make docs`."""
    assert PAGE.read_text(encoding="utf-8") == frameworks.render()


def test_every_framework_is_tried() -> None:
    """Whoever is on the page has a file in `tests/conformance/adapters/`, which declares the same."""
    tried = {(case.framework.system, case.framework.tells) for case in CASES}
    assert {(row.system, row.tells) for row in frameworks.rows()} <= tried
