"""Real servers for tests, benches and the causes: PostgreSQL, PgBouncer, Redis, RabbitMQ, MariaDB, Prometheus.

Each has a data directory of its own and a free port of 127.0.0.1, is fast rather than durable, and is gone when its
block ends; should this process be killed, the kernel ends it. `deploy/install-servers.sh` installs the programs; the
pytest fixtures are in `server_fixtures.py`.

    with Postgres() as server:
        server.execute("select 1")
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final

import kombu
import psycopg
import pymysql
import redis
import requests
from typing_extensions import Self

from lastspan.examples.running import reserve_port

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0
_FOLDERS: Final = ("/usr/sbin", "/usr/local/sbin", "/sbin")
_AS_NOBODY: Final = ("--reuid", "nobody", "--regid", "nogroup", "--clear-groups")


class MissingProgramError(Exception):
    """A server's program is not installed; the message says how to get it."""


class StartError(Exception):
    """A server did not start; the message ends with what it printed."""


def program(name: str) -> str:
    """Return the path of a server's program, of the newest version where there are several."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    places = [*map(str, versions), os.environ.get("PATH", os.defpath), *_FOLDERS]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise MissingProgramError(f"{name} is not installed; as root: sh deploy/install-servers.sh")
    return found


class Server(ABC):
    """A server process: what all of them share."""

    name: ClassVar[str]
    host: Final = "127.0.0.1"
    user = "lastspan"
    password = "pw-of-the-worker"
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self) -> None:
        self._held: list[socket.socket] = []
        self.port = self._reserved()
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix=f"lastspan-{self.name}-"))
        try:
            if os.geteuid() == 0:
                shutil.chown(self.folder, "nobody", "nogroup")
            self._prepare()
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"{self.host}:{self.port}"

    @property
    def dsn(self) -> str:
        """How a worker connects."""
        return self.dsn_of(self.user, self.password)

    @property
    def pid(self) -> int | None:
        """Of the server's first process; None: it does not run."""
        return self._process.pid if self._process is not None else None

    @abstractmethod
    def dsn_of(self, user: str, password: str) -> str:
        """Return how *user* connects."""

    @abstractmethod
    def execute(self, command: str) -> Any:
        """Run one command on a connection of its own and return what it answers."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make the data directory."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Return what to run; it stays in the foreground."""

    @abstractmethod
    def _ping(self) -> None:
        """Raise unless the server answers."""

    def _started(self) -> None:  # noqa: B027 -- most have nothing to do
        """Set up what is set up by commands; called once, at the first start."""

    def start(self) -> Self:
        """Start it and return when it answers; harmless twice."""
        if self._process is not None:
            return self
        with self.log_path.open("ab") as output:
            self._process = subprocess.Popen(
                _unprivileged(self._command()),
                cwd=self.folder,
                env=_environ(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait()
            if not (ready := self.folder / "set-up").exists():
                self._started()
                ready.touch()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it; the data stay. Harmless twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)  # a test may have stopped it
        process.send_signal(self.stop_signal)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End it and remove everything."""
        self.stop()
        for held in self._held:
            held.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def log_path(self) -> Path:
        """Where its output goes."""
        return self.folder / "server.log"

    def log(self, lines: int = 40) -> str:
        """Return the end of what it printed."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def _reserved(self) -> int:
        """Return a free port of this server's own until it is closed: also while it is stopped."""
        self._held.append(reserve_port())
        port: int = self._held[-1].getsockname()[1]
        return port

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                return self._ping()
            except Exception as problem:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise StartError(f"{self.name} does not start: {problem}\n{self.log()}") from None
                time.sleep(0.02)

    def _run(self, *command: str) -> None:
        """Run a program that prepares the data directory."""
        done = subprocess.run(
            _unprivileged(command),
            cwd=self.folder,
            env=_environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_START_SECONDS,
        )
        if done.returncode:
            raise StartError(f"{command[0]} failed: {done.stdout.decode(errors='replace')[-2000:]}")

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path


class Postgres(Server):
    """PostgreSQL, with a superuser for workers and a role for the probe that may see everything and change nothing."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": ends sessions
    database = "shop"
    probe_user = "lastspan_probe"
    probe_password = "pw-of-the-probe"

    @property
    def probe_dsn(self) -> str:
        """How the collector connects: a role with pg_read_all_stats."""
        return self.dsn_of(self.probe_user, self.probe_password)

    def dsn_of(self, user: str, password: str) -> str:
        """Return how *user* connects."""
        return f"postgresql://{user}:{password}@{self.address}/{self.database}"

    def connect(self, *, autocommit: bool = False, application_name: str = "") -> psycopg.Connection[Any]:
        """Return a connection of the worker's role."""
        return psycopg.connect(self.dsn, autocommit=autocommit, application_name=application_name, connect_timeout=10)

    def execute(self, command: str) -> list[Any]:
        """Run one command as the superuser, in no transaction; return its rows."""
        with contextlib.closing(self.connect(autocommit=True)) as connection:
            cursor = connection.execute(command.encode())
            return cursor.fetchall() if cursor.description else []

    def _prepare(self) -> None:
        secret = self._write("password", self.password)
        self._run(
            *(program("initdb"), "--pgdata", "data", "--username", self.user, "--pwfile", str(secret)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )

    def _command(self) -> Sequence[str]:
        settings = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "shared_buffers": "16MB",
            "dynamic_shared_memory_type": "mmap",  # within the data directory: nothing stays behind
            "max_connections": 100,
            "max_prepared_transactions": 10,
            "log_timezone": "UTC",
        }
        return [program("postgres"), "-D", "data", *(f"--{name}={value}" for name, value in settings.items())]

    def _ping(self) -> None:
        psycopg.connect(self.dsn_of(self.user, self.password), dbname="postgres", connect_timeout=2).close()

    def _started(self) -> None:
        with psycopg.connect(self.dsn, dbname="postgres", autocommit=True) as connection:
            connection.execute(f"create database {self.database}".encode())
            connection.execute(f"create role {self.probe_user} login password '{self.probe_password}'".encode())
            connection.execute(f"grant pg_read_all_stats to {self.probe_user}".encode())
            connection.execute(f"alter role {self.probe_user} set default_transaction_read_only = on".encode())


class PgBouncer(Server):
    """PgBouncer before a PostgreSQL; it adds the client's address to the application name."""

    name = "pgbouncer"

    def __init__(self, postgres: Postgres, *, pool_mode: str = "transaction") -> None:
        self._postgres = postgres
        self._pool_mode = pool_mode
        super().__init__()

    def dsn_of(self, user: str, password: str) -> str:
        """Return how *user* connects."""
        return f"postgresql://{user}:{password}@{self.address}/{self._postgres.database}"

    def connect(self, *, autocommit: bool = False, application_name: str = "") -> psycopg.Connection[Any]:
        """Return a connection of the worker's role, through the pooler."""
        return psycopg.connect(self.dsn, autocommit=autocommit, application_name=application_name, connect_timeout=10)

    def execute(self, command: str) -> list[Any]:
        """Run one command through the pooler; return its rows."""
        with contextlib.closing(self.connect(autocommit=True)) as connection:
            cursor = connection.execute(command.encode())
            return cursor.fetchall() if cursor.description else []

    def _prepare(self) -> None:
        self._write("users.txt", f'"{self._postgres.user}" "{self._postgres.password}"\n')
        self._write(
            "pgbouncer.ini",
            f"""[databases]
* = host={self._postgres.host} port={self._postgres.port}
[pgbouncer]
listen_addr = {self.host}
listen_port = {self.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {self.folder}/users.txt
pool_mode = {self._pool_mode}
application_name_add_host = 1
ignore_startup_parameters = extra_float_digits
server_login_retry = 1
""",
        )

    def _command(self) -> Sequence[str]:
        return [program("pgbouncer"), "pgbouncer.ini"]

    def _ping(self) -> None:
        psycopg.connect(self.dsn, connect_timeout=2).close()


class Redis(Server):
    """Redis, with a password and nothing on disk."""

    name = "redis"
    user = "default"

    def dsn_of(self, user: str, password: str) -> str:
        """Return how *user* connects."""
        return f"redis://{user}:{password}@{self.address}/0"

    def execute(self, command: str) -> Any:
        """Run one command, its words separated by spaces; return its answer as text where it is one."""
        with contextlib.closing(redis.Redis.from_url(self.dsn, decode_responses=True)) as client:
            return client.execute_command(*command.split())

    def _prepare(self) -> None:
        program("redis-server")

    def _command(self) -> Sequence[str]:
        settings = {"bind": self.host, "port": str(self.port), "requirepass": self.password, "save": "", "dir": "."}
        return [program("redis-server"), *(part for name, value in settings.items() for part in (f"--{name}", value))]

    def _ping(self) -> None:
        self.execute("PING")


class RabbitMQ(Server):
    """RabbitMQ, one node with an `epmd` of its own (Erlang's register of nodes), both on loopback only.

    *consumer_timeout* (s): what is not acked for so long is given out again; None: the server's 30 min.
    """

    name = "rabbitmq"
    user = "guest"
    password = "guest"
    _scripts: Final = Path("/usr/lib/rabbitmq/bin")  # those in the PATH are for root, who becomes somebody else

    def __init__(self, *, consumer_timeout: float | None = None) -> None:
        self._consumer_timeout = consumer_timeout
        super().__init__()
        self._epmd_port, self._node_port = self._reserved(), self._reserved()

    def dsn_of(self, user: str, password: str) -> str:
        """Return how *user* connects."""
        return f"amqp://{user}:{password}@{self.address}//"

    def execute(self, command: str) -> str:
        """Run `rabbitmqctl`; return what it prints."""
        done = subprocess.run(
            _unprivileged([str(self._scripts / "rabbitmqctl"), "--quiet", *command.split()]),
            cwd=self.folder,
            env={**_environ(), **self._settings()},
            capture_output=True,
            text=True,
            check=True,
            timeout=_START_SECONDS,
        )
        return done.stdout

    def stop(self) -> None:
        """End it, and its register of nodes."""
        process = self._process
        super().stop()
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _prepare(self) -> None:
        program("rabbitmq-server")
        rabbit = ""
        if self._consumer_timeout is not None:
            rabbit = f"{{consumer_timeout, {int(self._consumer_timeout * 1000)}}}, {{channel_tick_interval, 1000}}"
        self._write("rabbitmq.conf", f"listeners.tcp.default = {self.address}\n")
        self._write("advanced.config", f"[{{rabbit, [{rabbit}]}}].\n")
        self._write("enabled_plugins", "[].\n")

    def _settings(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder),  # of the secret that nodes share
            "RABBITMQ_NODENAME": f"lastspan-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
            "ERL_EPMD_ADDRESS": self.host,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the server: no shell stays between us and it
        }

    def _command(self) -> Sequence[str]:
        (self.folder / "data").mkdir(exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.folder / "data", "nobody", "nogroup")
        settings = [f"{name}={value}" for name, value in self._settings().items()]
        start = f"{program('setpriv')} --pdeathsig KILL {program('epmd')} & exec {self._scripts / 'rabbitmq-server'}"
        return [program("env"), *settings, "/bin/sh", "-c", start]

    def _ping(self) -> None:
        with kombu.Connection(self.dsn, connect_timeout=5) as connection:
            connection.connect()


class MariaDB(Server):
    """MariaDB, with a role for workers that may do anything, and one for the probe."""

    name = "mariadb"
    database = "shop"
    probe_user = "lastspan_probe"
    probe_password = "pw-of-the-probe"

    def __init__(self, *, performance_schema: bool = True) -> None:
        self._schema = "ON" if performance_schema else "OFF"
        super().__init__()

    @property
    def probe_dsn(self) -> str:
        """How the collector connects: a role with PROCESS that may read performance_schema."""
        return self.dsn_of(self.probe_user, self.probe_password)

    def dsn_of(self, user: str, password: str) -> str:
        """Return how *user* connects."""
        return f"mysql://{user}:{password}@{self.address}/{self.database}"

    def connect(self, *, autocommit: bool = False) -> pymysql.connections.Connection[Any]:
        """Return a connection of the worker's role."""
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            database=self.database,
            autocommit=autocommit,
            connect_timeout=10,
        )

    def execute(self, command: str) -> list[Any]:
        """Run one command as the workers' role; return its rows."""
        with contextlib.closing(self.connect(autocommit=True)) as connection, connection.cursor() as cursor:
            cursor.execute(command)
            return list(cursor.fetchall())

    def _prepare(self) -> None:
        program("mariadbd")
        self._run(
            *(program("mariadb-install-db"), "--no-defaults", f"--datadir={self.folder}/data"),
            *("--skip-test-db", "--skip-name-resolve"),
            *("--auth-root-authentication-method=normal", "--innodb-flush-log-at-trx-commit=0"),
        )
        roles = [
            f"create database if not exists {self.database}",
            f"create user if not exists {self.user}@'%' identified by '{self.password}'",
            f"grant all privileges on *.* to {self.user}@'%' with grant option",
            f"create user if not exists {self.probe_user}@'%' identified by '{self.probe_password}'",
            f"grant process on *.* to {self.probe_user}@'%'",
            f"grant select on performance_schema.* to {self.probe_user}@'%'",
        ]
        self._write("roles.sql", "".join(f"{line};\n" for line in roles))

    def _command(self) -> Sequence[str]:
        return [
            *(
                program("mariadbd"),
                "--no-defaults",
                f"--datadir={self.folder}/data",
                f"--init-file={self.folder}/roles.sql",
            ),
            *(f"--bind-address={self.host}", f"--port={self.port}", f"--socket={self.folder}/socket"),
            *(f"--pid-file={self.folder}/pid", "--skip-name-resolve", "--skip-log-bin"),
            *("--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--innodb-buffer-pool-size=16M"),
            *(f"--performance-schema={self._schema}", "--performance-schema-instrument=wait/lock/metadata/sql/mdl=ON"),
        ]

    def _ping(self) -> None:
        self.connect().close()


class Prometheus(Server):
    """Prometheus, which scrapes one target once a second and keeps what it hears for this run only."""

    name = "prometheus"

    def __init__(
        self,
        target: str,
        *,
        interval_s: int = 1,
        rules: str = "",
        alertmanager: str = "",
        installed: str = "prometheus",
    ) -> None:
        self._target, self._interval, self._rules, self._alertmanager = target, interval_s, rules, alertmanager
        self._installed = installed
        super().__init__()

    def dsn_of(self, user: str, password: str) -> str:
        """Return its address: it has no users."""
        return f"http://{self.address}"

    def execute(self, command: str) -> list[Any]:
        """Run one query at this moment; return its series. What Prometheus does not understand is a ValueError."""
        answer = self._ask("query", query=command)
        if answer["resultType"] == "scalar":
            return [{"metric": {}, "value": answer["result"]}]
        series: list[Any] = answer["result"]
        return series

    def execute_range(self, command: str, *, seconds: float = 60.0) -> list[Any]:
        """Run one query over the last *seconds*, one point a second; return its series."""
        now = time.time()
        answer = self._ask("query_range", query=command, start=str(now - seconds), end=str(now), step="1")
        series: list[Any] = answer["result"]
        return series

    def alerts(self) -> list[Any]:
        """Return the alerts that are pending or firing."""
        found: list[Any] = requests.get(f"{self.dsn}/api/v1/alerts", timeout=30).json()["data"]["alerts"]
        return found

    def _ask(self, what: str, **parameters: str) -> Any:
        answer = requests.post(f"{self.dsn}/api/v1/{what}", data=parameters, timeout=30).json()
        if answer["status"] != "success":
            raise ValueError(f"{answer['error']}: {parameters['query']}")
        return answer["data"]

    def _prepare(self) -> None:
        settings = {
            "global": {
                "scrape_interval": f"{self._interval}s",
                "scrape_timeout": "1s",
                "evaluation_interval": f"{self._interval}s",
            },
            "rule_files": ["rules.yml"] if self._rules else [],
            "alerting": {"alertmanagers": _static(self._alertmanager) if self._alertmanager else []},
            "scrape_configs": [{"job_name": "lastspan", **_static(self._target)[0]}],
        }
        self._write("rules.yml", self._rules)
        self._write("prometheus.yml", json.dumps(settings))  # JSON is YAML too

    def _command(self) -> Sequence[str]:
        return [
            *(program(self._installed), "--config.file=prometheus.yml", "--storage.tsdb.path=data"),
            *(f"--web.listen-address={self.address}", "--log.level=warn"),
        ]

    def _ping(self) -> None:
        requests.get(f"{self.dsn}/-/ready", timeout=2).raise_for_status()


class Alertmanager(Server):
    """Alertmanager with a configuration and templates of the test's; *web* is its `--web.config.file`."""

    name = "alertmanager"

    def __init__(
        self,
        config: str,
        templates: str,
        *,
        installed: str = "prometheus-alertmanager",
        web: str = "",
        files: Sequence[Path] = (),
    ) -> None:
        self._config, self._templates, self._installed = config, templates, installed
        self._web, self._files = web, files
        super().__init__()

    def dsn_of(self, user: str, password: str) -> str:
        """Return its address: it has no users."""
        return f"http://{self.address}"

    def execute(self, command: str) -> Any:
        """Ask its API, as `alerts` or `alerts/groups`."""
        return requests.get(f"{self.dsn}/api/v2/{command}", timeout=10).json()

    def _prepare(self) -> None:
        self._write("alertmanager.yml", self._config)
        self._write("lastspan.tmpl", self._templates)
        self._write("web.yml", self._web)
        for file in self._files:
            self._write(file.name, file.read_text())

    def _command(self) -> Sequence[str]:
        return [
            *(program(self._installed), "--config.file=alertmanager.yml", "--storage.path=data"),
            *(f"--web.listen-address={self.address}", "--cluster.listen-address=", "--log.level=debug"),
            *(["--web.config.file=web.yml"] if self._web else []),
        ]

    def _ping(self) -> None:
        if self._web:  # asks for a password, or for TLS
            return socket.create_connection((self.host, self.port), timeout=2).close()
        return requests.get(f"{self.dsn}/-/ready", timeout=2).raise_for_status()


def _static(target: str) -> list[dict[str, Any]]:
    return [{"static_configs": [{"targets": [target]}]}]


def _unprivileged(command: Sequence[str]) -> list[str]:
    """Return *command* as one that is no root (they refuse) and that does not outlive us."""
    setpriv = program("setpriv")
    return [setpriv, *(_AS_NOBODY if os.geteuid() == 0 else ()), "--pdeathsig", "KILL", "--", *command]


def _environ() -> dict[str, str]:
    """The least: settings of the person's own clients (PGHOST, PGOPTIONS, …) are not for these servers."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
