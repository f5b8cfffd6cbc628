"""What the suite has to know of a framework, and a worker of it that runs and is listened to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Container, Sequence
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from tests.sink import Received, Sink

from lastspan.instrumentation.jobs import JobInstrumentor, Tells

ROOT = Path(__file__).parents[2]
_WRAPPER = Path(sys.executable).parent / "opentelemetry-instrument"
_ENVIRON = {
    "OTEL_LASTSPAN_ANNOUNCE_AFTER": "0.1",
    "OTEL_LASTSPAN_JOB_ANNOUNCE_AFTER": "0.05",
    "OTEL_LASTSPAN_INTERVAL": "0.2",
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "PYTHONPATH": str(ROOT),
    "PYTHONWARNINGS": "ignore",
}


class Framework(ABC):
    """One framework: how a worker is started, and how jobs are given to it. A subclass a file in `adapters/`."""

    instrumentor: ClassVar[type[JobInstrumentor] | None] = None
    """None: plain code has none."""
    tells: ClassVar[frozenset[Tells]]
    system: ClassVar[str]
    """Both the instrumentor's, if there is one."""
    official: ClassVar[str | None] = None
    """Entry point of the instrumentation whose span is adopted, if that is active."""
    queue: ClassVar[str] = ""
    """What its jobs say that they come from."""
    modules: ClassVar[Sequence[str]] = ()
    """Where its instrumentor hooks in: they are to be as they were when it is taken out again."""

    def __init_subclass__(cls) -> None:
        if cls.instrumentor is not None:
            cls.tells, cls.system = cls.instrumentor.tells, cls.instrumentor.system

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        """For the worker and for whoever enqueues; empty."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Return the command of a worker that runs four jobs at a time; CONFORMANCE_FOLDER names the folder to it."""

    @abstractmethod
    def enqueue(self, work: str, ticket: str, *, limit: float | None = None, gives_back: bool = False) -> str:
        """Enqueue a function of `work.py`; return the job's id.

        *limit*: that ends it, s (where it tells TIMEOUT). *gives_back*: if its process is killed (REDELIVERY).
        """

    def cancel(self, job_id: str) -> None:
        """Cancel a job that runs (CANCEL)."""
        raise NotImplementedError


class Ticket:
    """One job that was enqueued."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.job_id = ""

    def let_go(self, part: str = "") -> None:
        """Let it end."""
        Path(f"{self.path}{part}.go").touch()


class Worker:
    """A worker under the wrapper, and what it tells."""

    _numbers = count()

    def __init__(self, framework: type[Framework], folder: Path, *, official: bool = False) -> None:
        self.sink = Sink()
        self.folder = folder
        self.official = official
        self.framework = framework(folder)
        off = [framework.official] if framework.official is not None and not official else []
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHONPATH"))}
        environ |= _ENVIRON | {"CONFORMANCE_FOLDER": str(folder), "OTEL_LASTSPAN_ENDPOINT": self.sink.url}
        environ["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"] = ",".join(off)
        self._output = (folder / "output").open("wb")
        self.process = subprocess.Popen(
            [str(_WRAPPER), *self.framework.command()],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def close(self) -> None:
        """End it with all its children."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self._output.close()
        self.sink.close()

    def output(self) -> str:
        return (self.folder / "output").read_text(errors="replace")

    # --- jobs ----------------------------------------------------------------------------------------------------

    def enqueue(self, work: str, **options: Any) -> Ticket:
        """Give it a job."""
        ticket = Ticket(self.folder / f"ticket-{next(self._numbers)}")
        ticket.job_id = self.framework.enqueue(work, str(ticket.path), **options)
        return ticket

    def opened(self, job_id: str, *, attempt: int = 1, besides: Container[str] = ()) -> Received:
        """Return the first record of a job that is open; *besides*: of another span than these."""
        return self.sink.wait_for(
            lambda record: (
                record.event == "lastspan.span.open"
                and record["lastspan.span.is_job"]
                and (record["lastspan.job.id"], record["lastspan.job.attempt"]) == (job_id, attempt)
                and record.span_id not in besides
            )
        )

    def held(self, work: str = "hold", **options: Any) -> tuple[Ticket, Received]:
        """Return a job that waits, and what was told of it."""
        ticket = self.enqueue(work, **options)
        return ticket, self.opened(ticket.job_id)

    def outcome(self, opened: Received) -> str:
        """Return how an attempt ended, by the first word on it."""
        return str(self.sink.wait_for(lambda record: _is_end(record, opened))["lastspan.outcome"])

    def ends(self, opened: Received) -> list[str]:
        """Return all words on its end that were said so far."""
        return [record["lastspan.outcome"] for record in list(self.sink.records) if _is_end(record, opened)]

    def spans_of(self, job_id: str) -> set[str]:
        """Return the spans that were told to be this job's own."""
        return {
            record.span_id
            for record in self.sink.of("lastspan.span.open")
            if record["lastspan.span.is_job"] and record["lastspan.job.id"] == job_id
        }

    def counted(self, name: str) -> dict[str, int]:
        """Return how many jobs of a name were counted, by outcome; None of those that started is `started`."""
        found: dict[tuple[str, str], int] = {}
        for record in self.sink.of("lastspan.process.durations"):
            if record["lastspan.job.name"].endswith(name) and record.get("lastspan.span.name") is None:
                key = str(record.get("lastspan.outcome") or "started")
                total = record.get("lastspan.count.ended") or record.get("lastspan.count.started") or 0
                found[record["lastspan.process.id"], key] = int(total)  # cumulative
        totals: dict[str, int] = {}
        for (_, key), number in found.items():
            totals[key] = totals.get(key, 0) + number
        return totals


def _is_end(record: Received, opened: Received) -> bool:
    """Of a span by its process; of an attempt by its process's parent."""
    if record.event == "lastspan.span.closed":
        return record.span_id == opened.span_id
    names = ("lastspan.job.id", "lastspan.job.attempt")
    return record.event == "lastspan.job.ended" and all(record[name] == opened[name] for name in names)
