"""Processes that a benchmark starts: each in a session of its own, its output in a file, ended whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")


class FailedError(Exception):
    """A process did not do its part; the message ends with what it said."""


class Started:
    """A process that runs, and what it has said so far."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], folder: Path, *, stdin: bool) -> None:
        self.log = folder / "output.txt"
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **environ},
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """Both its outputs."""
        return self.log.read_text(errors="replace")

    def line(self, start: str, seconds: float = 30) -> str:
        """Wait for a line that begins with *start*; return it."""
        deadline = time.monotonic() + seconds
        while True:
            for line in self.said.splitlines(keepends=True):
                if line.startswith(start) and line.endswith("\n"):
                    return line.strip()
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise FailedError(f"no line {start!r}; it said: {self.said[-1000:]}")
            time.sleep(0.02)

    def go(self) -> None:
        """Send a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.stdin.close()

    def wait(self, seconds: float = 120) -> None:
        """Wait for a good end."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise FailedError(f"it did not end within {seconds} s; it said: {self.said[-1000:]}") from None
        if code:
            raise FailedError(f"it ended with {code}; it said: {self.said[-1000:]}")

    def cpu_seconds(self) -> float:
        """CPU that the process has used, all its threads, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def rss_bytes(self) -> int:
        """Its resident memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def end(self) -> None:
        """Kill it and whatever it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for the time of the block."""
    with tempfile.TemporaryDirectory(prefix="lastspan-bench-") as path:
        yield Path(path)


@contextmanager
def started(
    command: Sequence[str], environ: Mapping[str, str] | None = None, *, stdin: bool = False
) -> Iterator[Started]:
    """Start *command*; leaving the block ends it."""
    with folder() as temporary:
        running = Started(command, environ or {}, temporary, stdin=stdin)
        try:
            yield running
        finally:
            running.end()


def module(name: str, *arguments: object) -> list[str]:
    """Return the command that runs a module of ours."""
    return [sys.executable, "-m", name, *(str(argument) for argument in arguments)]
