"""The small simulated fleet: the real collector on what its workers say, beside the baselines."""

from __future__ import annotations

from bench.detection.parameters import SMALL
from bench.detection.score import simulate, table


def test_hangs_are_found_in_a_small_fleet() -> None:
    """All hangs in calls and locks, with few false alarms though nothing is known at first; heartbeats find none."""
    ours, timeout, _, heartbeat = simulate(SMALL)
    shown = table(SMALL, [ours, timeout, heartbeat])
    assert ours.hangs >= 20, shown
    assert ours.recall_calls is not None
    assert ours.recall_calls >= 0.99, shown
    assert ours.false <= 8, shown
    assert heartbeat.recall_calls == 0, shown
