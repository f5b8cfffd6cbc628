"""The toy queue."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conformance import work
from tests.conformance.framework import Framework
from tests.conformance.toy.instrumentation import ToyJobsInstrumentor
from tests.conformance.toy.queue import AgainError, Queue, Worker


class Toy(Framework):
    instrumentor = ToyJobsInstrumentor
    queue = "toys"
    modules = ("tests.conformance.toy.queue",)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.messages = Queue(folder / "toys")

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "tests.conformance.adapters.toy"]

    def enqueue(self, work: str, ticket: str, *, limit: float | None = None, gives_back: bool = False) -> str:
        options = {} if limit is None else {"limit": limit}
        return self.messages.put(work, ticket, gives_back=gives_back, **options)

    def cancel(self, job_id: str) -> None:
        (self.messages.folder / f"{job_id}.cancel").touch()


def fail_once(ticket: str) -> None:
    try:
        work.fail_once(ticket)
    except work.AgainError as error:
        raise AgainError from error


if __name__ == "__main__":
    ToyJobsInstrumentor().instrument()  # others are loaded by their entry points
    toy = Toy(Path(os.environ["CONFORMANCE_FOLDER"]))
    Worker(toy.messages, {**work.all_of(toy.enqueue), "fail_once": fail_once}).work()
