"""Runs a program in a process of its own, under the real wrapper, and never leaves one behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.sink import Sink

PROGRAMS = Path(__file__).parent / "programs"
WRAPPER = Path(sys.executable).parent / "opentelemetry-instrument"

ENVIRONMENT = {
    # quick, so that a test need not wait
    "OTEL_LASTSPAN_ANNOUNCE_AFTER": "0.2",
    "OTEL_LASTSPAN_JOB_ANNOUNCE_AFTER": "0.1",
    "OTEL_LASTSPAN_INTERVAL": "0.5",
    # of libraries that no program here uses: they would take longer to load than all else
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "aiobotocore,aiohttp-client,asyncpg,botocore,grpc_aio_client,"
    "grpc_aio_server,grpc_client,grpc_server,httpx,kafka,pika,psycopg,psycopg2,pymysql,redis,sqlalchemy",
    # nothing but ours leaves
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_SERVICE_NAME": "program",
    "PYTHONWARNINGS": "ignore",
}


class Program:
    """A process that runs; `release` ends its standard input, `finish` waits for its end."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output
        self.ended_at = 0.0

    def line(self) -> None:
        """Let it go on to where it reads the next line."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def release(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def finish(self, seconds: float = 60) -> str:
        """Let it go and wait until it has ended well; return what it printed, errors included."""
        self.release()
        code = self.process.wait(seconds)
        self.ended_at = time.time()
        assert code == 0, self.output()
        return self.output()

    def output(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")


@contextmanager
def program(
    name: str,
    *arguments: str,
    sink: Sink | str,
    wrapped: bool = True,
    flags: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
) -> Iterator[Program]:
    """Start a program of `programs/`; it and all its children are gone at the end."""
    url = sink if isinstance(sink, str) else sink.url
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHONPATH"))}
    command = [*([str(WRAPPER), *flags] if wrapped else []), sys.executable, str(PROGRAMS / f"{name}.py"), *arguments]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**inherited, **ENVIRONMENT, "OTEL_LASTSPAN_ENDPOINT": url, **(environ or {})},
            )
        try:
            yield Program(process, output)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
            if process.stdin is not None:
                try:
                    process.stdin.close()
                except BrokenPipeError:
                    pass
