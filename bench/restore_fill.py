"""Fills a collector that keeps its state, and restores another one from the files; prints how long that took.

`python -m bench.restore_fill SPANS own|sqlite|full`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

from lastspan.collector import database, memory
from lastspan.collector.pipeline import Pipeline

from .memory_fill import SPANS_A_PROCESS, HeldClock, pipeline_of
from .workload import Workload, requests

_STEP_S: Final = 0.01
_REQUESTS: Final = 6
"""In one step: 9,600 records a second."""


class _Kept:
    """A pipeline, and its memory of one kind."""

    def __init__(self, kind: str, folder: Path, spans: int) -> None:
        self.kind = kind
        self.pipeline: Pipeline = pipeline_of(HeldClock(), spans)
        self.cpu_s: Counter[str] = Counter()
        """By where: on the loop, or beside it."""
        self.memory: Any
        if kind == "own":
            self.memory = memory.Memory(folder, self.pipeline, sync_s=1.0, log_max=1 << 40)
        else:
            clock, tracker = self.pipeline.clock, self.pipeline.tracker
            self.memory = database.Memory(folder, tracker, clock=clock, sync_s=1.0, log_max=1 << 40)
        began = time.perf_counter()
        self.memory.restore()
        self.restore_s = time.perf_counter() - began

    def watch(self) -> None:
        """Keep what comes from now on, and count its cost."""
        if self.kind == "full":
            self.memory._database._db.execute("pragma synchronous = full")
        take = self._timed(self.memory.take, "loop")
        if self.kind == "own":
            self.memory._write = self._timed(self.memory._write, "loop")
            self.pipeline.memory = take
        else:
            self.memory._database.write = self._timed(self.memory._database.write, "beside")
            self.pipeline.memory = lambda entries, now_ns: take(entries)

    def _timed(self, work: Callable[..., Any], where: str) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            began = time.thread_time()
            try:
                return work(*arguments)
            finally:
                self.cpu_s[where] += time.thread_time() - began

        return timed

    async def snapshot(self) -> None:
        await (self.memory._snapshot() if self.kind == "own" else self.memory.snapshot())


async def _fill(kept: _Kept, bodies: list[bytes]) -> list[float]:
    """Let requests arrive at an even rate; return how late the loop was at each step, ms."""
    late, due = [], time.monotonic()
    keep = asyncio.create_task(kept.memory.run())
    for at in range(0, len(bodies), _REQUESTS):
        for body in bodies[at : at + _REQUESTS]:
            kept.pipeline.accept_logs(body, transport="bench")
        due = max(due + _STEP_S, time.monotonic())
        await asyncio.sleep(due - time.monotonic())
        late.append((time.monotonic() - due) * 1e3)
    keep.cancel()
    await asyncio.gather(keep, return_exceptions=True)
    return late


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


async def _measure(folder: Path, spans: int, kind: str) -> dict[str, Any]:
    bodies = list(requests(Workload(evidence=False), spans, SPANS_A_PROCESS))
    kept = _Kept(kind, folder, spans)
    kept.watch()
    began = time.process_time()
    late = await _fill(kept, bodies)
    all_s, cpu_s = time.process_time() - began, kept.cpu_s
    await kept.memory.close()
    del kept, bodies
    gc.collect()
    log_bytes = _size(folder)
    again = _restored(kind, folder, spans)
    log_s, began = again.restore_s, time.process_time()
    await again.snapshot()
    snapshot_s = time.process_time() - began
    await again.memory.close()
    snapshot_bytes = _size(folder)
    del again
    gc.collect()
    last = _restored(kind, folder, spans)
    await last.memory.close()
    return {
        "loop_us": cpu_s["loop"] / spans * 1e6,
        "beside_us": cpu_s["beside"] / spans * 1e6,
        "all_us": all_s / spans * 1e6,
        "late_ms": quantiles(late, n=100)[98],
        "log_bytes": log_bytes / spans,
        "log_s": log_s,
        "snapshot_us": snapshot_s / spans * 1e6,
        "snapshot_bytes": snapshot_bytes / spans,
        "snapshot_s": last.restore_s,
    }


def _restored(kind: str, folder: Path, spans: int) -> _Kept:
    kept = _Kept(kind, folder, spans)
    if len(kept.pipeline.tracker.spans) != spans:
        raise SystemExit(f"{len(kept.pipeline.tracker.spans)} of {spans} spans were restored")
    return kept


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        measured = asyncio.run(_measure(Path(folder), int(sys.argv[1]), sys.argv[2]))
        print("result " + json.dumps(measured), flush=True)


if __name__ == "__main__":
    main()
