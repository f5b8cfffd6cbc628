"""What people read: its links lead somewhere, its pictures are there, small, and shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path for path in ROOT.rglob("*.md")
    if not any(part.startswith((".", "node_modules")) for part in path.relative_to(ROOT).parts)
)  # fmt: skip
PICTURES = ROOT / "docs" / "pictures"


def links(page: Path) -> Iterator[str]:
    """Relative ones, of texts and pictures; those in code are no links."""
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", link):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_something(page: Path) -> None:
    for link in links(page):
        path, _, part = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not part or part in headings(target), link


def headings(page: Path) -> set[str]:
    """As a forge makes anchors of them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_pictures_are_small_and_all_are_shown() -> None:
    shown = {(page.parent / link).resolve() for page in PAGES for link in links(page)}
    there = set(PICTURES.glob("*.png"))
    assert there <= shown
    assert {path.name for path in there if path.stat().st_size > 150 * 1024} == set()
