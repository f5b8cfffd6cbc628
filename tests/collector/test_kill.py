"""kill -9 under load, again and again: nothing open is forgotten beyond the last second, and there are no ghosts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.collector.kills import Ordeal


@pytest.mark.parametrize(
    ("seed", "kills"),
    [(1, 5), *(pytest.param(seed, 10, marks=pytest.mark.kill) for seed in range(2, 7))],
)
def test_kill_9_under_load(tmp_path: Path, seed: int, kills: int) -> None:
    """Whatever was acknowledged a second before is open, or is not, as before; then workers speak, and all is exact."""
    ordeal = Ordeal(tmp_path, seed)
    try:
        ordeal.run(kills)
    finally:
        ordeal.end()
