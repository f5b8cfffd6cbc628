"""Fills a collector with a memory, and restores another one from its files; prints how long that took.

`python -m bench.restore_fill SPANS`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
import time
from pathlib import Path

from lastspan.collector.memory.disk import Memory
from lastspan.collector.serve.pipeline import Pipeline

from .memory_fill import SPANS_A_PROCESS, HeldClock, pipeline_of
from .workload import Workload, requests


def _memory(folder: Path, pipeline: Pipeline) -> Memory:
    return Memory(folder, pipeline, sync_s=1.0, log_max=1 << 40)


def _restored(folder: Path, spans: int) -> tuple[float, Memory]:
    pipeline = pipeline_of(HeldClock(), spans)
    memory = _memory(folder, pipeline)
    began = time.perf_counter()
    memory.restore()
    seconds = time.perf_counter() - began
    if len(pipeline.tracker.spans) != spans:
        raise SystemExit(f"{len(pipeline.tracker.spans)} of {spans} spans were restored")
    return seconds, memory


async def _measure(folder: Path, spans: int) -> dict[str, object]:
    pipeline = pipeline_of(HeldClock(), spans)
    memory = _memory(folder, pipeline)
    memory.restore()
    take, taken_s = memory.take, 0.0

    def timed(entries: object, now_ns: int) -> None:
        nonlocal taken_s
        began = time.thread_time()
        take(entries, now_ns)  # type: ignore[arg-type]
        taken_s += time.thread_time() - began

    pipeline.memory = timed
    for index, body in enumerate(requests(Workload(evidence=False), spans, SPANS_A_PROCESS)):
        pipeline.accept_logs(body, transport="bench")
        if index % 500 == 0:
            memory._flush()
    await memory.close()
    log_bytes = sum(path.stat().st_size for path in folder.glob("log-*"))
    del pipeline, memory
    gc.collect()
    log_s, again = _restored(folder, spans)
    began = time.process_time()
    await again._snapshot()
    snapshot_s = time.process_time() - began
    await again.close()
    (snapshot,) = folder.glob("snapshot-*")
    snapshot_bytes = snapshot.stat().st_size
    del again
    gc.collect()
    restored_s, last = _restored(folder, spans)
    await last.close()
    return {
        "spans": spans,
        "log": {"write_us": taken_s / spans * 1e6, "restore_s": log_s, "bytes": log_bytes / spans},
        "snapshot": {
            "write_us": snapshot_s / spans * 1e6,
            "restore_s": restored_s,
            "bytes": snapshot_bytes / spans,
        },
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print("result " + json.dumps(asyncio.run(_measure(Path(folder), int(sys.argv[1])))), flush=True)


if __name__ == "__main__":
    main()
