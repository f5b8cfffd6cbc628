"""No thread can be started when the first jobs run; later it can."""

import logging
import sys
import threading
import time

from lastspan.instrumentation import LastspanInstrumentor, job
from lastspan.instrumentation.agent import agent

logging.basicConfig(format="%(levelname)s %(message)s")
LastspanInstrumentor().instrument()
threading.stack_size(1 << 46)  # more than any address space has: the system refuses
began = time.monotonic()
while time.monotonic() - began < 0.2:
    with job("too early"):
        pass
if sys.argv[1] == "later":
    threading.stack_size(0)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:  # as many jobs as come, until one finds that it is time to try again
        with job("again"):
            time.sleep(0.01)
        if agent()._watcher is not None:  # type: ignore[union-attr]
            break
    with job("seen"):
        sys.stdin.read()
