"""Starts the collector, workers and a server that never answers as real processes, and ends what it started.

Used by the demo and by the end-to-end tests.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import requests

_STOP_SECONDS: Final = 10.0


class StartError(Exception):
    """A process did not start; the message says which, and ends with what it printed."""


def reserve_port() -> socket.socket:
    """Return a socket that holds a free port of loopback for a server that is about to start there.

    While it is open, the kernel gives the port to nobody who asks for any. It does not listen, so a server that sets
    SO_REUSEADDR, as servers do, may.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


class SilentServer:
    """Accepts connections and never answers: the peer of every call without a timeout."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._listener = socket.create_server((host, port), backlog=64)
        self._taken: list[socket.socket] = []
        self.url = f"http://{host}:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Hang up."""
        for connection in (self._listener, *self._taken):
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                self._taken.append(self._listener.accept()[0])
            except OSError:  # closed
                return


class Running:
    """A folder for logs, and every process that was started; leaving the block ends them all."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lastspan-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._servers: list[SilentServer] = []
        self._held: list[socket.socket] = []
        self.silent = self._silent_server()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for process in self._processes:
            end(process, signal.SIGKILL)
        for server in self._servers:
            server.close()
        for held in self._held:
            held.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def collector(self, *arguments: str, grpc: str = "off", http: str = "127.0.0.1:0") -> Collector:
        """Start a collector on free ports; return it when it listens."""
        log = self._log("collector")
        command = [program("lastspan"), "collector", "--otlp-grpc", grpc, "--otlp-http", http, "--web", "127.0.0.1:0"]
        process = self._start([*command, *arguments], os.environ, log)
        ready = wait_for_line(log, "ready ", process)
        return Collector(process, dict(part.split("=", 1) for part in ready.split()[1:]))

    def celery(
        self,
        collector_url: str,
        *,
        pool: str = "prefork",
        concurrency: int = 8,
        queues: str = "celery",
        environ: Mapping[str, str] | None = None,
        app: str = "lastspan.examples.shop",
        wrapper: Sequence[str] = ("opentelemetry-instrument",),
        arguments: Sequence[str] = (),
        programs: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a real Celery worker under `opentelemetry-instrument`; return when it takes jobs.

        *programs*: the folder with the commands, if not this environment's.
        """
        log = self._log(f"celery-{pool}")
        command = [program(name, programs) for name in (*wrapper, "celery")] + ["-A", app, "worker"]
        command += ["-P", pool, "-c", str(concurrency), "-Q", queues, "-n", f"{pool}-{len(self._processes)}@shop"]
        command += ["-l", "INFO", "--without-mingle", "--without-gossip", *arguments]
        process = self._start(command, {**self.worker_environ(collector_url), **(environ or {})}, log)
        wait_for_line(log, " ready.", process, part=True)
        return process

    def python(self, source: str, collector_url: str, *, environ: Mapping[str, str] | None = None) -> Any:
        """Run a program under `opentelemetry-instrument`; return its process."""
        path = self.folder / f"program-{len(self._processes)}.py"
        path.write_text(source)
        command = [program("opentelemetry-instrument"), sys.executable, str(path)]
        return self._start(command, {**self.worker_environ(collector_url), **(environ or {})}, self._log("program"))

    def server(self, name: str, command: Sequence[str], *, ready: str) -> subprocess.Popen[bytes]:
        """Start a server of somebody else's; return when the URL *ready* answers with 200."""
        log = self._log(name)
        process = self._start(command, os.environ, log)
        deadline = time.monotonic() + 60
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise StartError(f"{name} does not start:\n{_read(log)[-2000:]}")
            time.sleep(0.05)
        return process

    def address(self) -> str:
        """Return a free HOST:PORT for a server, kept for it until the end."""
        self._held.append(reserve_port())
        return f"127.0.0.1:{self._held[-1].getsockname()[1]}"

    def worker_environ(self, collector_url: str) -> dict[str, str]:
        """Return the environment of a worker that reports quickly, to people who wait."""
        return {
            **os.environ,
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=demo",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector_url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_LASTSPAN_INTERVAL": "1",
            "OTEL_LASTSPAN_ANNOUNCE_AFTER": "2",
            "OTEL_LASTSPAN_JOB_ANNOUNCE_AFTER": "0.5",
            "OTEL_LASTSPAN_REFRESH": "5",
            "BROKER_FOLDER": str(self.folder / "broker"),
            "SHOP_SILENT_SERVER": self.silent.url,
            "C_FORCE_ROOT": "1",
        }

    def tail(self, lines: int = 20) -> str:
        """Return the ends of all logs, for an error message."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {log.name}\n" + "\n".join(_read(log).splitlines()[-lines:]) for log in logs)

    def _silent_server(self) -> SilentServer:
        self._servers.append(SilentServer())
        return self._servers[-1]

    def _log(self, name: str) -> Path:
        return self.folder / f"{len(self._processes)}-{name}.log"

    def _start(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=dict(environ),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)
        return process


class Collector:
    """A collector that runs, as its users see it."""

    def __init__(self, process: subprocess.Popen[bytes], addresses: Mapping[str, str]) -> None:
        self.process = process
        self.addresses = addresses
        self.otlp = f"http://{addresses['http']}"
        self.web = f"http://{addresses['web']}"

    def jobs(self, **filters: str) -> list[dict[str, Any]]:
        """`GET /api/v1/jobs`."""
        answer = requests.get(f"{self.web}/api/v1/jobs", params=filters, timeout=10)
        answer.raise_for_status()
        jobs: list[dict[str, Any]] = answer.json()["jobs"]
        return jobs

    def metrics(self) -> str:
        """`GET /metrics`."""
        return requests.get(f"{self.web}/metrics", timeout=10).text


def end(process: subprocess.Popen[bytes], how: int = signal.SIGTERM) -> None:
    """End a process with all that it started; what does not stop within ten seconds is killed."""
    for sign in (how, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            pass
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def program(name: str, folder: Path | None = None) -> str:
    """Return the path of a command of this Python environment (or of *folder*), or of the PATH."""
    here = (folder or Path(sys.executable).parent) / name
    found = str(here) if here.exists() else shutil.which(name)
    if found is None:
        raise StartError(f"the command {name} is not installed here; pip install 'lastspan[all]' brings it")
    return found


def wait_for_line(
    log: Path, text: str, process: subprocess.Popen[bytes], *, part: bool = False, seconds: float = 60
) -> str:
    """Return the first whole line of *log* that begins with *text* (with *part*: holds it)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for line in _read(log).splitlines(keepends=True):
            if line.endswith("\n") and (text in line if part else line.startswith(text)):
                return line.strip()
        if process.poll() is not None:
            raise StartError(f"{log.stem} ended with {process.returncode}:\n{_read(log)[-2000:]}")
        time.sleep(0.05)
    raise StartError(f"{log.stem} said no {text!r} within {seconds:.0f} s:\n{_read(log)[-2000:]}")


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
