"""A whole collector beside a real database: a late query makes it look, and the job's page says who is in the way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.collector.probing import in_background, until
from tests.collector.records import Process
from tests.collector.served import Served
from tests.servers import MariaDB, Postgres

SECRET = "swordfish"


@contextlib.contextmanager
def collector(folder: Path, **settings: Any) -> Iterator[Served]:
    file = folder / "probes.yaml"
    file.write_text(yaml.safe_dump({"rules": [{"match": {"kind": "db"}, "allowed": "1s"}], **settings}))
    served = Served(folder, "--config", str(file))
    try:
        yield served
    finally:
        status = served.stop()
    assert status == 0, served.log.read_text()
    log = served.log.read_text()
    assert "Traceback" not in log
    assert "pw-of-the" not in log
    assert SECRET not in log


def late_query(system: str, server: str, session: object) -> bytes:
    """A worker says: job 1 is in a query, for a minute now, in this session of that server."""
    process, (host, port) = Process(), server.split(":")
    return process.body(
        process.job(1, age=61.0),
        process.span(
            2,
            1,
            name="UPDATE accounts",
            age=60.0,
            db_system_name=system,
            server_address=host,
            server_port=int(port),
            lastspan_wait_kind="db",
            lastspan_db_session=str(session),
        ),
    )


def test_postgres(postgres: Postgres, tmp_path: Path) -> None:
    file = tmp_path / "dsn"
    file.write_text(postgres.probe_dsn)
    probes = "select count(*) from pg_stat_activity where application_name = 'lastspan'"
    with (
        contextlib.closing(postgres.connect(application_name="the-holder")) as holder,
        contextlib.closing(postgres.connect()) as waiter,
        collector(tmp_path, postgres=[{"dsn_file": str(file), "interval": "200ms"}]) as served,
    ):
        holder.execute("select pg_advisory_lock(7)")
        with in_background(lambda: waiter.execute("select pg_advisory_lock(7)"), cancel=waiter.cancel):
            assert postgres.execute(probes) == [(0,)]
            assert served.post(late_query("postgresql", postgres.address, waiter.info.backend_pid)).status_code == 200
            job = served.until(
                lambda: served.jobs().get("id-1", {}).get("cause") == "db_lock" and served.jobs()["id-1"]
            )
            assert str(holder.info.backend_pid) in repr(job["blocked_by"])
            assert "advisory lock 7" in job["cause_text"]
            assert postgres.execute(probes) == [(1,)]
    until(lambda: postgres.execute(probes) == [(0,)], "the connection ends with the collector")


def test_mysql(mariadb: MariaDB, tmp_path: Path) -> None:
    with (
        contextlib.closing(mariadb.connect()) as holder,
        contextlib.closing(mariadb.connect()) as waiter,
        collector(tmp_path, mysql=[{"dsn": mariadb.probe_dsn, "interval": "200ms"}]) as served,
    ):
        holder.cursor().execute("select get_lock('nightly', 1)")
        id = waiter.thread_id()
        with in_background(
            lambda: waiter.cursor().execute("select get_lock('nightly', 60)"),
            cancel=lambda: mariadb.execute(f"kill query {id}"),
        ):
            assert served.post(late_query("mysql", mariadb.address, id)).status_code == 200
            job = served.until(
                lambda: served.jobs().get("id-1", {}).get("cause") == "db_lock" and served.jobs()["id-1"]
            )
            assert str(holder.thread_id()) in repr(job["blocked_by"])
            assert "GET_LOCK nightly" in job["cause_text"]


@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_what_fails_is_counted(system: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A wrong password costs a counter; the collector goes on, and nobody sees the password."""
    server: Postgres | MariaDB = request.getfixturevalue("postgres" if system == "postgres" else "mariadb")
    setting = {"dsn": server.dsn_of("lastspan_probe", SECRET), "name": "orders", "interval": "100ms"}
    line = 'lastspan_collector_probe_failures_total{reason="authentication",server="orders"}'
    with collector(tmp_path, **{system: [setting]}) as served:
        served.post(late_query("postgresql", server.address, 1))
        served.until(lambda: line in served.metrics())
        assert "id-1" in served.jobs()
        assert SECRET not in served.metrics() + repr(served.api("/api/v1/jobs/id-1"))
