"""Fixtures: one real server of each kind for the whole run, started by the first test that asks for it.

A program that is not installed skips the test, and says how to get it; where CI is set, no test is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

import pytest
from tests.servers import MariaDB, MissingProgramError, PgBouncer, Postgres, Redis, Server

S = TypeVar("S", bound=Server)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    yield from _running(Postgres)


@pytest.fixture(scope="session")
def pgbouncer(postgres: Postgres) -> Iterator[PgBouncer]:
    """In transaction mode: a connection has a server of its own only within a transaction."""
    yield from _running(lambda: PgBouncer(postgres))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    yield from _running(Redis)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    yield from _running(MariaDB)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, Any, Any]:
    """Not a fixture's set-up: that of a whole run fails once, and its failure is remembered."""
    return (yield from _skipping_what_is_not_installed())


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, Any, Any]:
    return (yield from _skipping_what_is_not_installed())


def _skipping_what_is_not_installed() -> Generator[None, Any, Any]:
    try:
        return (yield)
    except MissingProgramError as problem:
        pytest.skip(str(problem))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Add what the test's servers printed to the report of its failure."""
    report = yield
    if report.failed:
        for name, server in getattr(item, "funcargs", {}).items():
            if isinstance(server, Server):
                report.sections.append((f"log of {name}", server.log()))
    return report


def _running(make: Callable[[], S]) -> Iterator[S]:
    with make() as server:
        yield server
