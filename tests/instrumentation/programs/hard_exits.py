"""A job that is announced, in a process that ends by `os._exit` as soon as it is over, or in the middle of it."""

import multiprocessing
import os
import sys

from lastspan.instrumentation import job
from lastspan.instrumentation.agent import agent


@job("nightly")
def nightly() -> None:
    os.read(0, 1)


if "child of multiprocessing" in sys.argv:
    child = multiprocessing.get_context("fork").Process(target=nightly)
    child.start()
    child.join()
elif "child by fork" in sys.argv:
    pid = os.fork()
    if pid == 0:
        nightly()
        os._exit(0)
    os.waitpid(pid, 0)
elif "in the middle" in sys.argv:
    with job("nightly"):
        os.read(0, 1)
        os._exit(0)
elif "left to its parent" in sys.argv:
    worker = agent()
    assert worker is not None
    with job("nightly"):
        os.read(0, 1)
        worker.interrupt(*worker.spans.runs.values())
    os._exit(0)
else:
    nightly()
    os._exit(0)
