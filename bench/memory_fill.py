"""Fills a collector's pipeline with open spans in a process of its own; prints how much memory each one took.

`python -m bench.memory_fill SPANS plain|prefork|urls|evidence|stacks`
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path

from lastspan.collector.judge.policy import Policy
from lastspan.collector.serve.pipeline import TICK_NS, Pipeline
from lastspan.collector.track import Limits

from .workload import Workload, requests

SPANS_A_PROCESS = 16
_PREFORK = 2
"""A child runs one job, which is in one call."""
_SECOND = 1_000_000_000


class HeldClock:
    """A clock that we turn."""

    def __init__(self) -> None:
        self.now_ns = 1000 * _SECOND

    def __call__(self) -> int:
        """Return the time, ns."""
        return self.now_ns


def pipeline_of(clock: HeldClock, spans: int, policy: Policy | None = None) -> Pipeline:
    """Return a pipeline with room for *spans*."""
    limits = Limits(max_open_spans=2 * spans, evidence_total=1 << 40)
    return Pipeline(limits=limits, policy=policy or Policy(), clock=clock)


def fill(
    pipeline: Pipeline, clock: HeldClock, workload: Workload, spans: int, *, seconds: int, each: int = SPANS_A_PROCESS
) -> list[int]:
    """Let *spans* arrive over some *seconds*, *each* from one process; return when, by process. Ticks come between."""
    arrived = []
    requests_of_a_tick = max(spans // each * TICK_NS // (seconds * _SECOND), 1)
    for index, body in enumerate(requests(workload, spans, each)):
        pipeline.accept_logs(body, transport="bench")
        arrived.append(clock.now_ns)
        if index % requests_of_a_tick == 0:
            clock.now_ns += TICK_NS
            tick(pipeline)
    return arrived


def tick(pipeline: Pipeline) -> None:
    for _ in pipeline.tick():
        pass


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def main() -> None:
    spans, kind = int(sys.argv[1]), sys.argv[2]
    workload = Workload(
        evidence=kind in {"evidence", "stacks"}, unique_paths=kind == "urls", unique_stacks=kind == "stacks"
    )
    clock = HeldClock()
    pipeline = pipeline_of(clock, spans)
    # What the first requests cost (imports, caches) is not a span's.
    for body in requests(Workload(evidence=True), 64, SPANS_A_PROCESS):
        pipeline_of(clock, 64).accept_logs(body, transport="bench")
    gc.collect()
    before = _rss()
    each = _PREFORK if kind == "prefork" else SPANS_A_PROCESS
    fill(pipeline, clock, workload, spans, seconds=10, each=each)
    tick(pipeline)
    gc.collect()
    grown = _rss() - before
    tracker = pipeline.tracker
    said = {
        "spans": len(tracker.spans),
        "jobs": len(tracker.jobs),
        "processes": len(tracker.processes.rows),
        "bytes": grown / len(tracker.spans),
        "rss": _rss(),
        "attributes": workload.attributes,
    }
    print("result " + json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
