"""CPU of the collector for each record that it receives, decodes and tracks, beside other receivers."""

from __future__ import annotations

import json
import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, Final, NamedTuple

from .peers import PeerMissingError, packages
from .processes import FailedError, Started, module, started
from .report import Bound, Column, Options, Progress, Report

_ROUNDS: Final = 5
_HTTP_TIMES: Final = 2.5
_GRPC_TIMES: Final = 2.0
_TICK_US: Final = 0.01
"""In the place of nothing, which a quick run may well measure."""
_ROTEL: Final = ("rotel==0.0.1a15",)


class Load(NamedTuple):
    """What is sent: so many processes, so many jobs of each in one request, said so many times."""

    processes: int
    pairs: int
    generations: int
    kind: str
    means: str


_LOADS: Final = {
    "512": Load(40, 256, 6, "plain", "requests of 512 records"),
    "512+stacks": Load(40, 256, 3, "evidence", "requests of 512, every second one with a stack of 18 frames"),
    "4": Load(2000, 2, 4, "plain", "requests of 4 records, straight from workers"),
}
_TRANSPORTS: Final = ("http", "grpc")
_SERVERS: Final = {
    "lastspan": "the collector as it is",
    "lastspan, kept": "and with a memory on disk (--data-dir)",
    "naive": "full decode, every attribute into a dict, then the same tracking",
    "rotel": "PyPI rotel, no processor, blackhole exporter: it tracks nothing",
}


class _Case(NamedTuple):
    server: str
    transport: str
    load: str


def run(options: Options) -> Report:
    """Each case with a fresh server, all in each round, in a new order each time."""
    loads = {"512": _LOADS["512"]._replace(processes=2, generations=1)} if options.quick else _LOADS
    missing = {"rotel": "not part of a quick run"} if options.quick else _missing()
    cases = [
        _Case(server, transport, load)
        for load in loads
        for transport in _TRANSPORTS
        for server in _SERVERS
        if server not in missing
    ]
    number = options.rounds_of(_ROUNDS)
    taken: dict[_Case, list[dict[str, Any]]] = {case: [] for case in cases}
    progress = Progress("receive", number * len(cases))
    for _ in range(number):
        for case in random.sample(cases, len(cases)):
            taken[case].append(_measure(case, loads[case.load]))
            progress.step("/".join(case))
    rows = [_row(case, taken) for case in cases]
    rows += [{"variant": name, "means": f"skipped: {why}"} for name, why in missing.items()]
    times = {case: row["times"] for case, row in zip(cases, rows, strict=False)}
    return Report(
        "receive",
        "CPU that a record costs the collector: received, decoded, tracked",
        [
            Column("transport", "over"),
            Column("load", "a request"),
            Column("us", "CPU s / 10⁶"),
            Column("low", "least"),
            Column("high", "most"),
            Column("a_core", "records/s of a core", 0),
            Column("times", "naive ÷ it"),
            Column("rss", "RSS MiB", 0),
        ],
        rows,
        bounds=[
            Bound(
                f"over {transport} at least {limit} × less CPU than the naive receiver",
                times.get(_Case("lastspan", transport, "512")),
                limit,
                at_least=True,
            )
            for transport, limit in (("http", _HTTP_TIMES), ("grpc", _GRPC_TIMES))
        ],
        ratios={f"naive ÷ {' '.join(case)}": value for case, value in times.items()},
        notes=[
            f"{number} rounds, a fresh server each; CPU of the server's process, user and system, all its threads.",
            "Half of the records are jobs, half the calls in them: 22 to 24 attributes (32 with a stack), all read.",
            "Each span is opened once and then said again; 4 connections, one request at a time on each.",
            "'records/s of a core' is what one busy core would give (1 ÷ CPU). The bounds are judged at 512.",
            "rotel uses both cores, decodes fully, batches, and keeps nothing.",
        ],
        packages=("grpcio", "protobuf", "uvicorn", "httptools", "uvloop", "opentelemetry-proto"),
    )


def _measure(case: _Case, load: Load) -> dict[str, Any]:
    with _server(case.server) as (server, addresses):
        arguments = (case.transport, addresses[case.transport], *load[:4])
        with started(module("bench.receive_load", *arguments), stdin=True) as client:
            client.line("made", 120)
            before = server.cpu_seconds()
            client.go()
            client.wait(300)
            result: dict[str, Any] = json.loads(client.line("result ").partition(" ")[2])
        if result["bad"]:
            raise FailedError(f"{case}: {result['bad']} requests were not taken; it said: {server.said[-500:]}")
        _settle(server)
        result["us"] = (server.cpu_seconds() - before) / result["records"] * 1e6
        result["rss"] = server.rss_bytes() / 2**20
        return result


@contextmanager
def _server(name: str) -> Iterator[tuple[Started, dict[str, str]]]:
    if name == "rotel":
        addresses = {"http": _free(), "grpc": _free()}
        with started(_rotel(addresses)) as server:
            for address in addresses.values():
                _wait_for(address)
            yield server, addresses
        return
    command = module("bench.receive_naive")
    if name.startswith("lastspan"):
        command = module("bench.receive_own", *(["kept"] if name.endswith("kept") else []))
    with started(command) as server:
        ready = dict(part.split("=", 1) for part in server.line("ready ").split()[1:])
        yield server, ready


def _settle(server: Started) -> None:
    """Wait until the server has done what it was given."""
    before = server.cpu_seconds()
    for _ in range(50):
        time.sleep(0.1)
        now = server.cpu_seconds()
        if now - before < 0.02:
            return
        before = now


def _missing() -> dict[str, str]:
    try:
        packages("rotel", _ROTEL)
        with _server("rotel"):
            return {}
    except (PeerMissingError, FailedError, OSError) as error:
        return {"rotel": str(error).strip().replace("\n", " ")[-200:]}


def _rotel(addresses: dict[str, str]) -> list[str]:
    program = packages("rotel", _ROTEL) / "rotel" / "rotel-agent"
    os.chmod(program, 0o755)
    flags = [f"--otlp-{name}-endpoint={address}" for name, address in addresses.items()]
    return [str(program), "start", *flags, "--exporter=blackhole"]


def _free() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def _wait_for(address: str) -> None:
    host, _, port = address.rpartition(":")
    for _ in range(100):
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise FailedError(f"nobody listens on {address}")


def _row(case: _Case, taken: dict[_Case, list[dict[str, Any]]]) -> dict[str, Any]:
    values = [result["us"] for result in taken[case]]
    naive = [result["us"] for result in taken[case._replace(server="naive")]]
    us = median(values) or _TICK_US
    return {
        "variant": case.server,
        "transport": case.transport,
        "load": case.load,
        "us": us,
        "low": min(values),
        "high": max(values),
        "a_core": 1e6 / us,
        "times": median(naive) / us,
        "rss": median(result["rss"] for result in taken[case]),
        "bytes": taken[case][0]["bytes"],
        "means": f"{_SERVERS[case.server]}; {_LOADS[case.load].means}",
    }
