"""The small simulated fleet: the real collector on what its workers say, beside the baselines."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench.detection.parameters import SENSITIVITY, SMALL
from bench.detection.score import replay, simulate, table

pytestmark = pytest.mark.long


@pytest.mark.timeout(900)  # half a minute of a core, however little of one there is
def test_hangs_are_found_in_a_small_fleet() -> None:
    """All hangs in calls and locks, sooner than by fixed timeouts; what is accused wrongly was not known yet."""
    ours, timeout, _, heartbeat = simulate(SMALL)
    shown = table(SMALL, [ours, timeout, heartbeat])
    assert ours.hangs >= 30, shown
    assert ours.recall_calls is not None
    assert ours.recall_calls >= 0.99, shown
    assert ours.false <= 3, shown
    assert ours.pages_precision is not None
    assert ours.pages_precision >= 0.97, shown
    assert ours.median_s is not None
    assert timeout.median_s is not None
    assert ours.median_s <= timeout.median_s / 2, shown
    assert heartbeat.recall_calls == 0, shown


def test_what_is_not_learned_is_found_late_or_accused_wrongly() -> None:
    """The same fleet with learning switched off: it is what makes the difference."""
    fleet = replace(SENSITIVITY, weeks=2 / 7)
    learned, unlearned = replay(fleet)[0], replay(replace(fleet, learning={"enabled": False}))[0]
    assert unlearned.false > 5 * max(1, learned.false), (learned, unlearned)
