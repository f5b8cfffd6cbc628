"""What a parent process sees of the children that run its jobs: alive or not, and which job died with one.

The framework's module says which children run which jobs; this one asks the kernel about them.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

GONE: Final = "X"


@dataclass(frozen=True, slots=True)
class Assignment:
    """A job that a child of this process runs."""

    pid: int
    system: str
    job_id: str
    job_name: str
    attempt: int
    returncode: int | None = None
    """Of the child, once the framework has reaped it; negative: the signal that killed it."""


@dataclass(frozen=True, slots=True)
class Death:
    """A job whose process was killed, revoked or lost."""

    system: str
    job_id: str
    job_name: str
    attempt: int
    outcome: str
    reason: str
    pid: int | None = None
    signal: int | None = None
    code: int | None = None


Assignments: TypeAlias = Callable[[], Sequence[Assignment]]


class Family:
    """The children of this process that run jobs."""

    def __init__(self) -> None:
        self.assignments: Assignments | None = None
        """Set by the framework's module; None: this process has no children that run jobs."""
        self._running: Sequence[Assignment] = ()
        self._reported: deque[Death] = deque(maxlen=1000)
        self._told: dict[tuple[str, str, int], None] = {}

    def report(self, death: Death) -> None:
        """Take a death from the framework's own signals; any thread."""
        self._reported.append(death)

    def look(self) -> tuple[list[tuple[int, str]], list[Death]]:
        """Return (pid, state) of each child with a job, and the jobs of those that were killed just now.

        A child that ended by itself is left to the framework: its job's end may still be under way.
        """
        if self.assignments is None:
            return [], []
        deaths = []
        while self._reported:
            deaths += self._once(self._reported.popleft())
        self._running = self.assignments()
        states: dict[int, str] = {}
        for job in self._running:
            states.setdefault(job.pid, process_state(job.pid))
            signal = None
            if states[job.pid] in {"Z", GONE}:
                signal = -job.returncode if (job.returncode or 0) < 0 else killed_by(job.pid)  # type: ignore[operator]
            if signal is not None:
                reason = f"its process was killed by signal {signal}"
                deaths += self._once(
                    Death(job.system, job.job_id, job.job_name, job.attempt, "killed", reason, job.pid, signal)
                )
        return list(states.items()), deaths

    def _once(self, death: Death) -> list[Death]:
        """Complete a death with what we saw of its process; nothing if it was told already."""
        key = (death.system, death.job_id, death.attempt)
        if key in self._told:
            return []
        self._told[key] = None
        if len(self._told) > 1000:
            del self._told[next(iter(self._told))]
        seen = [job for job in self._running if (job.system, job.job_id) == (death.system, death.job_id)]
        return [replace(death, pid=seen[0].pid) if death.pid is None and seen else death]


def process_state(pid: int) -> str:
    """Return the kernel's letter for a process; X: gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split(None, 1)[0].decode("ascii", "replace")
    except OSError:
        return GONE if os.path.isdir("/proc/self") else "?"


def killed_by(pid: int) -> int | None:
    """Return the signal that ended a child which nobody has reaped yet; it stays for its parent to reap."""
    try:
        status = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError:  # reaped: the framework knows its exit status and will tell
        return None
    if status is None or status.si_code not in (os.CLD_KILLED, os.CLD_DUMPED):
        return None
    return status.si_status
