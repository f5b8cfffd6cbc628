"""Loops of short calls that never come to an end: each call is answered, or fails, and the next one is the same."""

from __future__ import annotations

import http.client
import itertools
import json
import sqlite3
import time
from typing import Any

import requests
from tests.e2e.causes.place import here, ready, split
from tests.e2e.causes.way import JOB, way

from lastspan.instrumentation import progress

POLLS = "a loop that polls and sleeps: without spans nothing tells what it polls"

# --- pages that never end --------------------------------------------------------------------------------------------


@way("call_loop", span=JOB, peer="pages", in_test=True)
def endless_pagination() -> None:
    """The server gives the same next page for ever."""
    page: str | None = "1"
    while page:  # <- stops here
        answer = requests.get(f"http://{here().pages}/orders", params={"page": page}, timeout=10)  # <- stops here
        page = answer.json()["next"]  # <- stops here


@way("call_loop", "waiting", because=POLLS, span=JOB, peer="pages")
def endless_pagination_with_a_pause() -> None:
    """Ten a second at most, so as not to be a burden."""
    with requests.Session() as session:
        page = "1"
        while page:  # <- stops here
            page = _next_page(session, page)  # <- stops here
            time.sleep(0.1)  # <- stops here


def _next_page(session: requests.Session, page: str) -> str:
    url = f"http://{here().pages}/orders?page={page}"
    answer = session.get(url, timeout=10)  # <- endless_pagination_with_a_pause stops here
    return str(answer.json()["next"])  # <- endless_pagination_with_a_pause stops here


@way("call_loop", span=JOB, peer="pages")
def endless_pagination_of_urllib3() -> None:
    import urllib3

    pool, page = urllib3.PoolManager(), "1"
    while page:  # <- stops here
        answer = pool.request("GET", f"http://{here().pages}/orders?page={page}", timeout=10)  # <- stops here
        page = str(answer.json()["next"])  # <- stops here


@way("call_loop", span=JOB, peer="pages")
async def endless_pagination_of_httpx() -> None:
    import httpx

    async with httpx.AsyncClient(timeout=10) as client:
        page = "1"
        while page:  # <- stops here
            answer = await client.get(f"http://{here().pages}/orders", params={"page": page})  # <- stops here
            page = str(answer.json()["next"])  # <- stops here


@way("call_loop", span=JOB, peer="pages")
def endless_pagination_without_spans() -> None:
    """A client that nothing instruments."""
    page = "1"
    connection = http.client.HTTPConnection(*split(here().pages), timeout=10)
    while page:  # <- stops here
        connection.request("GET", f"/orders?page={page}")  # <- stops here
        page = json.loads(connection.getresponse().read())["next"]  # <- stops here


@way("call_loop", span=JOB, needs="postgres")
def rows_that_go_round() -> None:
    """Pages of a table by a key that does not grow: the same rows again and again."""
    import psycopg

    with psycopg.connect(here().postgres, autocommit=True) as connection:
        last: int | None = 0
        while last is not None:  # <- stops here
            query = "SELECT mod(n, 7), pg_sleep(0.02) FROM generate_series(%s::int, 100) n LIMIT 2"  # <- stops here
            rows = connection.execute(query, (last,)).fetchall()  # <- stops here
            last = rows[-1][0] if rows else None  # <- stops here


# --- until it is done -------------------------------------------------------------------------------------------------


@way("call_loop", "waiting", because=POLLS, span=JOB, peer="pages")
def polling_until_it_is_done() -> None:
    """An export that is never ready."""
    while requests.get(f"http://{here().pages}/exports/7", timeout=10).json()["state"] != "done":  # <- stops here
        time.sleep(0.3)  # <- stops here


def _redis() -> Any:
    import redis

    return redis.Redis.from_url(here().redis, socket_timeout=10)


@way("call_loop", "waiting", because=POLLS, span=JOB, needs="redis")
def key_that_never_comes() -> None:
    client = _redis()
    while client.get("report:ready") is None:  # <- stops here
        time.sleep(0.1)  # <- stops here


@way("call_loop", "waiting", because=POLLS, span=JOB, needs="redis")
def items_that_never_come() -> None:
    """Each wait is short, and there is always one more."""
    client = _redis()
    while (item := client.blpop(["inbox-of-nobody"], timeout=1)) is None:  # <- stops here
        pass  # <- stops here
    print(item)


# --- the same failure again and again ---------------------------------------------------------------------------------


@way("call_loop", "waiting", because=POLLS, span=JOB, peer="pages")
def retries_of_a_server_that_fails() -> None:
    """It answers 503 each time."""
    while True:
        try:
            requests.get(f"http://{here().pages}/broken", timeout=10).raise_for_status()  # <- stops here
            return
        except requests.HTTPError:
            time.sleep(0.1)  # <- stops here


def holds_the_row() -> None:
    import psycopg

    with psycopg.connect(here().postgres) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS rooms (id int PRIMARY KEY, taken bool)")
        connection.execute("INSERT INTO rooms VALUES (1, false) ON CONFLICT DO NOTHING")
        connection.commit()
        connection.execute("SELECT taken FROM rooms WHERE id = 1 FOR UPDATE").fetchall()
        ready()
        time.sleep(3600)


@way(
    "call_loop",
    "db_lock",
    because="the row's lock is what each try gives up on, and a probe sees who has it",
    span=JOB,
    needs="postgres",
    beside=(holds_the_row,),
    where="process",
)
def retries_around_a_lock_timeout() -> None:
    """Each try gives up after a moment, as it was told to."""
    import psycopg

    with psycopg.connect(here().postgres, autocommit=True) as connection:
        connection.execute("SET lock_timeout = '200ms'")
        while True:
            try:
                connection.execute("SELECT taken FROM rooms WHERE id = 1 FOR UPDATE")  # <- stops here
                return
            except psycopg.errors.LockNotAvailable:
                time.sleep(0.1)  # <- stops here


def keeps_the_file() -> None:
    connection = sqlite3.connect(here().path("app.db"), isolation_level=None)
    connection.execute("CREATE TABLE notes (text)")
    connection.execute("BEGIN EXCLUSIVE")
    ready()
    time.sleep(3600)


@way(
    "call_loop",
    "db_lock",
    because="the file's lock is what each try gives up on; without spans nothing tells one try from the next",
    span=JOB,
    beside=(keeps_the_file,),
    where="process",
)
def retries_of_a_locked_file() -> None:
    connection = sqlite3.connect(here().path("app.db"), timeout=0.5, isolation_level=None)
    cursor = connection.cursor()
    while True:
        try:
            cursor.execute("INSERT INTO notes VALUES ('hello')")  # <- stops here
            return
        except sqlite3.OperationalError:
            time.sleep(0.1)  # <- stops here


# --- healthy: the same calls, and it gets on --------------------------------------------------------------------------


@way("unknown", span=JOB, peer="pages", states=frozenset({"overdue"}), settle=12.0)
def pages_with_progress() -> None:
    """Late, but its own word is that each page is one more."""
    for page in itertools.count(1):
        requests.get(f"http://{here().pages}/orders", params={"page": page}, timeout=10)  # <- stops here
        progress(page)  # <- stops here
