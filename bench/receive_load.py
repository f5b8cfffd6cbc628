"""Sends requests that were made before, over several connections, and says what came back.

`python -m bench.receive_load http|grpc HOST:PORT PROCESSES PAIRS GENERATIONS plain|evidence`. It makes the requests,
prints `made`, and sends them when a line comes in on standard input; so the server's CPU can be read just before.
Each process says all its spans in each generation, with new ages and sequences: the first opens, the others refresh.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence

import grpc

from .workload import Workload

_CONNECTIONS = 4
_METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


async def _http(address: str, bodies: Sequence[bytes]) -> int:
    host, _, port = address.rpartition(":")
    head = f"POST /v1/logs HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-protobuf\r\nContent-Length: "
    reader, writer = await asyncio.open_connection(host, int(port))
    bad = 0
    for body in bodies:
        writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        answer = await reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        content = await reader.readexactly(int(lengths[0].partition(b":")[2])) if lengths else b""
        bad += not answer.startswith(b"HTTP/1.1 200") or len(content) > 4  # a partial success has a body
    writer.close()
    return bad


async def _grpc(address: str, bodies: Sequence[bytes]) -> int:
    bad = 0
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        export = channel.unary_unary(_METHOD)
        for body in bodies:
            try:
                bad += len(await export(body)) > 4
            except grpc.aio.AioRpcError:
                bad += 1
    return bad


async def _send(transport: str, address: str, generations: Sequence[Sequence[bytes]]) -> tuple[int, float]:
    send = _http if transport == "http" else _grpc
    shares = [[body for bodies in generations for body in bodies[index::_CONNECTIONS]] for index in range(_CONNECTIONS)]
    began = time.monotonic()
    bad = await asyncio.gather(*(send(address, share) for share in shares))
    return sum(bad), time.monotonic() - began


def main() -> None:
    transport, address = sys.argv[1:3]
    processes, pairs, generations = (int(argument) for argument in sys.argv[3:6])
    # All is sent within seconds: spans that grew older by more would be spans whose start moves back, which none does.
    workload = Workload(evidence=sys.argv[6] == "evidence", generation_seconds=0.1)
    made = [
        [workload.request(process, pairs, generation) for process in range(processes)]
        for generation in range(generations)
    ]
    print("made", flush=True)
    sys.stdin.readline()
    bad, seconds = asyncio.run(_send(transport, address, made))
    records = processes * pairs * 2 * generations
    size = sum(len(body) for bodies in made for body in bodies) / records
    said = {"records": records, "requests": processes * generations, "bad": bad, "seconds": seconds, "bytes": size}
    print("result " + json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
