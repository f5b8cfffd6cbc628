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
from ..guest.procfs import GONE, Stat, process_stat, process_state
from .cgroup import Group, Kills, Mounts, group_of, read_mounts

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


class Family:
    """The children of this process that run jobs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, groups: Groups | None = None) -> None:
        self.facts: Facts = lambda job: None
        """Set with the next: what is known of a job that a child runs, while it does."""
        self.jobs: ChildJobs | None = None
        """Set by the framework's module; None: this process has no children that run jobs."""
        self._clock = clock
        self._running: Sequence[ChildJob] = ()
        self._watched: dict[int, Watched] = {}
        self._groups = groups or Groups()
        self._counted_at = clock()
        self._reported: deque[JobEnd] = deque(maxlen=1000)
        self._dying: dict[_Key, tuple[JobEnd, float]] = {}
        """Seen to have been killed, and when; not told yet."""
        self._told: dict[_Key, None] = {}

    def report(self, death: JobEnd) -> None:
        """Take a death from the framework's own signals; any thread."""
        self._reported.append(death)

    def facts_of(self, job: ChildJob) -> Run | None:
        """Return what is known of a job that a child runs; None: it has ended, or cannot be read."""
        try:
            return self.facts(job)
        except Exception as error:
            _log.fault("lastspan: the job of a child process cannot be read", error)
            return None

    @property
    def running(self) -> Sequence[ChildJob]:
        """What the children ran when we last looked."""
        return self._running

    def look(self) -> tuple[list[Child], list[JobEnd]]:
        """Return each child with a job, and the jobs of those that were killed just now.

        A child that ended by itself is left to the framework: its job's end may still be under way.
        """
        now = self._clock()
        self._count(now)
        deaths = self._take_reported(now)
        if self.jobs is None:  # one process for all of its jobs, as with gevent: nobody to look at
            return [], deaths
        try:
            self._running = self.jobs()
        except (
            Exception
        ) as error:  # what a framework keeps may be anything: the jobs of this process are told all the same
            _log.fault("lastspan: the jobs of the child processes cannot be read", error)
        children = self._look_at({job.pid for job in self._running}, now)
        for job in self._running:
            if children[job.pid].state in {"Z", GONE} and (death := _killed(job)) is not None:
                self._dying.setdefault(_key(death), (self._explained(death, now), now))
        return list(children.values()), [*deaths, *self._take_dying(now)]

    def _take_dying(self, now: float) -> list[JobEnd]:
        """Tell what we saw ourselves, once the framework has had its moment to say why: a revoked job is killed too."""
        due = [key for key, (_, seen) in self._dying.items() if now - seen >= _MOMENT]
        return [told for key in due for told in self._once(self._dying.pop(key)[0], now)]

    def _take_reported(self, now: float) -> list[JobEnd]:
        deaths = []
        while self._reported:
            deaths += self._once(self._reported.popleft(), now)
        return deaths

    def _count(self, now: float) -> None:
        if now - self._counted_at >= _SELDOM:
            self._groups.count({watched.group for watched in self._watched.values()}, now)
            self._counted_at = now

    def _look_at(self, pids: set[int], now: float) -> dict[int, Child]:
        known = self._watched
        self._watched = {pid: known.get(pid) or Watched(pid, self._groups.of(pid, now)) for pid in sorted(pids)}
        return {pid: watched.look(now) for pid, watched in self._watched.items()}

    def _once(self, death: JobEnd, now: float) -> list[JobEnd]:
        """Complete a death with what we saw of its process; nothing if it was told already."""
        key = _key(death)
        self._dying.pop(key, None)
        if key in self._told:
            return []
        self._told[key] = None
        if len(self._told) > 1000:
            del self._told[next(iter(self._told))]
        seen = [job for job in self._running if (job.system, job.job_id) == (death.system, death.job_id)]
        if death.pid is None and seen:
            death = replace(death, pid=seen[0].pid)
        return [self._explained(death, now)]

    def _explained(self, death: JobEnd, now: float) -> JobEnd:
        """Say so where the kernel killed it for lack of memory: the framework sees a signal 9 like any other."""
        watched = self._watched.get(death.pid) if death.pid is not None else None
        is_killed = death.outcome == "killed" and (death.signal == 9 or _BY_SIGNAL_9.search(death.reason))
        if watched is None or not is_killed or not watched.died_for_memory(self._groups, now):
            return death
        return replace(death, reason=OUT_OF_MEMORY, signal=9)


class Groups:
    """The control groups of the children, and the kills in each."""

    def __init__(self, mounts: Mounts | None = None, proc: str = "/proc") -> None:
        self._mounts = mounts
        self._proc = proc
        self._kills: dict[Group, Kills] = {}

    def of(self, pid: int, now: float) -> Group:
        """Return the control group of a child, whose kills are counted from now on."""
        if self._mounts is None:
            self._mounts = read_mounts(self._proc)
        group = group_of(pid, self._mounts, self._proc)
        if group.memory and group not in self._kills:
            self._kills[group] = Kills()
            self._kills[group].count(group.oom_kills(), now)
        return group

    def count(self, wanted: set[Group], now: float) -> None:
        """Count the kills in these, and forget all others."""
        self._kills = {group: kills for group, kills in self._kills.items() if group in wanted}
        for group, kills in self._kills.items():
            kills.count(group.oom_kills(), now)

    def explain_one(self, group: Group, now: float) -> bool:
        """Say whether a death in a group is one of its kills for lack of memory."""
        kills = self._kills.get(group)
        if kills is None:
            return False
        kills.count(group.oom_kills(), now)  # it may have been killed since we last counted
        return kills.explains_one(now)


class Watched:
    """One child, over several looks."""

    __slots__ = (
        *("_cpu_at", "_cpu_ratio", "_cpu_ticks", "_pid", "_started", "_state", "_wait", "_wait_at", "_was_memory"),
        "group",
    )

    def __init__(self, pid: int, group: Group) -> None:
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

    def look(self, now: float) -> Child:
        """Look once; *now* is monotonic (s)."""
        stat = process_stat(self._pid)
        if stat is None:
            return Child(self._pid, process_state(self._pid))
        if self._started not in {None, stat.started}:  # reaped long ago; somebody else has its number now
            return Child(self._pid, GONE)
        if stat.state != self._state or now - self._wait_at >= _SELDOM:
            self._wait = waits_named(stat.state, waits_in(self._pid), self.group)
            self._state, self._wait_at = stat.state, now
        return Child(self._pid, stat.state, self._take(stat, now), self._wait)

    def died_for_memory(self, groups: Groups, now: float) -> bool:
        """Say whether the kernel killed it for lack of memory; the same for each of its jobs."""
        if self._was_memory is None:
            self._was_memory = groups.explain_one(self.group, now)
        return self._was_memory

    def _take(self, stat: Stat, now: float) -> float:
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


def _killed(job: ChildJob) -> JobEnd | None:
    """The death of a job whose process is gone; None: by no signal, so its framework will tell."""
    signal = -job.returncode if (job.returncode or 0) < 0 else killed_by(job.pid)  # type: ignore[operator]
    if signal is None:
        return None
    reason = f"its process was killed by signal {signal}"
    return JobEnd(job.system, job.job_id, job.job_name, job.attempt, "killed", reason, job.pid, signal)


def waits_named(state: str, name: str, group: Group) -> str:
    """Return what to call the place where the kernel lets a process wait: its *name*, or that its group is frozen."""
    if state not in {"S", "D"}:
        return name
    return CGROUP_FROZEN if name in _FREEZER or (not name and group.is_frozen()) else name


def waits_in(pid: int) -> str:
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
