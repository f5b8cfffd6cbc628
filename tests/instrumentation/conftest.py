"""A sink for each test that asks for one."""

from collections.abc import Iterator

import pytest
from tests.sink import Sink


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()
