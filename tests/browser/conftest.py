"""A real headless Chromium (Debian package), and the demo with all its hangs.

Where the browser is not installed the tests are skipped, and say so; where CI is set, they fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.servers import program

from lastspan.examples.demo import Demo
from lastspan.examples.running import Running

THEMES = ("light", "dark")
DESK, PHONE = (1440, 900), (390, 844)
Open = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """The demo, seen from outside."""

    web: str
    jobs: dict[str, dict[str, Any]]
    """By the function's name; of several the first."""

    def path(self, name: str) -> str:
        return f"{self.web}/jobs/{self.jobs[name]['job_key']}"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for a module; while it is open an event loop runs in this thread, and nobody else's can."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=program("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def look(chromium: Any) -> Iterator[Open]:
    """Open a page of a size and a theme; whatever the browser complains of fails the test."""
    contexts, complaints = [], []

    def opened(
        url: str, *, size: tuple[int, int] = DESK, theme: str = "light", missing: bool = False, **options: Any
    ) -> Any:
        viewport = {"width": size[0], "height": size[1]}
        context = chromium.new_context(viewport=viewport, color_scheme=theme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" and not missing else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def shown() -> Iterator[Shown]:
    yield from demo_shown()


def demo_shown() -> Iterator[Shown]:
    """The demo, when every stuck job is found."""
    with Running() as running:
        demo = Demo(running, lambda text: None)
        demo.start()
        *_, (jobs, missing) = demo.wait()
        assert not missing, running.tail()
        by_name: dict[str, dict[str, Any]] = {}
        for job in jobs:
            by_name.setdefault(job["job_name"].rpartition(".")[2], dict(job))
        os.setpriority(os.PRIO_PROCESS, by_name["rebuild_index"]["pid"], 19)  # its loop may have what others leave
        yield Shown(demo.collector.web, by_name)
