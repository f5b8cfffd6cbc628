"""What the kernel says of a thread of this process: CPU time, waiting for a core, state."""

from __future__ import annotations

import sys
import time

from ...guest import procfs


def cpu_time_ns(native_id: int | None) -> int | None:
    """Return the CPU time of a thread of this process; None where the kernel does not report it.

    The clock of another thread by its id (`man 3 pthread_getcpuclockid`, whose own call may crash on an ended thread).
    """
    if native_id is None or sys.platform != "linux":
        return None
    try:
        return time.clock_gettime_ns((~native_id << 3) | 6)
    except OSError:  # it has ended
        return None


def run_queue_ns(native_id: int | None) -> int | None:
    """Return for how long a thread of this process could have run and had no core; None where it is not known."""
    words = _task_file(native_id, "schedstat").split()  # on a core, waiting for one, slices: proc(5), since Linux 2.6.9
    return int(words[1]) if len(words) == 3 and words[1].isdigit() else None


def thread_state(native_id: int | None) -> str | None:
    """Return the kernel's letter for a thread of this process, as R, S or D; None where it is not known."""
    words = procfs.after_name(_task_file(native_id, "stat"))
    return words[0].decode("ascii", "replace") if words else None


def _task_file(native_id: int | None, name: str) -> bytes:
    return b"" if native_id is None else procfs.read(f"/proc/self/task/{native_id}/{name}")
