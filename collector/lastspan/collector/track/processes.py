"""Which processes report, which are silent, and what their silence means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from ..model.records import NO_SEQUENCE, Child, Origin, ProcessState, ProcessStatus, Resource
from .rows import ProcessRow, Silence, WorkerRow
from .wheel import HORIZON_NS, TimerWheel

DEFAULT_INTERVAL_NS = 15_000_000_000
_MIN_INTERVAL_NS, _MAX_INTERVAL_NS = 100_000_000, 3_600_000_000_000
_SILENT_MIN_NS = 6_000_000_000
"""Native code, a garbage collection or a full machine can silence a healthy process for some seconds."""
_GONE = frozenset("ZX")
"""States of a child that is dead, whatever its parent lists."""
_BLIND_PROCESSES, _BLIND_HOSTS = 5, 2


class Processes:
    """All processes, by `lastspan.process.id`.

    A process is quiet one interval before it is silent. So when a process has been silent for long enough, all that
    fell silent with it (within one interval) are known to be quiet: if that is most of everybody, we doubt ourselves
    (`blind`) and declare none of them lost.
    """

    def __init__(
        self,
        *,
        silent_after: float,
        forget_after_ns: int,
        limit: int,
        forgotten: Callable[[ProcessRow], None] = lambda row: None,
    ) -> None:
        self._silent_after = silent_after
        self._forget_after_ns = forget_after_ns
        self._limit = limit
        self._forgotten = forgotten
        self.rows: dict[str, ProcessRow] = {}
        self.wheel: TimerWheel[ProcessRow] = TimerWheel()
        self.changed: list[ProcessRow] = []
        """Processes whose silence has changed and whose jobs must be judged."""
        self.blind = False
        self._workers: dict[str, WorkerRow] = {}
        self._by_pid: dict[tuple[str, int], ProcessRow] | None = None
        """By host and pid: the newest. None: nobody has asked yet, so it costs nothing."""
        self._voters = 0
        """Processes that should be heard: running, and not declared silent."""
        self._quiet_hosts: Counter[str] = Counter()
        self._stalls: list[tuple[int, int]] = []
        """When we did not receive: (until, for how long), the longest first."""

    # --- hearing ------------------------------------------------------------------------------------------------

    def heard_from(self, origin: Origin, now_ns: int) -> ProcessRow | None:
        """Return the process that sent a record and so is alive; None: it has no id, or there are too many."""
        id = origin.process_id
        row = self.rows.get(id) or self._add(id, origin, now_ns) if id is not None else None
        if row is None:
            return None
        row.heard_ns = now_ns
        if origin.interval_ns != row.interval_ns and origin.interval_ns is not None:
            row.interval_ns = min(max(origin.interval_ns, _MIN_INTERVAL_NS), _MAX_INTERVAL_NS)
            self._arm(row, now_ns)
        if origin.resource is not row.resource:
            self._move(row, origin.resource)
        if row.quiet_since_ns is not None or row.silence is not Silence.NONE:
            self._end_silence(row, now_ns)
        return row

    def apply_state(self, row: ProcessRow, state: ProcessState, now_ns: int) -> None:
        """Apply a process's report of itself and its children."""
        self.describe(row, status=state.status, children=state.children)
        row.frameworks = state.frameworks
        if state.stall is not None:
            row.stall, row.stalled_at_ns = state.stall, now_ns

    def describe(self, row: ProcessRow, *, status: ProcessStatus, children: dict[int, Child]) -> None:
        """Note a process's status and its children."""
        self._vote(row, -1)
        row.status = status
        self._vote(row, +1)
        if children != row.children:
            row.children = children
            for other in self._relatives(row):
                if other.silence is not Silence.NONE:
                    self.changed.append(other)

    def child(self, parent: ProcessRow, pid: int) -> ProcessRow | None:
        """Return the child of a parent that has this pid and has reported: the one that reported last."""
        found = [row for row in self._relatives(parent) if row.resource.pid == pid and not row.is_expected]
        found = [row for row in found if row.status is not ProcessStatus.STOPPED]
        return max(found, key=lambda row: row.heard_ns, default=None)

    def children_being_ended(self, parent: ProcessRow) -> list[ProcessRow]:
        """Return the children of a stopped parent that were being ended: no other process reports their end."""
        return [
            row for row in self._relatives(parent) if row.status is ProcessStatus.STOPPING and _is_parent(parent, row)
        ]

    def is_ended_alone(self, row: ProcessRow) -> bool:
        """Whether a process is being ended while its parent runs on: somebody killed it, nothing is shut down."""
        parents = [other for other in self._relatives(row) if _is_parent(other, row)]
        return any(other.status is ProcessStatus.RUNNING and other.silence is Silence.NONE for other in parents)

    def add_unheard(self, parent: ProcessRow, pid: int, since_ns: int, now_ns: int) -> ProcessRow | None:
        """Return a row for a child that has not reported since *since_ns*; None: there are too many."""
        id = f"{parent.id}/{pid}"
        row = self.rows.get(id)
        if row is None:
            resource = msgspec.structs.replace(parent.resource, pid=pid, parent_pid=parent.resource.pid, instance_id="")
            # Without a sequence: it was never heard, so its silence is no sign that we are deaf.
            row = self._add(id, Origin(resource, id, NO_SEQUENCE, parent.interval_ns), now_ns)
        if row is not None and row.live == 0:
            row.is_expected = True
            row.heard_ns = row.first_ns = since_ns
            self._arm(row, now_ns)
        return row

    def with_pid(self, host: str, pid: int) -> ProcessRow | None:
        """Return the process of a host that has this pid."""
        if self._by_pid is None:
            self._by_pid = {where: row for row in self.rows.values() if (where := _where(row)) is not None}
        return self._by_pid.get((host, pid))

    def note_stall(self, gap_ns: int, now_ns: int) -> None:
        """Record that we did not receive for *gap_ns* until now: silence in that time is not the processes'."""
        self._stalls = [*((until, gap) for until, gap in self._stalls if gap > gap_ns), (now_ns, gap_ns)]

    def forget(self, row: ProcessRow) -> None:
        """Drop a process."""
        self._unquiet(row)
        self._vote(row, -1)
        self.rows.pop(row.id, None)
        self._leave_worker(row)
        if self._by_pid and (where := _where(row)) is not None and self._by_pid.get(where) is row:
            del self._by_pid[where]
        row.spans, row.accepted = [], []
        self._forgotten(row)

    # --- silence ------------------------------------------------------------------------------------------------

    def check_silence(self, row: ProcessRow, now_ns: int) -> None:
        """Check a process that is due: is it silent, and what does that mean?"""
        if self.rows.get(row.id) is not row:
            return
        heard_ns = max(row.heard_ns, self._listening_since(row))
        silent_ns, limit_ns = now_ns - heard_ns, self._limit_ns(row)
        quiet_ns = max(limit_ns - row.interval_ns, limit_ns // 2)
        if silent_ns < quiet_ns:
            self._unquiet(row)
            self.wheel.arm(row, heard_ns + quiet_ns, now_ns)
        elif silent_ns < limit_ns:
            self._quiet(row, now_ns)
            self.wheel.arm(row, heard_ns + limit_ns, now_ns)
        elif row.live == 0 and silent_ns > self._forget_after_ns:
            self.forget(row)
        else:
            self._quiet(row, now_ns)
            self.declare(row, self._meaning(row))
            if silent_ns > self._forget_after_ns:
                self.changed.append(row)  # given up
            self.wheel.arm(row, now_ns + min(row.interval_ns, HORIZON_NS), now_ns)

    def _limit_ns(self, row: ProcessRow) -> int:
        return max(int(self._silent_after * row.interval_ns), _SILENT_MIN_NS) + row.stall_grace_ns

    def states(self) -> Iterator[tuple[ProcessRow, str]]:
        """Yield each process that is of interest, and its state in a word."""
        for row in self.rows.values():
            if row.silence is Silence.NONE and row.status is not ProcessStatus.STOPPED:
                yield row, row.status.value
            elif row.live and row.silence is not Silence.SHUTDOWN:
                yield row, row.silence.value

    def silent_ns(self, row: ProcessRow, now_ns: int) -> int:
        """Return for how long a process has not been heard while we listened."""
        return max(0, now_ns - max(row.heard_ns, self._listening_since(row)))

    def _meaning(self, row: ProcessRow) -> Silence:
        if row.status is not ProcessStatus.RUNNING:
            return Silence.SHUTDOWN
        parents = [other for other in self._relatives(row) if _is_parent(other, row)]
        if any(parent.status is not ProcessStatus.RUNNING for parent in parents):
            return Silence.SHUTDOWN
        if row.silence is Silence.NONE and self._is_blind(row):
            return Silence.NONE
        pid = row.resource.pid
        for parent in parents:
            if parent.silence is Silence.NONE and parent.quiet_since_ns is None and pid is not None:
                child = parent.children.get(pid)
                if child is not None and not _GONE.issuperset(child.state or "?"):
                    return Silence.FROZEN
        return Silence.LOST

    def _is_blind(self, row: ProcessRow) -> bool:
        if row.foreign:
            return False
        quiet = sum(self._quiet_hosts.values())
        self.blind = quiet >= _BLIND_PROCESSES and len(self._quiet_hosts) >= _BLIND_HOSTS and quiet * 2 > self._voters
        return self.blind

    def declare(self, row: ProcessRow, silence: Silence) -> None:
        """Set what the silence of a process means; its jobs are judged again."""
        if silence is row.silence:
            return
        if row.silence is Silence.NONE:
            self._unquiet(row)
            self._vote(row, -1)
        row.silence = silence
        self._vote(row, +1)
        self.changed.append(row)

    def _end_silence(self, row: ProcessRow, now_ns: int) -> None:
        self._unquiet(row)
        if row.silence is not Silence.NONE:
            row.silence = Silence.NONE
            self._vote(row, +1)
            self.changed.append(row)
        self._arm(row, now_ns)

    def _listening_since(self, row: ProcessRow) -> int:
        return max((until for until, gap in self._stalls if gap >= row.interval_ns), default=-(1 << 62))

    def _quiet(self, row: ProcessRow, now_ns: int) -> None:
        if row.quiet_since_ns is None and row.silence is Silence.NONE and self._votes(row):
            row.quiet_since_ns = now_ns
            self._quiet_hosts[row.resource.host] += 1

    def _unquiet(self, row: ProcessRow) -> None:
        if row.quiet_since_ns is None:
            return
        row.quiet_since_ns = None
        host = row.resource.host
        self._quiet_hosts[host] -= 1
        if self._quiet_hosts[host] <= 0:
            del self._quiet_hosts[host]
        if not self._quiet_hosts:
            self.blind = False

    def _votes(self, row: ProcessRow) -> bool:
        return row.silence is Silence.NONE and row.status is ProcessStatus.RUNNING and not row.foreign

    def _vote(self, row: ProcessRow, weight: int) -> None:
        if self._votes(row):
            self._voters += weight

    # --- rows and families --------------------------------------------------------------------------------------

    def _add(self, id: str, origin: Origin, now_ns: int) -> ProcessRow | None:
        if len(self.rows) >= self._limit:
            return None
        row = ProcessRow(id, origin.resource, DEFAULT_INTERVAL_NS, now_ns, now_ns, foreign=origin.sequence < 0)
        if origin.interval_ns is not None:
            row.interval_ns = min(max(origin.interval_ns, _MIN_INTERVAL_NS), _MAX_INTERVAL_NS)
        self.rows[id] = row
        self._vote(row, +1)
        self._join_worker(row)
        if self._by_pid is not None and (where := _where(row)) is not None:
            self._by_pid[where] = row
        self._arm(row, now_ns)
        return row

    def _arm(self, row: ProcessRow, now_ns: int) -> None:
        quiet_after = max(self._silent_after - 1, self._silent_after / 2)
        self.wheel.arm(row, row.heard_ns + int(quiet_after * row.interval_ns), now_ns)

    def _move(self, row: ProcessRow, resource: Resource) -> None:
        quiet_since_ns = row.quiet_since_ns
        self._unquiet(row)
        self._leave_worker(row)
        row.resource = resource
        self._join_worker(row)
        if quiet_since_ns is not None:
            self._quiet(row, quiet_since_ns)

    def _relatives(self, row: ProcessRow) -> Iterator[ProcessRow]:
        if row.worker is not None:
            for other in row.worker.processes.values():
                if other is not row:
                    yield other

    def _join_worker(self, row: ProcessRow) -> None:
        worker_id = row.resource.worker_id
        if worker_id is not None:
            row.worker = self._workers.setdefault(worker_id, WorkerRow())
            row.worker.processes[row.id] = row

    def _leave_worker(self, row: ProcessRow) -> None:
        if row.worker is None:
            return
        row.worker.processes.pop(row.id, None)
        if not row.worker.processes:
            self._workers.pop(row.resource.worker_id or "", None)
        row.worker = None


def _is_parent(parent: ProcessRow, child: ProcessRow) -> bool:
    pid = child.resource.pid
    if pid is not None and pid in parent.children:
        return True
    return child.resource.parent_pid is not None and child.resource.parent_pid == parent.resource.pid


def _where(row: ProcessRow) -> tuple[str, int] | None:
    resource = row.resource
    return None if resource.pid is None or not resource.host else (resource.host, resource.pid)
