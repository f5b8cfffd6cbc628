"""What the kernel says of a thread of this process: CPU time, waiting for a core, state."""

from __future__ import annotations

import sys
import time


def cpu_time_ns(native_id: int | None) -> int | None:
    """Return the CPU time of a thread of this process; None where the kernel does not tell.

    The clock of another thread by its id (`man 3 pthread_getcpuclockid`, whose own call may crash on an ended thread).
    """
    if native_id is None or sys.platform != "linux":
        return None
    try:
        return time.clock_gettime_ns((~native_id << 3) | 6)
    except OSError:  # it has ended
        return None
