"""All pages, joined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from . import (
    aiohttp,
    anyio,
    asyncio,
    asyncmy,
    asyncpg,
    brokers,
    file_locks,
    gevent,
    grpc,
    httpx,
    jobs,
    mysql_connector,
    mysqlclient,
    others,
    pg8000,
    psycopg,
    psycopg2,
    pymysql,
    redis,
    sqlalchemy,
    sqlite,
    standard_library,
    urllib3,
)
from .page import KnownCall, Page, SessionReader, TimeoutSource, Unread

K = TypeVar("K")
V = TypeVar("V")

PAGES: Final[tuple[Page, ...]] = (
    *(standard_library.PAGE, asyncio.PAGE, anyio.PAGE, gevent.PAGE, file_locks.PAGE, jobs.PAGE, brokers.PAGE),
    *(redis.PAGE, psycopg.PAGE, psycopg2.PAGE, asyncpg.PAGE, pg8000.PAGE, pymysql.PAGE, asyncmy.PAGE),
    *(mysqlclient.PAGE, mysql_connector.PAGE, sqlite.PAGE, sqlalchemy.PAGE),
    *(aiohttp.PAGE, httpx.PAGE, urllib3.PAGE, grpc.PAGE, others.PAGE),
)


def _joined(parts: list[Mapping[K, V]]) -> dict[K, V]:
    return {key: row for part in parts for key, row in part.items()}


CALLS: Final[Mapping[str, Mapping[str, KnownCall]]] = _joined([page.calls for page in PAGES])
NATIVE: Final[Mapping[str, KnownCall]] = _joined([page.native for page in PAGES])
PACKAGES: Final[Mapping[str, str]] = _joined([page.packages for page in PAGES])
TIMEOUTS: Final[Mapping[str, Mapping[str, TimeoutSource]]] = _joined([page.timeouts for page in PAGES])
TIMEOUT_CLASSES: Final[Mapping[str, tuple[str, ...] | Unread]] = _joined([page.timeout_classes for page in PAGES])
SESSIONS: Final[Mapping[str, SessionReader]] = _joined([page.sessions for page in PAGES])
WRAPS: Final[Mapping[str, tuple[str, ...]]] = _joined([page.wraps for page in PAGES])
POOLED: Final[Mapping[str, str]] = _joined([page.pooled for page in PAGES])
THREADS: Final[Mapping[tuple[str, str], str]] = _joined([page.threads for page in PAGES])
"""Each as `Page` has it."""
