"""Gives each scenario its frameworks, and those of one framework a worker that they share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance.cases import CASES, Case
from tests.conformance.framework import Worker


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose those that tell what it is about: nothing is skipped."""
    wanted = {tells for mark in metafunc.definition.iter_markers("tells") for tells in mark.args}
    cases = [case for case in CASES if wanted <= case.framework.tells]
    if "worker" in metafunc.fixturenames:
        metafunc.parametrize("worker", cases, ids=lambda case: case.name, indirect=True, scope="session")
    elif "framework" in metafunc.fixturenames:
        found = [case.framework for case in cases if not case.official]
        metafunc.parametrize("framework", found, ids=lambda framework: framework.__name__.lower())


@pytest.fixture(scope="session")
def worker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One that runs for all scenarios of its framework."""
    case: Case = request.param
    started = Worker(case.framework, tmp_path_factory.mktemp(case.name), official=case.official)
    yield started
    started.close()
