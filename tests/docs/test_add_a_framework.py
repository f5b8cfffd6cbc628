"""`docs/contributing/add-a-framework.md` shows the files that the suite runs: all of them, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "contributing" / "add-a-framework.md"
FILES = ("tests/conformance/toy/instrumentation.py", "tests/conformance/adapters/toy.py")


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def test_the_page_shows_what_runs() -> None:
    """Line for line, in order."""
    shown = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert lines("".join(shown)) == lines("".join((ROOT / name).read_text(encoding="utf-8") for name in FILES))
    assert all(name in PAGE.read_text(encoding="utf-8") for name in FILES)
