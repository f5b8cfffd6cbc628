"""Prints the pages that Alertmanager sends: the end of the way in `make stack` and deploy/compose.yaml.

python -m lastspan.examples.pager --listen 127.0.0.1:9099
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from lastspan.collector.cli.terminal import prepare

Page = Mapping[str, Any]
_MOST_BYTES: Final = 4 * 1024 * 1024
_LINKS: Final = ("incident_url", "dashboard_url", "trace_url", "runbook_url")


class Pager:
    """A webhook that gives each page to *told*, in a thread; `url` is what Alertmanager is to call."""

    def __init__(self, told: Callable[[Page], None], *, host: str = "127.0.0.1", port: int = 0) -> None:
        class Handler(_Handler):
            tell = staticmethod(told)

        self._server = ThreadingHTTPServer((host, port), Handler)
        self.url = f"http://{host}:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up."""
        self._server.shutdown()
        self._server.server_close()

    def wait(self) -> None:
        """Stay as long as it listens."""
        self._thread.join()


def lines(page: Page) -> Iterator[str]:
    """Tell a page as its reader would see it."""
    alerts, name = page.get("alerts", []), page.get("commonLabels", {}).get("alertname", "?")
    yield f"[{str(page.get('status', '?')).upper()}] {len(alerts)} × {name}"
    for alert in alerts:
        notes = alert.get("annotations", {})
        yield f"  {notes.get('summary', alert.get('labels', {}))}"
        yield from (f"    {line}" for line in notes.get("description", "").splitlines() if line.strip())
        yield from (f"    {notes[name]}" for name in _LINKS if name in notes)


class _Handler(BaseHTTPRequestHandler):
    tell: Callable[[Page], None]
    timeout = 10

    def do_POST(self) -> None:
        """Take a page."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > _MOST_BYTES:
            return self.send_error(413)
        try:
            page = json.loads(self.rfile.read(length))
        except ValueError:
            return self.send_error(400)
        self.tell(page)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        return self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the pages are what is wanted."""


def main() -> None:
    """Print pages until the end."""
    parser = argparse.ArgumentParser(prog="python -m lastspan.examples.pager", description=__doc__)
    parser.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:9099")
    prepare()
    host, _, port = parser.parse_args().listen.rpartition(":")
    pager = Pager(lambda page: print(*lines(page), sep="\n", flush=True), host=host, port=int(port))
    print(f"ready {pager.url}", flush=True)
    pager.wait()


if __name__ == "__main__":
    main()
