"""A process full of jobs with their hands full, looked at as often as can be; run by `stress`, on any interpreter.

Arguments: for how many seconds. Prints a line of JSON at the end: jobs, looks, and what went wrong in them.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.e2e.guest.holding import BODIES

from lastspan.instrumentation import job
from lastspan.instrumentation.evidence.diagnosis import Subject, diagnose
from lastspan.instrumentation.evidence.locks.find import find
from lastspan.instrumentation.evidence.stack.frames import live, sample_stack
from lastspan.instrumentation.evidence.waits.sessions import sessions_in_reach
from lastspan.instrumentation.registry.spans import ExecutionContext

THREADS: Final = 8
SIZE: Final = 200_000
SECONDS: Final = 0.1
_PAUSE: Final = 0.002


class Stress:
    """Jobs in threads, one that looks, and one that collects garbage.

    One only, as in a worker: two would see each other's frames, and in them what the other one sees, a cycle.
    """

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._bodies: Iterator[Callable[[bytes, float], int]] = itertools.cycle(BODIES.values())
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    def run(self) -> None:
        """Run until the time is over."""
        ours = [self._watch, self._collect]
        threads = [threading.Thread(target=self._guarded, args=(one,)) for one in [*([self._work] * THREADS), *ours]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    @property
    def _is_over(self) -> bool:
        return time.monotonic() >= self._until

    def _guarded(self, part: Callable[[], None]) -> None:
        while not self._is_over:
            try:
                part()
            except Exception as error:
                self.faults[f"{part.__name__}: {error!r}"[:200]] += 1

    def _work(self) -> None:
        """One job in this thread."""
        body = next(self._bodies)
        data = os.urandom(SIZE)
        with job(body.__name__):
            body(data, SECONDS)
        self.counts["jobs"] += 1

    def _watch(self) -> None:
        """Look at all threads, in each way that the watcher has; also at those that have none of our jobs."""
        for ident in list(threading._active):  # type: ignore[attr-defined]
            if ident == threading.get_ident():
                continue
            where = ExecutionContext(ident, None, None)
            seen = sample_stack(where)
            sessions_in_reach(live(where))
            diagnose(Subject(where, "", seen.thread_id, is_call=False, stood=1.0))
            for _ in find(where, lambda party: ""):
                time.sleep(0)
            self.counts["looks"] += 1
        time.sleep(_PAUSE)

    def _collect(self) -> None:
        gc.collect()
        self.counts["collections"] += 1
        time.sleep(0.05)


def main() -> None:
    """Run, and say what came of it."""
    stress = Stress(float(sys.argv[1]))
    stress.run()
    left: list[Any] = [one for one in gc.get_objects() if type(one).__name__ == "frame"]
    bodies = {body.__code__ for body in BODIES.values()}
    kept = sum(one.f_code in bodies for one in left)
    print(json.dumps({**stress.counts, "frames kept": kept, "faults": stress.faults}), flush=True)


if __name__ == "__main__":
    main()
