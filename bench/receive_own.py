"""The collector as it is, without its web port; prints the line `ready grpc=… http=…`."""

from __future__ import annotations

from lastspan.collector.config import Settings
from lastspan.collector.server import run


def main() -> None:
    settings = Settings(otlp_grpc="127.0.0.1:0", otlp_http="127.0.0.1:0", web="off", log_level="error")
    run(settings, ready=lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
