"""The pictures in `docs/pictures`: the pages as they show the demo. `make pictures` makes them anew."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any, Final

from PIL import Image
from playwright.sync_api import sync_playwright
from tests.browser.conftest import DESK, PHONE, Shown, demo_shown
from tests.servers import program

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "docs" / "pictures"
MOST_BYTES: Final = 150 * 1024
COLOURS: Final = 200
SECONDS: Final = 80.0
"""How long the jobs shall have hung: so long that somebody would look."""

PICTURES: Final[dict[str, tuple[str, tuple[int, int], str]]] = {
    "incident": ("charge_card", DESK, "light"),
    "incident-dark": ("transfer", DESK, "dark"),
    "stuck": ("/", DESK, "light"),
    "phone": ("charge_card", PHONE, "dark"),
}
"""By name: the page, the size of the window, the theme."""

NEUTRAL: Final = """(root) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) walker.currentNode.data = walker.currentNode.data.replaceAll(root, "/app");
}"""
"""Where this checkout lies is nobody's business."""

LOWER_EDGE: Final = "() => document.querySelector('footer').getBoundingClientRect().bottom"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    chromium = program("chromium")
    for shown in demo_shown():
        time.sleep(SECONDS)
        with sync_playwright() as started:
            browser = started.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            for name in PICTURES:
                content = small(picture(browser, shown, name))
                assert len(content) <= MOST_BYTES, (name, len(content))
                (FOLDER / f"{name}.png").write_bytes(content)
                print(f"{FOLDER.relative_to(ROOT)}/{name}.png  {len(content) / 1024:.0f} KiB")
            browser.close()


def picture(browser: Any, shown: Shown, name: str) -> bytes:
    """Return what is in a window, down to where the page ends."""
    of, (width, height), theme = PICTURES[name]
    page: Any = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
    page.goto(shown.web + of if of.startswith("/") else shown.path(of))
    page.evaluate(NEUTRAL, str(ROOT))
    lower = min(height, page.evaluate(LOWER_EDGE))
    content: bytes = page.screenshot(clip={"x": 0, "y": 0, "width": width, "height": lower})
    page.close()
    return content


def small(content: bytes) -> bytes:
    """Return a picture in few colours: it is text on plain ground, and loses nothing that one sees."""
    few = (
        Image.open(io.BytesIO(content))
        .convert("RGB")
        .quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    )
    out = io.BytesIO()
    few.save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    main()
