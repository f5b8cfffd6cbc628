"""Real processes: a collector, Celery workers under the wrapper, a server that never answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.shop import Shop

from lastspan.examples.running import Running


@pytest.fixture
def running() -> Iterator[Running]:
    with Running() as started:
        yield started


@pytest.fixture
def rules(running: Running) -> str:
    return rules_in(running.folder)


def rules_in(folder: Path) -> str:
    """Write config that allows seconds: 3 s for a job or a call, an hour for the newsletter; return its path."""
    path = folder / "rules.yaml"
    path.write_text(
        "rules:\n"
        "  - {match: {job_name: '*send_newsletter'}, allowed: 1h}\n"
        "  - {match: {kind: http}, allowed: 3s}\n"
        "  - {match: {job_name: '*'}, allowed: 3s}\n"
    )
    return str(path)


@pytest.fixture
def shop(running: Running) -> Shop:
    return Shop(str(running.folder / "broker"))
