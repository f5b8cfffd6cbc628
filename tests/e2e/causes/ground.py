"""What the ways stand on: the servers that they need, real ones, and those that never answer."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Final

from tests.e2e.causes.place import Place
from tests.e2e.causes.silent import (
    DeafUdp,
    FullBacklog,
    Listener,
    SlowRpc,
    headers,
    pages,
    silent,
    tls,
    trickle,
    websocket,
)
from tests.servers import MariaDB, PgBouncer, Postgres, Redis

_PROBE: Final = {"interval": "1s"}


class Ground(ExitStack):
    """The servers; leaving the block ends them."""

    def __init__(self, needs: frozenset[str]) -> None:
        super().__init__()
        self._probes: dict[str, object] = {}
        self.place = Place()
        self._needs = needs

    def __enter__(self) -> Ground:
        super().__enter__()
        try:
            self.place = Place(**self._silent(), **self._databases())
        except BaseException:
            self.close()
            raise
        return self

    def config(self) -> dict[str, object]:
        """Return the collector's settings for the databases."""
        return dict(self._probes)

    def _silent(self) -> dict[str, str]:
        servers: dict[str, Listener | FullBacklog | SlowRpc | DeafUdp] = {
            "silent": silent(),
            "tls": tls(),
            "trickle": trickle(),
            "headers": headers(),
            "websocket": websocket(),
            "pages": pages(),
            "full": FullBacklog(),
            "grpc": SlowRpc(),
            "udp": DeafUdp(),
        }
        return {name: self.enter_context(closing(server)).address for name, server in servers.items()}

    def _databases(self) -> dict[str, str]:
        addresses: dict[str, str] = {}
        if self._needs & {"postgres", "pgbouncer"}:
            postgres = self.enter_context(Postgres())
            addresses |= {"postgres": postgres.dsn}
            servers = []
            if "pgbouncer" in self._needs:
                pooler = self.enter_context(PgBouncer(postgres))
                addresses["pgbouncer"] = pooler.dsn
                servers.append(pooler.address)
            self._probes["postgres"] = [{"dsn": postgres.probe_dsn, "servers": servers, **_PROBE}]
        if "mariadb" in self._needs:
            mariadb = self.enter_context(MariaDB())
            addresses["mariadb"] = mariadb.dsn
            self._probes["mysql"] = [{"dsn": mariadb.probe_dsn, **_PROBE}]
        if "redis" in self._needs:
            addresses["redis"] = self.enter_context(Redis()).dsn
            addresses["stopped_redis"] = self.enter_context(_stopped_redis()).dsn
        return addresses


@contextmanager
def _stopped_redis() -> Iterator[Redis]:
    with Redis() as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        yield server
