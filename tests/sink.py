"""A server that takes OTLP logs and keeps them, or misbehaves in one of the ways of the real world."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest


class Received:
    """One record, as plain values."""

    def __init__(self, record: Any, resource: dict[str, Any]) -> None:
        self.event: str = record.event_name
        self.attributes = {kv.key: _value(kv.value) for kv in record.attributes}
        self.resource = resource
        self.span_id: str = record.span_id.hex()
        self.trace_id: str = record.trace_id.hex()
        self.severity: int = record.severity_number
        self.body: bytes = record.body.bytes_value
        self.arrived = time.monotonic()

    def __getitem__(self, name: str) -> Any:
        return self.attributes[name]

    def get(self, name: str) -> Any:
        """Return an attribute, or None."""
        return self.attributes.get(name)

    def __repr__(self) -> str:
        return f"<{self.event} {self.span_id} {self.attributes}>"


class Sink:
    """Listens on a free port of the loopback; `mode`: ok, 503 or black hole."""

    def __init__(self) -> None:
        self.records: list[Received] = []
        self.requests: list[tuple[str, bytes]] = []
        """Path and body, as they came."""
        self.mode = "ok"
        self._changed = threading.Condition()
        self._release = threading.Event()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if sink.mode == "black hole":
                    sink._release.wait(60)
                    return
                status = 200 if sink.mode == "ok" else int(sink.mode)
                if status == 200:
                    sink._take(self.path, body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._release.set()
        self._server.shutdown()
        self._server.server_close()

    def of(self, event: str) -> list[Received]:
        """Return the records of one event."""
        return [record for record in list(self.records) if record.event == event]

    def wait_for(self, condition: Callable[[Received], bool], seconds: float = 20) -> Received:
        """Return the first record that fits, as soon as it is there."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                for record in self.records:
                    if condition(record):
                        return record
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"no such record within {seconds} s; there are {self.records}")
                self._changed.wait(left)

    def wait_for_event(self, event: str, seconds: float = 20, **attributes: Any) -> Received:
        """Return the first record of an event with these attributes (`job_name=…` is `lastspan.job.name`)."""
        wanted = {f"lastspan.{name.replace('__', '.').replace('job_', 'job.')}": v for name, v in attributes.items()}
        return self.wait_for(
            lambda r: r.event == event and all(r.get(name) == value for name, value in wanted.items()), seconds
        )

    def _take(self, path: str, body: bytes) -> None:
        with self._changed:
            self.requests.append((path, body))
            if path.endswith("/v1/logs"):
                request = ExportLogsServiceRequest.FromString(body)
                for group in request.resource_logs:
                    resource = {kv.key: _value(kv.value) for kv in group.resource.attributes}
                    for scope in group.scope_logs:
                        self.records.extend(Received(record, resource) for record in scope.log_records)
            self._changed.notify_all()


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None
