"""The whole way as plain processes on loopback: demo worker, collector, Prometheus, Alertmanager, and the page.

`python -m lastspan.examples.stack` (`make stack`) goes on until Ctrl-C; `--once` ends with the first page. For machines
without Docker: what deploy/compose.yaml runs, less Grafana, Tempo and Loki, of which Debian has no packages. It needs a
checkout, for deploy/prometheus.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from lastspan.collector.cli.terminal import prepare

from .demo import Demo
from .pager import Page, Pager, lines
from .running import Running, StartError, program

PROMETHEUS: Final = Path(__file__).parents[3] / "deploy" / "prometheus"
SECONDS: Final = 120.0
"""How long `--once` waits for the first page."""


class Stack:
    """Starts all of it, each on a free port; the pages go into `pages`."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self.pages: queue.SimpleQueue[Page] = queue.SimpleQueue()
        self._pager = Pager(self.pages.put)
        self._demo = Demo(running, say)

    def start(self) -> None:
        """Start the demo, and what makes a page of its verdicts."""
        prometheus, alertmanager = _executable("prometheus"), _executable("prometheus-alertmanager", "alertmanager")
        if not PROMETHEUS.is_dir():
            raise StartError(f"{PROMETHEUS} is not there: the stack runs in a checkout")
        self._demo.start()
        self._tell("lastspan", self._demo.collector.web, self._demo.collector.process)
        rules = self._alerts()
        notified = self._alertmanager(alertmanager, rules)
        self._prometheus(prometheus, rules, notified)

    def look(self) -> None:
        """Let the demo do what it does meanwhile: it kills a process."""
        self._demo.jobs()

    def close(self) -> None:
        """Hang up; the processes are ended by who runs them."""
        self._pager.close()

    def _alerts(self) -> Path:
        """Write the rules and Alertmanager's files by the command that writes them for everybody."""
        folder = self._running.folder / "alerts"
        settings = {
            "collector_url": self._demo.collector.web,
            "route.page": "webhook",
            "route.warning": "webhook",
            "webhook_url": self._pager.url,
        }
        command = [program("lastspan"), "alerts", "build", "--out", str(folder)]
        command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise StartError(f"the rules cannot be written: {done.stderr.strip()}")
        return folder

    def _alertmanager(self, path: str, rules: Path) -> str:
        address = self._running.address()
        command = [
            path,
            f"--config.file={rules}/alertmanager.yml",
            f"--storage.path={self._running.folder}/alertmanager",
        ]
        command += [f"--web.listen-address={address}", "--cluster.listen-address="]
        process = self._running.server("alertmanager", command, ready=f"http://{address}/-/ready")
        self._tell("Alertmanager", f"http://{address}", process)
        return address

    def _prometheus(self, path: str, rules: Path, alertmanager: str) -> None:
        folder, address = self._running.folder / "prometheus", self._running.address()
        scraped = self._demo.collector.addresses["web"]
        settings(folder, rules, {"lastspan": [scraped], "alertmanager": [alertmanager], "workers": []})
        command = [path, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        command += [f"--web.listen-address={address}", "--log.level=warn"]
        process = self._running.server("prometheus", command, ready=f"http://{address}/-/ready")
        self._tell("Prometheus", f"http://{address}", process)

    def _tell(self, name: str, url: str, process: subprocess.Popen[bytes]) -> None:
        say(f"{name:<12} {url}  (process {process.pid})")


def settings(folder: Path, rules: Path, targets: dict[str, list[str]]) -> None:
    """Lay out Prometheus' files in *folder* as deploy/compose.yaml does; only the targets are others."""
    (folder / "targets").mkdir(parents=True)
    shutil.copy(PROMETHEUS / "prometheus.yml", folder)
    (folder / "rules").symlink_to(rules)
    for name, addresses in targets.items():
        quoted = ", ".join(f'"{address}"' for address in addresses)
        (folder / "targets" / f"{name}.yml").write_text(f"- targets: [{quoted}]\n")


def say(text: str) -> None:
    """Print one line at once."""
    print(f"· {text}", flush=True)


def main() -> None:
    """Run the stack; print its addresses, then each page."""
    parser = argparse.ArgumentParser(prog="make stack", description="From a hanging job to a page, on this machine.")
    parser.add_argument("--once", action="store_true", help="end with the first page")
    once = parser.parse_args().once
    prepare()
    # So that what was started is ended; a shell starts what runs in the background with SIGINT ignored.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Running() as running, contextlib.closing(Stack(running)) as stack:
            stack.start()
            say("the first page comes in half a minute; Ctrl-C ends it all. Grafana: deploy/README.md")
            _show(stack, once=once)
    except StartError as problem:
        sys.exit(f"lastspan: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)


def _show(stack: Stack, *, once: bool) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        stack.look()
        try:
            page = stack.pages.get(timeout=1)
        except queue.Empty:
            if once and time.monotonic() > deadline:
                raise StartError(f"no page within {SECONDS:.0f} s") from None
            continue
        print(*lines(page), sep="\n", flush=True)
        if once:
            return


def _executable(*names: str) -> str:
    """Return the path of the first that is installed."""
    for name in names:
        if (found := shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))) is not None:
            return found
    raise StartError(f"{names[0]} is not installed (Debian: apt-get install -y prometheus prometheus-alertmanager)")


if __name__ == "__main__":
    main()
