"""Which frameworks there are, which scenario is for which of them, and a worker that those of one framework share."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.conformance.framework import Framework, Worker

from lastspan.instrumentation.jobs import Tells


@dataclass(frozen=True)
class Case:
    """A framework, with the official instrumentation active or without."""

    framework: type[Framework]
    official: bool

    @property
    def name(self) -> str:
        return f"{self.framework.__name__.lower()}{'-official' if self.official else ''}"


def frameworks() -> Iterator[type[Framework]]:
    """Yield the class of each file in `adapters/`."""
    for path in sorted((Path(__file__).parent / "adapters").glob("*.py")):
        module = importlib.import_module(f"tests.conformance.adapters.{path.stem}")
        yield next(
            found for found in vars(module).values() if isinstance(found, type) and found.__module__ == module.__name__
        )


CASES = [
    Case(framework, official)
    for framework in frameworks()
    for official in ((False, True) if framework.official is not None else (False,))
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each scenario the frameworks that tell what it is about."""
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


def tells(*wanted: Tells) -> pytest.MarkDecorator:
    """Only for frameworks that tell all of these."""
    return pytest.mark.tells(*wanted)
