"""The running collector: the one module that knows every room.

It puts the pipeline between its sockets, its memory, its probes and its publishers, ticks, and ends in order.
Everything runs in one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import resource
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from ..memory.database import FolderError
from ..memory.disk import Memory
from ..probe import Probes, connector
from ..publish.pages import ExternalLinks
from ..publish.web import web_app
from ..receive.budget import Budget
from ..receive.connection import Connection
from ..receive.grpc import grpc_server
from ..receive.http import OtlpHttp
from .config import CollectorSettings, ConfigError, split_address
from .pipeline import TICK_NS, Pipeline

logger = logging.getLogger(__name__)

_CONNECTIONS = 1 << 17
_GRACE_S = 4.0
"""For requests that are in flight when we stop."""


class _Server(uvicorn.Server):
    """uvicorn in a loop that is not its own: signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Leave signals alone."""
        yield


class Collector:
    """One pipeline behind its ports."""

    def __init__(self, settings: CollectorSettings) -> None:
        self._settings = settings
        # Monotonic, but counted from the epoch: what is older than this machine's last start has an age too.
        began_ns = time.time_ns() - time.monotonic_ns()
        self.pipeline = Pipeline(
            limits=settings.limits(),
            policy=settings.policy(settings.learner()),
            clock=lambda: began_ns + time.monotonic_ns(),
        )
        self.memory = self._memory()
        probes = settings.probes()
        self.pipeline.databases.is_asked = bool(probes)
        self._probes = Probes(
            probes,
            connector=connector,
            waits=self.pipeline.late_database_waits,
            tell=self.pipeline.database_facts,
            clock=self.pipeline.clock,
            failures=self.pipeline.facts.probe_failures,
        )
        self._pager = self._make_pager()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Ask it to end; harmless twice."""
        self._stop.set()

    def _memory(self) -> Memory | None:
        settings = self._settings
        if settings.data_dir is None:
            logger.warning("no data_dir: this collector forgets its state when it stops")
            return None
        memory = Memory(
            Path(settings.data_dir),
            self.pipeline.tracker,
            clock=self.pipeline.clock,
            sync_s=settings.sync_s(),
            log_max=settings.data_log_max,
        )
        self.pipeline.facts.memory = memory.facts
        return memory

    def _make_pager(self) -> Any:
        target = self._settings.alertmanagers()
        if not target.urls:
            return None
        from ..publish.alert.pager import Pager  # most collectors leave pages to Prometheus

        pager = Pager(target, self.pipeline.view, wall=time.time)
        self.pipeline.facts.posts = pager.facts
        return pager

    async def run(self, ready: Callable[[str], None]) -> None:
        """Listen, work, and return after `stop`; *ready* gets the line that says where it listens."""
        settings, budget = self._settings, Budget(self._settings.max_in_flight)
        if self.memory is not None:
            self.memory.restore()
            self.pipeline.memory = self.memory.take
        elsewhere = ExternalLinks(settings.trace_url, settings.grafana_url)
        sockets = {name: _bind(name, getattr(settings, name)) for name in ("otlp_http", "web")}
        grpc, grpc_address = await self._grpc(budget)
        apps = {
            "otlp_http": OtlpHttp(self.pipeline, max_body=settings.max_body, budget=budget),
            "web": web_app(
                self.pipeline.view, self.pipeline, ready=lambda: not self._stop.is_set(), elsewhere=elsewhere
            ),
        }
        servers = {name: (_uvicorn(apps[name]), sock) for name, sock in sockets.items() if sock is not None}
        tasks = [asyncio.create_task(server.serve([sock])) for server, sock in servers.values()]
        for server, _ in servers.values():
            while not server.started:
                await asyncio.sleep(0.005)
        tick = asyncio.create_task(self._tick())
        keep = asyncio.create_task(self._keep())
        if self._pager is not None:
            self._pager.start()
        gc.freeze()  # what is there now stays: collections need not look at it
        ready(f"ready grpc={grpc_address} http={_address(sockets['otlp_http'])} web={_address(sockets['web'])}")
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait([stopped, tick, keep], return_when=asyncio.FIRST_COMPLETED)
        logger.info("stopping")
        await self._end(servers, tasks, grpc)
        stopped.cancel()
        for task in (tick, keep):
            if task.done():
                task.result()  # it ends by a defect only
            task.cancel()
        if self._pager is not None:
            await self._pager.stop()
        await self._probes.stop()
        if self.memory is not None:
            await asyncio.gather(keep, return_exceptions=True)
            await self.memory.close()

    async def _grpc(self, budget: Budget) -> tuple[Any, str]:
        address = split_address("otlp_grpc", self._settings.otlp_grpc)
        if address is None:
            return None, "off"
        host, port = address
        server = grpc_server(self.pipeline, max_body=self._settings.max_body, budget=budget)
        shown = f"[{host}]" if ":" in host else host
        try:
            bound = server.add_insecure_port(f"{shown}:{port}")
        except RuntimeError:
            raise ConfigError(f"otlp_grpc: cannot listen on {host}:{port}: is it in use?") from None
        await server.start()
        _say("otlp_grpc", host, bound)
        return server, f"{shown}:{bound}"

    async def _tick(self) -> None:
        while True:
            for _ in self.pipeline.tick():
                await asyncio.sleep(0)
            self._probes.poll()
            await asyncio.sleep(TICK_NS / 1e9)

    async def _keep(self) -> None:
        if self.memory is None:
            await self._stop.wait()
        else:
            await self.memory.run()

    async def _end(self, servers: dict[str, Any], tasks: list[asyncio.Task[None]], grpc: Any) -> None:
        for server, _ in servers.values():
            server.should_exit = True
        ends = [*tasks]
        if grpc is not None:
            ends.append(asyncio.create_task(grpc.stop(_GRACE_S)))
        if ends:
            await asyncio.wait(ends, timeout=_GRACE_S)


def run(settings: CollectorSettings, ready: Callable[[str], None]) -> None:
    """Run a collector until SIGTERM or SIGINT."""
    _allow_connections()
    try:
        from uvloop import run as run_loop  # a policy would do the same, and Python 3.16 has none any more
    except ImportError:
        run_loop = asyncio.run
    try:
        run_loop(_run(settings, ready))
    except FolderError as problem:
        raise ConfigError(f"data_dir: {problem}") from None


def _allow_connections() -> None:
    """Each worker process keeps a connection: 1024, the usual limit, is soon reached, and then nobody is heard."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, _CONNECTIONS)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def _run(settings: CollectorSettings, ready: Callable[[str], None]) -> None:
    collector = Collector(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, collector.stop)
    await collector.run(ready)


def _uvicorn(app: Any) -> _Server:
    config = uvicorn.Config(
        app,
        http=Connection,
        lifespan="off",
        log_config=None,
        proxy_headers=False,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(_GRACE_S) - 1,
    )
    config.load()
    return _Server(config)


def _bind(key: str, address: str) -> socket.socket | None:
    found = split_address(key, address)
    if found is None:
        return None
    host, port = found
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, UnicodeError) as problem:  # a name that is none
        why = getattr(problem, "strerror", None) or problem
        raise ConfigError(f"{key}: cannot listen on {host}:{port}: {why}") from None
    sock.setblocking(False)
    _say(key, host, sock.getsockname()[1])
    return sock


def _say(key: str, host: str, port: int) -> None:
    logger.info("%s listens on %s:%d", key, host, port)
    if not _is_loopback(host):
        logger.warning(
            "%s listens beyond localhost (%s): there is no authentication yet, so anyone who reaches it can use it",
            key,
            host,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(sock: socket.socket | None) -> str:
    if sock is None:
        return "off"
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
