"""The servers that other tests rely on are real, apart from the machine's own, restartable, and gone afterwards."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from tests.servers import MariaDB, PgBouncer, Postgres, Redis


def test_postgres_has_a_probe_role_that_sees_others_and_changes_nothing(postgres: Postgres) -> None:
    with psycopg.connect(postgres.probe_dsn, autocommit=True) as probe, postgres.connect() as worker:
        worker.execute("select 'of the worker'")
        seen = probe.execute("select query from pg_stat_activity where state = 'idle in transaction'").fetchall()
        assert ("select 'of the worker'",) in seen
        with pytest.raises(psycopg.Error):
            probe.execute("create table t ()")


def test_pgbouncer_passes_the_clients_address_on(postgres: Postgres, pgbouncer: PgBouncer) -> None:
    with pgbouncer.connect(application_name="job") as client:
        with socket.socket(fileno=os.dup(client.fileno())) as connection:
            port = connection.getsockname()[1]
        row = client.execute("select application_name from pg_stat_activity where pid = pg_backend_pid()").fetchone()
    assert row == (f"job - 127.0.0.1:{port}",)


def test_mariadb_has_performance_schema_with_metadata_locks(mariadb: MariaDB) -> None:
    assert mariadb.execute("select @@performance_schema") == [(1,)]
    assert mariadb.execute(
        "select enabled from performance_schema.setup_instruments where name = 'wait/lock/metadata/sql/mdl'"
    ) == [("YES",)]


def test_redis_answers(redis_server: Redis) -> None:
    redis_server.execute("SET key value")
    assert redis_server.execute("GET key") == "value"


def test_a_server_keeps_its_data_and_its_address_when_it_is_restarted(postgres: Postgres) -> None:
    with Postgres() as server:
        server.execute("create table kept as select 7 as n")
        address = server.address
        server.stop()
        with pytest.raises(psycopg.OperationalError):
            server.execute("select 1")
        with socket.socket() as other, pytest.raises(OSError, match="in use"):  # nobody took it meanwhile
            other.bind((server.host, server.port))
        server.start()
        assert server.address == address != postgres.address
        assert server.execute("select n from kept") == [(7,)]
        pid, folder = server.pid, server.folder
    assert not Path(f"/proc/{pid}").exists()
    assert not folder.exists()


def test_a_server_does_not_outlive_a_process_that_is_killed() -> None:
    program = (
        "from tests.servers import Redis\n"
        "server = Redis().start()\n"
        "print(server.pid, server.folder, flush=True)\n"
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60)
    pid, folder = killed.stdout.split()
    subprocess.run(["rm", "-r", folder], check=True)
    deadline = time.monotonic() + 10
    while is_running(int(pid)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """A zombie does not: nobody may be there to reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
