"""A job that is announced, then the end of the program; it prints when its last line was done."""

import sys
import time

from lastspan.instrumentation import job

with job("nightly"):
    sys.stdin.readline()
print("done at", time.time(), flush=True)
