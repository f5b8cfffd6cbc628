"""Plain code: a program that runs what it finds in a folder, each as an asyncio task on a thread of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from tests.conformance import work
from tests.conformance.framework import Framework

from lastspan.instrumentation import job
from lastspan.instrumentation.jobs import plain


class Plain(Framework):
    system = "python"
    tells = plain.TELLS
    queue = "orders"

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "tests.conformance.adapters.plain"]

    def enqueue(self, work: str, ticket: str, *, limit: float | None = None, gives_back: bool = False) -> str:
        job_id = Path(ticket).name
        (self.folder / f"{job_id}.new").write_text(json.dumps({"id": job_id, "work": work, "ticket": ticket}))
        (self.folder / f"{job_id}.new").rename(self.folder / f"{job_id}.order")
        return job_id

    def cancel(self, job_id: str) -> None:
        (self.folder / f"{job_id}.cancel").touch()


async def hold(ticket: str) -> None:
    """As `work.hold`, and can be cancelled."""
    while not Path(f"{ticket}.go").exists():
        await asyncio.sleep(0.005)


async def order(folder: Path, id: str, work: str, ticket: str) -> None:
    running = asyncio.ensure_future(perform(folder, id, work, ticket))
    while not running.done():
        if (folder / f"{id}.cancel").exists():
            running.cancel()
        await asyncio.sleep(0.005)


async def perform(folder: Path, id: str, name: str, ticket: str) -> None:
    async with job(name, id=id, queue="orders"):
        if name == "hold":
            await hold(ticket)
        else:
            work.all_of(Plain(folder).enqueue)[name](ticket)


def serve(folder: Path) -> None:
    while True:
        for path in sorted(folder.glob("*.order")):
            given = json.loads(path.read_text())
            path.unlink()
            threading.Thread(target=asyncio.run, args=(order(folder, **given),), daemon=True).start()
        time.sleep(0.01)


if __name__ == "__main__":
    serve(Path(os.environ["CONFORMANCE_FOLDER"]))
