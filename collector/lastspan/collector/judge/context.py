"""What a judgement of cause may use beside the job itself: other jobs, what they own, what probes saw. Pure."""

from __future__ import annotations

from itertools import islice

from ..model.evidence import Evidence
from ..model.records import SUSPECT, Child, DatabaseSession
from ..track import JobRow, ProcessRow, Silence, SpanRow, Tracker
from ..track.databases import DatabaseFacts, addresses
from .policy import Policy
from .verdict import Leaf, Verdict, judge

_NOTHING = Evidence()
_LOOKED_AT = 2000
_FAR = 10
"""Sessions that wait for each other in a row, that are followed."""


class JudgeContext:
    """The state of all jobs at one moment, as one job's cause needs it. Made for each judgement, not kept."""

    def __init__(self, tracker: Tracker, databases: DatabaseFacts, policy: Policy, now_ns: int) -> None:
        self._tracker = tracker
        self._databases = databases
        self._policy = policy
        self.now_ns = now_ns
        self._verdicts: dict[bytes, Verdict] = {}
        self._waiting: dict[str, JobRow] | None = None

    # --- jobs -----------------------------------------------------------------------------------------------------

    def verdict(self, job: JobRow) -> Verdict:
        """Return the verdict on another job."""
        found = self._verdicts.get(job.span.key)
        if found is None:
            found = self._verdicts[job.span.key] = judge(job, self._policy, self.now_ns)
        return found

    def is_stuck(self, job: JobRow) -> bool:
        """Whether a job is itself stuck, lost or frozen."""
        return self.verdict(job).state in SUSPECT

    def suspects(self, limit: int) -> list[JobRow]:
        """Return the first found suspects."""
        return list(islice(self._tracker.suspects.values(), limit))

    def attempt(self, job_id: str) -> JobRow | None:
        """Return the job of an id: the newest attempt, an open one first."""
        found = self._tracker.with_id(job_id)
        return max(found, key=lambda job: (job.end is None, job.attempt or 0, job.span.start_ns), default=None)

    def duplicates(self, job: JobRow) -> list[JobRow]:
        """Return the other open runs of the same attempt whose processes have reported since both run."""
        return [other for other in self._tracker.others(job) if _overlaps(job, other)]

    # --- who has what ---------------------------------------------------------------------------------------------

    def holders(self, key: str) -> tuple[JobRow, ...]:
        """Return the jobs that say they hold a lock."""
        return self._tracker.owners.of_lock(key)

    def by_span(self, trace_id: bytes, span_id: bytes) -> JobRow | None:
        """Return the open job with this span."""
        return self._tracker.jobs.get(trace_id + span_id)

    # --- databases ------------------------------------------------------------------------------------------------

    @property
    def is_probed(self) -> bool:
        """Whether probes ask databases."""
        return self._databases.is_asked

    @property
    def has_databases(self) -> bool:
        """Whether a probe has seen anything lately."""
        return len(self._databases) > 0

    def session(self, job: JobRow, leaf: Leaf) -> DatabaseSession | None:
        """Return the database session in which a job waits, if a probe has seen it."""
        if not len(self._databases):
            return None
        evidence = evidence_of(job, leaf)
        wait = evidence.wait
        found = None
        if wait is not None:
            if wait.session:
                found = self._databases.session(server_of(leaf.span, evidence), wait.session)
            found = found or self._databases.of_client(wait.local or "")
        return found or self._own_session(job) or self._databases.of_trace(job.span.key[:16].hex())

    def owner_of(self, session: DatabaseSession) -> JobRow | None:
        """Return the job that a database session works for."""
        owners = self._tracker.owners
        found = owners.of_session(session.server, session.id)
        for address in addresses(session):
            found = found or owners.of_address(address)
        if found:
            return found[-1]
        return self._by_traceparent(session) or self._waiting_in(session)

    def sessions(self) -> list[DatabaseSession]:
        """Return all database sessions that probes have seen lately."""
        return list(self._databases)

    def sessions_of(self, job: JobRow) -> list[DatabaseSession]:
        """Return what probes saw of the sessions that a job has used."""
        if job.owned is None or not len(self._databases):
            return []
        found = (
            self._databases.session(own.server, own.id) or self._databases.of_client(own.local)
            for own in job.owned.sessions
        )
        return [session for session in found if session is not None]

    def blocking(self, session: DatabaseSession) -> list[DatabaseSession]:
        """Return the sessions that hold what this one waits for."""
        found = (self._databases.session(session.server, id) for id in session.blocked_by)
        return [other for other in found if other is not None]

    def root(self, session: DatabaseSession) -> DatabaseSession:
        """Return the session at the head of a queue: the one that all others in it wait for."""
        passed = {session.id}
        for _ in range(_FAR):
            following = next((one for one in self.blocking(session) if one.id not in passed), None)
            if following is None:
                break
            passed.add(following.id)
            session = following
        return session

    def _own_session(self, job: JobRow) -> DatabaseSession | None:
        return next((session for session in self.sessions_of(job) if session.blocked_by), None)

    def _by_traceparent(self, session: DatabaseSession) -> JobRow | None:
        parts = session.traceparent.split("-")  # version-trace-span-flags; what the flags say does not matter
        if len(parts) < 4 or len(parts[1]) != 32 or len(parts[2]) != 16:
            return None
        try:
            span = self._tracker.spans.get(bytes.fromhex(parts[1] + parts[2]))
        except ValueError:
            return None
        return None if span is None else span.job

    def _waiting_in(self, session: DatabaseSession) -> JobRow | None:
        """The job that waits in this session, by the evidence of late jobs."""
        if self._waiting is None:
            self._waiting = {}
            for job in self.suspects(_LOOKED_AT):
                leaf = self.verdict(job).last
                wait = evidence_of(job, leaf).wait
                if wait is not None and wait.session:
                    self._waiting[f"{server_of(leaf.span, evidence_of(job, leaf))} {wait.session}"] = job
                if wait is not None and wait.local:
                    self._waiting[wait.local] = job
        names = [f"{session.server} {session.id}", *addresses(session)]
        return next((self._waiting[name] for name in names if name in self._waiting), None)

    # --- processes ------------------------------------------------------------------------------------------------

    def in_process(self, host: str, pid: int) -> JobRow | None:
        """Return the job of a process, if it runs just one."""
        process = self._tracker.processes.with_pid(host, pid)
        if process is None:
            return None
        jobs = [row.job for row in process.spans if row.open and row.job is not None and row.job.span is row]
        return jobs[0] if len(jobs) == 1 else None

    def seen_by_parent(self, process: ProcessRow) -> Child | None:
        """Return what a process's parent last reported of it."""
        pid = process.resource.pid
        if process.worker is None or pid is None:
            return None
        family = process.worker.processes.values()
        return next((child for other in family if (child := other.children.get(pid)) is not None), None)

    def has_parent(self, process: ProcessRow) -> bool:
        """Whether a process has a parent that reports and is not silent itself."""
        parent_pid = process.resource.parent_pid
        if process.worker is None or parent_pid is None:
            return False
        family = process.worker.processes.values()
        return any(one.resource.pid == parent_pid and one.silence is Silence.NONE for one in family)

    def silent_ns(self, process: ProcessRow) -> int:
        """Return for how long a process has not been heard."""
        return self._tracker.processes.silent_ns(process, self.now_ns)


def evidence_of(job: JobRow, leaf: Leaf) -> Evidence:
    """Return what was seen of the code at a job's last span: the leaf's own, else the job's."""
    return leaf.span.evidence or job.span.evidence or _NOTHING


def server_of(span: SpanRow, evidence: Evidence) -> str:
    """Return the host:port that a span calls: as the code addresses it, else as the connection says."""
    address, port = span.call.attribute("server.address"), span.call.attribute("server.port")
    if address is not None:
        return f"{address}:{port}" if port is not None else str(address)
    return (evidence.wait.peer if evidence.wait is not None else None) or ""


def _may_run_beside(first: JobRow, second: JobRow) -> bool:
    """Whether a queue may have delivered both to one process; a job inside a job is no duplicate."""
    return first.type.system != "python" and second.outer is not first and first.outer is not second


def _overlaps(job: JobRow, other: JobRow) -> bool:
    if other.end is not None or other.type.system != job.type.system or other.attempt != job.attempt:
        return False
    first, second = sorted((job, other), key=lambda one: one.span.start_ns)
    process = first.span.process
    if process is None or (process is second.span.process and not _may_run_beside(first, second)):
        return False
    # An end that is still under way: the older one's process must have spoken since, and not of the end.
    return process.heard_ns - second.span.start_ns > process.interval_ns
