"""Sends records to the collector: one attempt of at most 2 s, then a backoff while it does not answer.

Runs on the watcher's thread only. What fails is said once in the log, then counted.
"""

from __future__ import annotations

import gzip
import netrc  # noqa: F401  # requests imports it at the first request, on a thread; the host may fork meanwhile
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from ..guest import log
from ..guest.backoff import Backoff
from ..guest.version import VERSION
from .endpoint import Destination
from .http_adapter import SilentAdapter
from .records import Record, encode

_log = log.Log(__name__)

_CONNECT_AND_READ: Final = (1.0, 1.0)
_ANSWER_MAX: Final = 65_536
_KEPT_MAX: Final = 1000
_BATCH_MAX: Final = 512
_PAUSE_MAX: Final = 30.0

_Connection = tuple[requests.Session, requests.PreparedRequest, dict[str, Any]]
"""With the request that is the same each time, and what is asked of the session."""


class Exporter:
    """The way of this process's records; made after fork, so that no connection is shared."""

    def __init__(
        self,
        destination: Destination,
        resource: Callable[[], Mapping[str, Any]],
        *,
        pause_max: float,
        yield_gil: Callable[[], object] = lambda: None,
    ) -> None:
        self._destination = destination
        self._yield_gil = yield_gil
        """Called after each record: lets the host's threads run."""
        self._resource = resource
        self._backoff = Backoff(min(pause_max, _PAUSE_MAX))
        self._connection: _Connection | None = None
        self._written: Any = None
        """The connection of urllib3's on which requests were written in a hurry."""
        self._kept: deque[Record] = deque()
        self.dropped = 0
        """Records said once only that were never sent."""

    def is_open(self, now: float) -> bool:
        """Say whether a record would be tried now (monotonic s); False while we pause after a failure."""
        return self._backoff.is_due(now)

    def send(self, records: Sequence[Record], now: float, *, gil_contended: bool = False) -> bool:
        """Send what was kept and *records*; True when all of it was accepted, or there was nothing to send.

        *is_hurried*: each call of the system may take seconds, so make one, and do not wait for the answer.
        """
        if not self.is_open(now):
            self._keep(records)
            return False
        batch = [*self._kept, *records]
        if gil_contended and self._write(batch):
            return False  # nobody has said that it arrived
        self._let_go()
        self._kept.clear()
        for start in range(0, len(batch), _BATCH_MAX):
            if (problem := self._post(batch[start : start + _BATCH_MAX])) is not None:
                self._fail(problem, now)
                self._keep(batch[start:])
                return False
        if batch and self._backoff.has_failed:
            _log.info("lastspan reaches %s again", self._destination.address)
            self._backoff.succeed()
        return True

    def _post(self, records: Sequence[Record]) -> str | None:
        """POST one batch; return what went wrong."""
        try:
            body = encode(self._resource(), records, VERSION, self._yield_gil)
            if self._destination.gzip:
                body = gzip.compress(body, 1)
            session, request, options = self._connection or self._connect()
            request = request.copy()
            request.prepare_body(body, None)
            with session.send(request, **options) as response:
                response.raw.read(_ANSWER_MAX)  # so that the connection can be used again; an endless body is cut off
        except Exception as error:  # whatever the network, the proxy or the TLS library thinks of
            return type(error).__name__
        if response.status_code == 400:  # never to be tried again (OTLP/HTTP specification)
            self.dropped += len(records)
            return None
        return None if 200 <= response.status_code < 300 else f"HTTP {response.status_code}"

    def _connect(self) -> _Connection:
        """Read what the environment says of proxies, certificates, passwords: once, each is a look at files.

        Each such look lets go of the interpreter, which native code of the host may then keep for seconds.
        """
        session, destination = requests.Session(), self._destination
        for scheme in ("http://", "https://"):
            session.mount(scheme, SilentAdapter())
        headers = {**destination.headers, "Content-Type": "application/x-protobuf"}
        if destination.gzip:
            headers["Content-Encoding"] = "gzip"
        request = session.prepare_request(requests.Request("POST", destination.url, headers=headers))
        environment = session.merge_environment_settings(
            destination.url, {}, True, destination.certificate or True, destination.client_certificate
        )
        options = {**environment, "timeout": _CONNECT_AND_READ, "allow_redirects": False}
        self._connection = session, request, options
        return self._connection

    def _write(self, records: Sequence[Record]) -> bool:
        """Write a request on the connection that is open already; False: nothing was sent."""
        if self._connection is None or not records or any(record.is_kept for record in records):
            return False
        session, request, options = self._connection
        if options["proxies"] or not str(request.url).startswith("http://"):
            return False
        try:
            if self._written is None:
                adapter: Any = session.get_adapter(str(request.url))
                pools = adapter.poolmanager.pools  # of one server only
                self._written = pools[next(iter(pools.keys()))].pool.get(block=False)
            number = self._written.sock.fileno()
            body = encode(self._resource(), records, VERSION, self._yield_gil)
            body = gzip.compress(body, 1) if self._destination.gzip else body
            host = urlsplit(str(request.url)).netloc.rpartition("@")[2]
            headers = {"Host": host, **request.headers, "Content-Length": str(len(body))}
            head = "".join(f"{name}: {_text(value)}\r\n" for name, value in headers.items())
            whole = f"POST {request.path_url} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body
            return os.write(number, whole) == len(whole)
        except Exception:  # no connection is free, or it was closed, or is full
            return False

    def _let_go(self) -> None:
        """Close the connection whose answers nobody has read."""
        written, self._written = self._written, None
        if written is not None:
            written.close()

    def _fail(self, problem: str, now: float) -> None:
        if not self._backoff.has_failed:
            _log.warning(
                "lastspan cannot reach %s (%s; address from %s); jobs run on; stuck ones are not reported until then",
                self._destination.address,
                problem,
                self._destination.why,
            )
        self._backoff.fail(now)

    def _keep(self, records: Sequence[Record]) -> None:
        self._kept.extend(record for record in records if record.is_kept)
        while len(self._kept) > _KEPT_MAX:
            self._kept.popleft()
            self.dropped += 1


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
