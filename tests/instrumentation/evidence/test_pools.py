"""Who keeps the connections of a pool that somebody waits for: read from the frames of both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.instrumentation.evidence.standing import soon, standing
from tests.servers import Postgres

from lastspan.instrumentation.evidence.stack.frames import live
from lastspan.instrumentation.evidence.waits.pools import keeps, waited_pool

Keeper = Callable[[Any, threading.Event, threading.Event], None]


def in_a_variable(pool: Any, has_it: threading.Event, go_on: threading.Event) -> None:
    connection = borrow(pool)
    has_it.set()
    go_on.wait(20)
    give_back(pool, connection)


def in_a_block(pool: Any, has_it: threading.Event, go_on: threading.Event) -> None:
    if hasattr(pool, "getconn"):
        with pool.connection():
            has_it.set()
            go_on.wait(20)
    else:
        with pool.connect():
            has_it.set()
            go_on.wait(20)


def borrow(pool: Any) -> Any:
    return pool.getconn() if hasattr(pool, "getconn") else pool.connect()


def give_back(pool: Any, connection: Any) -> None:
    if hasattr(pool, "getconn"):
        pool.putconn(connection)
    else:
        connection.close()


def wants(pool: Any) -> None:
    if hasattr(pool, "getconn"):
        with pool.connection():
            pass
    else:
        with pool.connect():
            pass


@pytest.fixture(params=["psycopg_pool", "sqlalchemy"])
def pool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """One of one connection."""
    if request.param == "psycopg_pool":
        postgres: Postgres = request.getfixturevalue("postgres")
        psycopg_pool = pytest.importorskip("psycopg_pool")
        with psycopg_pool.ConnectionPool(postgres.dsn, min_size=1, max_size=1, timeout=900, open=True) as made:
            yield made
        return
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine(
        f"sqlite:///{tmp_path / 'app.db'}",
        poolclass=sqlalchemy.pool.QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=900,
        connect_args={"check_same_thread": False},
    )
    yield engine
    engine.dispose()


@pytest.mark.parametrize("keeper", [in_a_variable, in_a_block])
def test_the_one_that_keeps_a_connection(pool: Any, keeper: Keeper) -> None:
    """And not the one that waits for it, nor one that has the pool alone."""
    has_it, go_on, is_over = threading.Event(), threading.Event(), threading.Event()

    def knows_the_pool() -> None:
        known = pool
        is_over.wait(20)
        del known

    with standing(knows_the_pool, is_over.set) as bystander:
        with standing(lambda: keeper(pool, has_it, go_on), go_on.set) as there:
            assert has_it.wait(20)
            with standing(lambda: wants(pool), go_on.set) as here:
                wanted = soon(lambda: waited_pool(live(here)), lambda found: len(found) == 2)
                assert len(wanted) == 2
                assert keeps(live(there), wanted)
                assert not keeps(live(here), wanted)
                assert not keeps(live(bystander), wanted)
                assert waited_pool(live(there)) == ()


def test_two_pools_are_told_apart(tmp_path: Path) -> None:
    """A connection of another pool is nobody's business."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engines = [sqlalchemy.create_engine(f"sqlite:///{tmp_path / name}") for name in ("a.db", "b.db")]
    has_it, go_on = threading.Event(), threading.Event()
    with standing(lambda: in_a_variable(engines[0], has_it, go_on), go_on.set) as there:
        assert has_it.wait(20)
        assert keeps(live(there), (engines[0].pool,))
        assert not keeps(live(there), (engines[1].pool, engines[1]))
    for engine in engines:
        engine.dispose()
