"""Fills a collector that keeps its state, and restores another one from the file; prints how long that took.

`python -m bench.restore_fill SPANS keeps|forgets`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

from lastspan.collector.memory.disk import Memory

from .memory_fill import SPANS_A_PROCESS, HeldClock, pipeline_of
from .workload import Workload, requests

_STEP_S: Final = 0.01
_REQUESTS: Final = 6
"""In one step: 9,600 records a second."""
_MEASURED: Final = 6_000
"""Requests at that rate; what is more arrives as fast as it is taken."""


class _Kept:
    """A pipeline and its memory, with what is in the folder."""

    def __init__(self, folder: Path, spans: int) -> None:
        self.pipeline = pipeline_of(HeldClock(), spans)
        tracker, clock = self.pipeline.tracker, self.pipeline.clock
        self.memory = Memory(folder, tracker, clock=clock, sync_s=1.0, log_max=1 << 40)
        self.cpu_s = {"loop": 0.0, "beside": 0.0}
        """By where: on the loop, or beside it."""
        began, began_cpu = time.perf_counter(), time.process_time()
        self.memory.restore()
        self.restored = {"s": time.perf_counter() - began, "cpu_s": time.process_time() - began_cpu}

    def watch(self) -> None:
        """Keep what comes from now on, and count its cost."""
        self.pipeline.memory = self._timed(self.memory.take, "loop")
        database: Any = self.memory._database
        database.write = self._timed(database.write, "beside")

    def _timed(self, work: Callable[..., Any], where: str) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            began = time.thread_time()
            try:
                return work(*arguments)
            finally:
                self.cpu_s[where] += time.thread_time() - began

        return timed


async def _measure(folder: Path, spans: int, *, keeps: bool) -> dict[str, float]:
    bodies = requests(Workload(evidence=False), spans, SPANS_A_PROCESS)
    measured = list(islice(bodies, _MEASURED))
    kept = _Kept(folder, spans)
    if keeps:
        kept.watch()
    began, records = time.process_time(), len(measured) * SPANS_A_PROCESS
    late_ms = await _arrive(kept, measured)
    found = {"all_us": (time.process_time() - began) / records * 1e6, "late_ms": late_ms}
    if not keeps:
        await kept.memory.close()
        return found
    found |= {f"{where}_us": kept.cpu_s[where] / records * 1e6 for where in ("loop", "beside")}
    await _fill(kept, bodies)
    await kept.memory.close()
    del kept, measured
    found["log_bytes"] = _size(folder) / spans
    again = _restored(folder, spans)
    found |= {f"log_{unit}": taken for unit, taken in again.restored.items()}
    began = time.process_time()
    await again.memory.snapshot()
    found["snapshot_us"] = (time.process_time() - began) / spans * 1e6
    await again.memory.close()
    del again
    found["snapshot_bytes"] = _size(folder) / spans
    last = _restored(folder, spans)
    await last.memory.close()
    return found | {f"snapshot_{unit}": taken for unit, taken in last.restored.items()}


async def _arrive(kept: _Kept, bodies: list[bytes]) -> float:
    """Let requests arrive at an even rate; return how late the loop was at its steps, ms, p99."""
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
    return quantiles(late, n=100)[98]


async def _fill(kept: _Kept, bodies: Iterator[bytes]) -> None:
    for index, body in enumerate(bodies):
        kept.pipeline.accept_logs(body, transport="bench")
        if index % 500 == 0:
            await kept.memory.turn()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _restored(folder: Path, spans: int) -> _Kept:
    gc.collect()
    kept = _Kept(folder, spans)
    if len(kept.pipeline.tracker.spans) != spans:
        raise SystemExit(f"{len(kept.pipeline.tracker.spans)} of {spans} spans were restored")
    return kept


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        measured = asyncio.run(_measure(Path(folder), int(sys.argv[1]), keeps=sys.argv[2] == "keeps"))
        print("result " + json.dumps(measured), flush=True)


if __name__ == "__main__":
    main()
