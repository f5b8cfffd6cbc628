"""A pipeline with a clock that we hold."""

from __future__ import annotations

import pytest
from tests.collector.held import Held


@pytest.fixture
def held() -> Held:
    return Held()
