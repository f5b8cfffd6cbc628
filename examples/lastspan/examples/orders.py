"""Enqueues one job of each kind of the shop, and is the peer that never answers: the jobs of deploy/compose.yaml.

python -m lastspan.examples.orders --silent 0.0.0.0:9000
"""

from __future__ import annotations

import argparse
import threading

from .demo import CASES
from .running import SilentServer


def enqueue() -> int:
    """Enqueue the jobs of the demo on the broker that the environment names; return how many."""
    from . import shop

    for case in CASES:
        getattr(shop, case.task).apply_async(case.arguments)
    return len(CASES)


def main() -> None:
    """Enqueue, and stay silent."""
    parser = argparse.ArgumentParser(prog="python -m lastspan.examples.orders", description=__doc__)
    parser.add_argument("--silent", metavar="HOST:PORT", default="127.0.0.1:9000")
    host, _, port = parser.parse_args().silent.rpartition(":")
    SilentServer(host, int(port))
    print(f"ready {enqueue()} jobs are enqueued", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
