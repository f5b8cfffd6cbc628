"""The collector as it is, without its web port; prints the line `ready grpc=… http=…`. `kept`: with a memory."""

from __future__ import annotations

import logging
import sys
import tempfile

import msgspec

from lastspan.collector.serve.config import CollectorSettings
from lastspan.collector.serve.server import run


def main() -> None:
    logging.disable(logging.WARNING)
    settings = CollectorSettings(otlp_grpc="127.0.0.1:0", otlp_http="127.0.0.1:0", web="off", log_level="error")
    with tempfile.TemporaryDirectory() as folder:
        if "kept" in sys.argv[1:]:
            settings = msgspec.structs.replace(settings, data_dir=folder)
        run(settings, ready=lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
