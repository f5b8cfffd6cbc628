"""Finds jobs by the names that their framework uses: the id, and the attempt in a process."""

from __future__ import annotations

from ..model.records import JobEnded, SpanOpen
from .generations import Generations
from .limits import TOMBSTONE_NS
from .rows import JobRow, ProcessRow

_Attempt = tuple[str, str, int | None, int | None, str | None]
"""(system, job id, attempt, pid, worker id): one attempt of a job in one process."""


class JobIndex:
    """Jobs, open or ended lately, by their id; and the attempts of which a parent said that they have ended."""

    def __init__(self, *, max_tombstones: int) -> None:
        self._by_id: dict[str, JobRow | list[JobRow]] = {}
        self.over: Generations[_Attempt, bool] = Generations(keep_ns=TOMBSTONE_NS, limit=max_tombstones)
        """Attempts that have ended."""

    def __len__(self) -> int:
        return len(self._by_id)

    def with_id(self, job_id: str) -> list[JobRow]:
        """Return the jobs that have this id: its attempts."""
        found = self._by_id.get(job_id)
        return [] if found is None else list(found) if isinstance(found, list) else [found]

    def others(self, job: JobRow) -> list[JobRow]:
        """Return the other jobs with this one's id: most have none, which costs nothing."""
        found = self._by_id.get(job.job_id)
        return [other for other in found if other is not job] if isinstance(found, list) else []

    def add(self, job: JobRow) -> None:
        """Have a job found by its id."""
        found = self._by_id.get(job.job_id)
        if found is None:
            self._by_id[job.job_id] = job
        elif isinstance(found, list):
            found.append(job)
        else:
            self._by_id[job.job_id] = [found, job]

    def remove(self, job: JobRow) -> None:
        """Have a job found no more."""
        rest = [other for other in self.with_id(job.job_id) if other is not job]
        if rest:
            self._by_id[job.job_id] = rest
        else:
            self._by_id.pop(job.job_id, None)

    def find_attempt(self, record: JobEnded) -> JobRow | None:
        """Return the job of a parent's report: an open one rather than one that has ended."""
        found = None
        for job in self.with_id(record.job_id):
            resource = job.span.process.resource if job.span.process is not None else None
            if (
                job.type.system == record.system
                and _fits(job.attempt, record.attempt)
                and (resource is None or _fits(resource.pid, record.pid))
                and (resource is None or _fits(resource.worker_id, record.origin.resource.worker_id))
            ):
                found = job
                if job.end is None:
                    break
        return found

    def end_attempt(self, record: JobEnded, now_ns: int) -> bool:
        """Remember that an attempt has ended; return whether that was known."""
        attempt = (record.system, record.job_id, record.attempt, record.pid, record.origin.resource.worker_id)
        known = attempt in self.over
        self.over.put(attempt, True, now_ns)
        return known

    def is_over(self, record: SpanOpen, process: ProcessRow) -> bool:
        """Whether a parent said that the attempt a span belongs to has ended, in this process."""
        if record.job_id is None:
            return False
        resource = process.resource
        return self.has_ended(record.type.system, record.job_id, record.attempt, resource.pid, resource.worker_id)

    def has_ended(self, system: str, job_id: str, attempt: int | None, pid: int | None, worker_id: str | None) -> bool:
        """Whether a parent said that an attempt has ended, in this process."""
        if not len(self.over):
            return False
        return any(
            (system, job_id, told_attempt, told_pid, worker_id) in self.over
            for told_attempt in {attempt, None}
            for told_pid in {pid, None}
        )

    def forget(self, now_ns: int) -> None:
        """Let go of attempts that ended long ago."""
        self.over.forget(now_ns)


def _fits(ours: object, theirs: object) -> bool:
    return ours is None or theirs is None or ours == theirs
