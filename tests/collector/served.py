"""A real collector in a process of its own, and clients that speak real OTLP."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import requests

ROOT = Path(__file__).parents[2]
MAIN = "from lastspan.collector import main; main()"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
WAIT_S = 20.0
PATIENT = ("--silent-after", "1000")
"""Of a collector that a module shares: a worker that says no more is not lost, whichever test is the last."""


def environ(**extra: str) -> dict[str, str]:
    paths = [str(ROOT / part) for part in ("collector", "instrumentation", "alerts", "examples")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LASTSPAN_", "OTEL_"))}
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "120"} | extra


def lastspan(*arguments: str, cwd: Path | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, "-c", MAIN, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=cwd, env=environ(**extra), check=False
    )


class Served:
    """A collector that listens on free ports."""

    def __init__(self, folder: Path, *arguments: str, grpc: str = "127.0.0.1:0") -> None:
        self.log = folder / "collector.log"
        command = [sys.executable, "-W", "error", "-c", MAIN, "collector", "--otlp-grpc", grpc]
        command += ["--otlp-http", "127.0.0.1:0", "--web", "127.0.0.1:0", *arguments]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=folder, env=environ())
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline().decode().strip()
        assert self.ready.startswith("ready "), self.log.read_text()
        addresses = dict(part.split("=", 1) for part in self.ready.split()[1:])
        self.grpc, self.otlp = addresses["grpc"], f"http://{addresses['http']}"
        self.web = f"http://{addresses['web']}"
        self.http = requests.Session()
        self.http.trust_env = False

    def stop(self, how: int = signal.SIGTERM) -> int:
        """End it; return its exit status."""
        self.http.close()
        self.process.send_signal(how)
        try:
            return self.process.wait(WAIT_S)
        finally:
            self.process.kill()
            if self.process.stdout is not None:
                self.process.stdout.close()

    def post(
        self, body: bytes, *, path: str = "/v1/logs", content_type: str = PROTOBUF, **headers: str
    ) -> requests.Response:
        """Send a request over OTLP/HTTP."""
        told = {"Content-Type": content_type} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(self.otlp + path, data=body, headers=told, timeout=WAIT_S)

    def post_gzip(self, body: bytes, **kwargs: Any) -> requests.Response:
        return self.post(gzip.compress(body), Content_Encoding="gzip", **kwargs)

    def call(self, body: bytes, *, service: str = "logs.v1.LogsService", compressed: bool = False) -> bytes:
        """Send a request over OTLP/gRPC; grpc.RpcError if it is refused."""
        options = [("grpc.max_send_message_length", -1)]
        compression = grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression
        with grpc.insecure_channel(self.grpc, options=options, compression=compression) as channel:
            export = channel.unary_unary(f"/opentelemetry.proto.collector.{service}/Export")
            answer: bytes = export(body, timeout=WAIT_S)
            return answer

    def api(self, path: str) -> Any:
        return json.loads(self.http.get(self.web + path, timeout=WAIT_S).text)

    def jobs(self) -> dict[str, dict[str, Any]]:
        return {job["job_id"]: job for job in self.api("/api/v1/jobs")["jobs"]}

    def metrics(self) -> str:
        return self.http.get(self.web + "/metrics", timeout=WAIT_S).text

    def until(self, true: Callable[[], Any], seconds: float = WAIT_S) -> Any:
        """Return what *true* returns as soon as it is something."""
        deadline = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < deadline, f"not within {seconds} s\n{self.log.read_text()}"
            time.sleep(0.05)
        return found
