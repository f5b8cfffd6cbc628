"""A collector's ticks over many open spans, with what happens between them; prints how long each stopped the receiver.

`python -m bench.tick_churn SPANS TICKS`. The clock is ours: a second passes in no time, the stopwatch is real.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time
from typing import Final

from lastspan.collector.judge.policy import Defaults, Match, Policy, Rule
from lastspan.collector.model.records import Kind
from lastspan.collector.serve.pipeline import TICK_NS, Pipeline
from lastspan.instrumentation.send.records import Record, encode
from lastspan.semconv import attributes as a
from lastspan.semconv import events

from .memory_fill import SPANS_A_PROCESS, HeldClock, fill, pipeline_of
from .workload import Span, Workload, sequence_base

_PAIRS: Final = SPANS_A_PROCESS // 2
_INTERVAL_TICKS: Final = 60
"""15 s: every process reports once in so many ticks."""
_SILENT_PERCENT: Final = 1
"""Of the processes: they never speak again."""
_REFRESH_EACH: Final = 4
"""Of the processes that report, one in so many says all its spans again (every 60 s)."""
_REPLACED_PERCENT: Final = 0.5
"""Of the processes that report: their jobs have ended and others begun."""
_WARM_SECONDS: Final = 60
_HOUR_NS: Final = 3_600_000_000_000
_POLICY: Final = Policy(
    (
        Rule(Match(job_name="shop.tasks.sync_a", kind=Kind.HTTP), 60_000_000_000, "rules[0]"),
        Rule(Match(job_name="*"), 3 * _HOUR_NS, "rules[1]"),
    ),
    Defaults(http_ns=_HOUR_NS, db_ns=_HOUR_NS),
)
"""One job in 32 hangs in its call; the others may take their time."""


class Churn:
    """What workers send, tick by tick."""

    def __init__(self, pipeline: Pipeline, clock: HeldClock, workload: Workload, arrived: list[int]) -> None:
        self._pipeline = pipeline
        self._clock = clock
        self._workload = workload
        self._rng = random.Random(1)
        processes = len(arrived)
        self._arrived = dict(enumerate(arrived))
        order = list(range(processes))
        self._rng.shuffle(order)
        silent = processes * _SILENT_PERCENT // 100
        self._speaking = order[silent:]
        self._next_process = processes
        self._generation = 0
        self._position = 0

    def between_ticks(self) -> None:
        """A quarter of a second: a sixtieth of the processes report."""
        self._clock.now_ns += TICK_NS
        share = -(-len(self._speaking) // _INTERVAL_TICKS)
        for _ in range(share):
            self._report(self._position)
            self._position = (self._position + 1) % len(self._speaking)
            self._generation += self._position == 0

    def _report(self, position: int) -> None:
        process, generation = self._speaking[position], self._generation + 1
        if self._rng.random() * 100 < _REPLACED_PERCENT:
            self._accept(_state(process, generation, ended=True))
            process = self._speaking[position] = self._next_process
            self._next_process += 1
            self._arrived[process] = self._clock.now_ns
            self._say(process, generation)
        elif process % _REFRESH_EACH == generation % _REFRESH_EACH:
            self._say(process, generation)
        self._accept(_state(process, generation))

    def _say(self, process: int, generation: int) -> None:
        elapsed = (self._clock.now_ns - self._arrived[process]) / 1e9
        self._accept(self._workload.request(process, _PAIRS, generation, elapsed=elapsed))

    def _accept(self, body: bytes) -> None:
        self._pipeline.accept_logs(body, transport="bench")


def _state(process: int, generation: int, *, ended: bool = False) -> bytes:
    """Encode a `process.state`: alive, and these are open; *ended*: all of them have ended."""
    span_ids = b""
    if not ended:
        for pair in range(_PAIRS):
            for index in range(2):
                span_ids += Span(process * 4096 + pair, is_job=index == 0).span_id
    attributes = {
        a.PROCESS_STATUS: "running",
        a.SPAN_OPEN_COUNT: len(span_ids) // 8,
        a.PROCESS_ID: f"{process:016x}",
        a.PROCESS_SEQUENCE: sequence_base(generation) + 4095,
        a.REPORT_INTERVAL: 15.0,
    }
    return encode({"service.name": "shop"}, [Record(events.PROCESS_STATE, attributes, 0, body=span_ids)], "0.1.0")


def timed_tick(pipeline: Pipeline) -> tuple[float, float]:
    """Run a tick as the server does; return its longest stop and its whole time, ms."""
    longest = total = 0
    work = pipeline.tick()
    while True:
        began = time.perf_counter_ns()
        done = next(work, work) is work  # None: a slice is done, and the receiver has its turn
        taken = time.perf_counter_ns() - began
        longest, total = max(longest, taken), total + taken
        if done:
            return longest / 1e6, total / 1e6


def main() -> None:
    spans, ticks = int(sys.argv[1]), int(sys.argv[2])
    clock, workload = HeldClock(), Workload(evidence=False)
    pipeline = pipeline_of(clock, spans, _POLICY)
    gc.freeze()  # as the server does at its start
    arrived = fill(pipeline, clock, workload, spans, seconds=60)
    print(f"filled {len(pipeline.tracker.spans)}", flush=True)
    churn = Churn(pipeline, clock, workload, arrived)
    stops, totals, suspects = [], [], []
    warm = _WARM_SECONDS * 1_000_000_000 // TICK_NS if spans > 10_000 else 0
    for number in range(warm + ticks):
        churn.between_ticks()
        stop, total = timed_tick(pipeline)
        if number >= warm:
            stops.append(stop)
            totals.append(total)
            suspects.append(len(pipeline.tracker.suspects))
        elif number % 60 == 0:
            print(f"warm {number} suspects {len(pipeline.tracker.suspects)} tick {total:.0f} ms", flush=True)
    said = {
        "stops": stops,
        "totals": totals,
        "spans": len(pipeline.tracker.spans),
        "suspects": suspects[-1],
        "silent": sum(row.silence.value != "none" for row in pipeline.tracker.processes.rows.values()),
    }
    print("result " + json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
