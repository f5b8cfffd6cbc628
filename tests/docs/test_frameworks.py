"""`docs/frameworks.md` says what is seen of each framework's jobs, and the suite tries what it says."""

from __future__ import annotations

from pathlib import Path

from docs.generate import frameworks
from tests.conformance.conftest import CASES

PAGE = Path(__file__).parents[2] / "docs" / "frameworks.md"


def test_the_page_is_what_the_modules_declare() -> None:
    """Change what a module tells, then `make docs`."""
    assert PAGE.read_text(encoding="utf-8") == frameworks.render()


def test_every_framework_is_tried() -> None:
    """Whoever is on the page is in `tests/conformance/adapters/`."""
    listed = {row.tells for row in frameworks.rows()}
    tried = {case.framework.system for case in CASES}
    names = {row.name.strip("`") for row in frameworks.rows()} - {"plain code, `@job"}
    assert names <= tried
    assert "python" in tried
    assert listed <= {case.framework.tells for case in CASES}
