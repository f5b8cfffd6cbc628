"""The other end of a worker's records, in four moods: `python -m bench.host_server fine|unreachable|silent|503`."""

from __future__ import annotations

import asyncio
import socket
import sys

_BODIES_MAX = 1 << 24


async def _main(mood: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while mood != "silent":
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                await reader.readexactly(min(length, _BODIES_MAX))
                status = b"503 Service Unavailable" if mood == "503" else b"200 OK"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
            await asyncio.sleep(3600)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    if mood == "unreachable":
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        listener.close()  # nobody listens there from now on
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
    print(f"port {port}", flush=True)
    await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
