"""What a parent process sees of the children that run its jobs: alive, busy, waiting, and the jobs that ended with one.

The framework's module says which children run which jobs; this one asks the kernel about them. It is the observer that
a process which is stopped, or whose interpreter is held by native code, cannot be itself.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from ..guest import log, procfs
from ..guest.procfs import GONE, ProcessStat, process_stat, process_state
from .cgroup import ControlGroup, Mounts, OomKills, group_of, read_mounts

if TYPE_CHECKING:
    from .run import Run

_log = log.Log(__name__)

CPU_UNKNOWN: Final = -1.0

_TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
CGROUP_FROZEN: Final = "cgroup_frozen"

OUT_OF_MEMORY: Final = "killed by the kernel: out of memory"

_FREEZER: Final = frozenset({"__refrigerator", "do_freezer_trap", "get_signal"})
"""Where the kernel keeps a process that sleeps in a frozen control group; the last one, in version 2 of those."""

_BY_SIGNAL_9: Final = re.compile(r"\bsignal 9\b|\bSIGKILL\b")

_CPU_WINDOW: Final = 0.5
"""s; the kernel counts in hundredths of a second: a share of less time than this says little."""

_MOMENT: Final = 0.3
"""s; a framework that kills a process itself (revoked, beyond its limit) says so right after, and knows why."""

_SELDOM: Final = 2.0
"""s; what costs more than the state of a process is asked this often."""


@dataclass(frozen=True, slots=True)
class ChildJob:
    """A job that a child of this process runs."""

    pid: int
    system: str
    job_id: str
    job_name: str
    attempt: int
    returncode: int | None = None
    """Of the child, once the framework has reaped it; negative: the signal that killed it."""
    age: float = 0.0
    """Since the child took it, s."""
    traceparent: str = ""
    """That its message came with; not checked."""


@dataclass(frozen=True, slots=True)
class Child:
    """A child of this process that runs jobs, as the kernel sees it."""

    pid: int
    state: str
    """The kernel's letter; X: gone."""
    cpu_ratio: float = CPU_UNKNOWN
    """Of all its threads, in cores, since the last look; -1: not known."""
    wait: str = ""
    """Where the kernel lets its main thread wait, or `cgroup_frozen`; empty: it runs, or is not known."""


@dataclass(frozen=True, slots=True)
class JobEnd:
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


ChildJobs: TypeAlias = Callable[[], Sequence[ChildJob]]
Facts: TypeAlias = "Callable[[ChildJob], Run | None]"

_Key: TypeAlias = tuple[str, str, int]
"""System, job id, attempt."""


class ChildProcesses:
    """The children of this process that run jobs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, groups: ControlGroups | None = None) -> None:
        self.facts: Facts = lambda job: None
        """Set with the next: what is known of a job that a child runs, while it does."""
        self.jobs: ChildJobs | None = None
        """Set by the framework's module; None: this process has no children that run jobs."""
        self._clock = clock
        self._running: Sequence[ChildJob] = ()
        self._watched: dict[int, WatchedChild] = {}
        self._groups = groups or ControlGroups()
        self._counted_at = clock()
        self._reported: deque[JobEnd] = deque(maxlen=1000)
        self._dying: dict[_Key, tuple[JobEnd, float]] = {}
        """Seen to have been killed, and when; not reported yet."""
        self._told: dict[_Key, None] = {}

    def report(self, job_end: JobEnd) -> None:
        """Take a job's end from the framework's own signals; any thread."""
        self._reported.append(job_end)

    def facts_of(self, job: ChildJob) -> Run | None:
        """Return what is known of a job that a child runs; None: it has ended, or cannot be read."""
        try:
            return self.facts(job)
        except Exception as error:
            _log.fault("lastspan: the job of a child process cannot be read", error)
            return None

    @property
    def running(self) -> Sequence[ChildJob]:
        """What the children ran at the last poll."""
        return self._running

    def poll(self) -> tuple[list[Child], list[JobEnd]]:
        """Return each child with a job, and the jobs of those that were killed just now.

        A child that ended by itself is left to the framework: its job's end may still be under way.
        """
        now = self._clock()
        self._count(now)
        job_ends = self._collect_reported(now)
        if self.jobs is None:  # one process for all of its jobs, as with gevent: nobody to look at
            return [], job_ends
        try:
            self._running = self.jobs()
        except (
            Exception
        ) as error:  # what a framework keeps may be anything: the jobs of this process are told all the same
            _log.fault("lastspan: the jobs of the child processes cannot be read", error)
        children = self._poll_children({job.pid for job in self._running}, now)
        for job in self._running:
            if children[job.pid].state in {"Z", GONE} and (job_end := _job_end_by_signal(job)) is not None:
                self._dying.setdefault(_key(job_end), (self._with_oom_reason(job_end, now), now))
        return list(children.values()), [*job_ends, *self._collect_dead(now)]

    def _collect_dead(self, now: float) -> list[JobEnd]:
        """Report what we saw ourselves, once the framework has had time to report why: a revoked job is killed too."""
        due = [key for key, (_, seen) in self._dying.items() if now - seen >= _MOMENT]
        return [told for key in due for told in self._complete_once(self._dying.pop(key)[0], now)]

    def _collect_reported(self, now: float) -> list[JobEnd]:
        job_ends = []
        while self._reported:
            job_ends += self._complete_once(self._reported.popleft(), now)
        return job_ends

    def _count(self, now: float) -> None:
        if now - self._counted_at >= _SELDOM:
            self._groups.count({watched.group for watched in self._watched.values()}, now)
            self._counted_at = now

    def _poll_children(self, pids: set[int], now: float) -> dict[int, Child]:
        known = self._watched
        self._watched = {pid: known.get(pid) or WatchedChild(pid, self._groups.of(pid, now)) for pid in sorted(pids)}
        return {pid: watched.poll(now) for pid, watched in self._watched.items()}

    def _complete_once(self, job_end: JobEnd, now: float) -> list[JobEnd]:
        """Complete a job's end with what we saw of its process; nothing if it was reported already."""
        key = _key(job_end)
        self._dying.pop(key, None)
        if key in self._told:
            return []
        self._told[key] = None
        if len(self._told) > 1000:
            del self._told[next(iter(self._told))]
        seen = [job for job in self._running if (job.system, job.job_id) == (job_end.system, job_end.job_id)]
        if job_end.pid is None and seen:
            job_end = replace(job_end, pid=seen[0].pid)
        return [self._with_oom_reason(job_end, now)]

    def _with_oom_reason(self, job_end: JobEnd, now: float) -> JobEnd:
        """Set the reason where the kernel killed it for lack of memory: the framework sees only a signal 9."""
        watched = self._watched.get(job_end.pid) if job_end.pid is not None else None
        is_killed = job_end.outcome == "killed" and (job_end.signal == 9 or _BY_SIGNAL_9.search(job_end.reason))
        if watched is None or not is_killed or not watched.was_oom_killed(self._groups, now):
            return job_end
        return replace(job_end, reason=OUT_OF_MEMORY, signal=9)


class ControlGroups:
    """The control groups of the children, and the kills in each."""

    def __init__(self, mounts: Mounts | None = None, proc: str = "/proc") -> None:
        self._mounts = mounts
        self._proc = proc
        self._kills: dict[ControlGroup, OomKills] = {}

    def of(self, pid: int, now: float) -> ControlGroup:
        """Return the control group of a child, whose kills are counted from now on."""
        if self._mounts is None:
            self._mounts = read_mounts(self._proc)
        group = group_of(pid, self._mounts, self._proc)
        if group.memory and group not in self._kills:
            self._kills[group] = OomKills()
            self._kills[group].count(group.oom_kills(), now)
        return group

    def count(self, wanted: set[ControlGroup], now: float) -> None:
        """Count the kills in these, and forget all others."""
        self._kills = {group: kills for group, kills in self._kills.items() if group in wanted}
        for group, kills in self._kills.items():
            kills.count(group.oom_kills(), now)

    def explain_one(self, group: ControlGroup, now: float) -> bool:
        """Say whether a death in a group is one of its kills for lack of memory."""
        kills = self._kills.get(group)
        if kills is None:
            return False
        kills.count(group.oom_kills(), now)  # it may have been killed since we last counted
        return kills.explains_one(now)


class WatchedChild:
    """One child, over several looks."""

    __slots__ = (
        *("_cpu_at", "_cpu_ratio", "_cpu_ticks", "_pid", "_started", "_state", "_wait", "_wait_at", "_was_memory"),
        "group",
    )

    def __init__(self, pid: int, group: ControlGroup) -> None:
        self._pid = pid
        self.group = group
        self._started: int | None = None
        self._cpu_ticks = 0
        self._cpu_at = 0.0
        self._cpu_ratio = CPU_UNKNOWN
        self._state = ""
        self._wait = ""
        self._wait_at = 0.0
        self._was_memory: bool | None = None

    def poll(self, now: float) -> Child:
        """Read its state once; *now* is monotonic (s)."""
        stat = process_stat(self._pid)
        if stat is None:
            return Child(self._pid, process_state(self._pid))
        if self._started not in {None, stat.started}:  # reaped long ago; somebody else has its number now
            return Child(self._pid, GONE)
        if stat.state != self._state or now - self._wait_at >= _SELDOM:
            self._wait = wait_channel_name(stat.state, wait_channel(self._pid), self.group)
            self._state, self._wait_at = stat.state, now
        return Child(self._pid, stat.state, self._take(stat, now), self._wait)

    def was_oom_killed(self, groups: ControlGroups, now: float) -> bool:
        """Say whether the kernel killed it for lack of memory; the same for each of its jobs."""
        if self._was_memory is None:
            self._was_memory = groups.explain_one(self.group, now)
        return self._was_memory

    def _take(self, stat: ProcessStat, now: float) -> float:
        """Take the CPU time; return the share, which needs two looks."""
        if self._started is None:
            self._started, self._cpu_ticks, self._cpu_at = stat.started, stat.cpu_ticks, now
        elif now - self._cpu_at >= _CPU_WINDOW:
            seconds = (stat.cpu_ticks - self._cpu_ticks) / _TICKS
            self._cpu_ratio = round(max(seconds, 0.0) / (now - self._cpu_at), 3)
            self._cpu_ticks, self._cpu_at = stat.cpu_ticks, now
        return self._cpu_ratio


def _key(of: ChildJob | JobEnd) -> _Key:
    return of.system, of.job_id, of.attempt


def _job_end_by_signal(job: ChildJob) -> JobEnd | None:
    """The end of a job whose process is gone; None: by no signal, so its framework will report it."""
    signal = -job.returncode if (job.returncode or 0) < 0 else killed_by(job.pid)  # type: ignore[operator]
    if signal is None:
        return None
    reason = f"its process was killed by signal {signal}"
    return JobEnd(job.system, job.job_id, job.job_name, job.attempt, "killed", reason, job.pid, signal)


def wait_channel_name(state: str, name: str, group: ControlGroup) -> str:
    """Return what to call the place where the kernel lets a process wait: its *name*, or that its group is frozen."""
    if state not in {"S", "D"}:
        return name
    return CGROUP_FROZEN if name in _FREEZER or (not name and group.is_frozen()) else name


def wait_channel(pid: int) -> str:
    """Return the kernel's function in which the main thread of a process waits; empty: in none, or not known."""
    name = procfs.read(f"/proc/{pid}/wchan").decode("ascii", "replace")
    return "" if name == "0" else name


def killed_by(pid: int) -> int | None:
    """Return the signal that ended a child which nobody has reaped yet; it stays for its parent to reap."""
    try:
        status = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError:  # reaped: the framework knows its exit status and will tell
        return None
    if status is None or status.si_code not in (os.CLD_KILLED, os.CLD_DUMPED):
        return None
    return status.si_status
