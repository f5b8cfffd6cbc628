"""Counts by type of job and by incident, kept as things happen: nothing is ever counted by walking."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

import msgspec

from lastspan.semconv.vocabulary import Outcome

from ..model.records import DURATION_BOUNDS, DurationCounts, JobType, Severity, State
from ..model.sketch import Runs, middle, packed, since
from .rows import DurationKey, DurationRow, JobRow, ProcessRow, SuspectState

OTHER = "other"
"""Name of what is beyond a limit."""

OPEN_STATES = (State.RUNNING, State.OVERDUE, State.STUCK, State.LOST, State.FROZEN)


class Series(msgspec.Struct, eq=False):
    """The counts of one (environment, service, job name, queue)."""

    environment: str
    service: str
    job_name: str
    queue: str
    type: JobType | None
    """One type of the series, to ask the policy about; None: it is a mixture."""
    open: Counter[State]
    stuck: Counter[str]
    """Suspects by cause."""
    stuck_total: Counter[str]
    started: int
    ended: Counter[str]
    buckets: list[int]
    sum_seconds: float


class Incident(msgspec.Struct, eq=False):
    """Jobs that stopped at one thing."""

    environment: str
    service: str
    cause: str
    last_span: str
    severity: Severity
    """The highest of its jobs so far: it does not fall while the incident lasts."""
    jobs: dict[bytes, JobRow]
    """In the order in which they were found."""


class Counts:
    """All series and incidents."""

    def __init__(self, *, max_types: int, max_duration_rows: int) -> None:
        self._max_types = max_types
        self._max_duration_rows = max_duration_rows
        self.duration_rows = 0
        """Cumulative counts that are kept for comparison, of all processes."""
        self.durations_refused = 0
        self.series: dict[tuple[str, str, str, str], Series] = {}
        self.incidents: dict[str, Incident] = {}

    def of(self, environment: str, service: str, job_name: str, queue: str, type: JobType | None = None) -> Series:
        """Return the series of these labels, or that of all others once there are too many."""
        key = (environment, service, job_name, queue)
        series = self.series.get(key)
        if series is None:
            if len(self.series) >= self._max_types and job_name != OTHER:
                return self.of("", "", OTHER, OTHER)
            zeros = [0] * (len(DURATION_BOUNDS) + 1)
            series = Series(*key, type, Counter(), Counter(), Counter(), 0, Counter(), zeros, 0.0)
            self.series[key] = series
        if series.type is None:
            series.type = type
        return series

    def of_job(self, job: JobRow) -> Series:
        """Return the series of a job."""
        type = job.type
        return self.of(type.environment, type.service, type.name, type.queue, type)

    def enter(self, job: JobRow, state: State) -> None:
        """Count a job that is new."""
        job.state = state
        self.of_job(job).open[state] += 1

    def move(self, job: JobRow, state: State) -> None:
        """Count a job's change of state; `ended` leaves the counts."""
        if state is job.state:
            return
        series = self.of_job(job)
        series.open[job.state] -= 1
        if state is not State.ENDED:
            series.open[state] += 1
        job.state = state

    def retype(self, job: JobRow, type: JobType) -> None:
        """Count a job under another type: its own record came after that of a child."""
        state, suspect_state = job.state, job.suspect_state
        self.set_suspect_state(job, None)
        self.of_job(job).open[state] -= 1
        job.type = type
        self.of_job(job).open[state] += 1
        self.set_suspect_state(job, suspect_state)

    def set_suspect_state(self, job: JobRow, suspect_state: SuspectState | None) -> None:
        """Put a job into its incident, or take it out."""
        before, job.suspect_state = job.suspect_state, suspect_state
        series = self.of_job(job)
        if before is not None:
            series.stuck[before.cause] -= 1
            if suspect_state is None or suspect_state.incident != before.incident:
                self._leave(job, before.incident)
        if suspect_state is not None:
            series.stuck[suspect_state.cause] += 1
            if suspect_state.incident:
                self._join(job, suspect_state)

    def ended(self, job: JobRow, outcome: Outcome) -> None:
        """Count an end that the process itself could not count: it was killed, lost or shut down."""
        self.of_job(job).ended[outcome] += 1

    def durations(self, process: ProcessRow, record: DurationCounts) -> Runs:
        """Count what is new in a process's cumulative counts; return the runs that are new."""
        if record.span_name is not None and record.outcome is not Outcome.OK:
            return ()  # nothing is learned from these
        last = self._last(process, record)
        if last is None or record.count <= last.count:
            return ()  # there is no room; or it is late, or told twice
        resource, news = process.resource, since(record.runs, last.runs)
        if record.span_name is None:
            series = self.of(resource.environment, resource.service, record.job_name, record.queue)
            if record.outcome is None:
                series.started += record.count - last.count
            else:
                series.ended[record.outcome] += record.count - last.count
                _add(series, news, max(0.0, record.sum_seconds - last.sum_seconds))
        last.count, last.runs, last.sum_seconds = record.count, packed(record.runs), record.sum_seconds
        return news

    def _last(self, process: ProcessRow, record: DurationCounts) -> DurationRow | None:
        rows = process.durations
        if rows is None:
            rows = process.durations = {}
        key = (record.job_name, record.queue, record.span_name, record.outcome, record.peer)
        row = rows.get(key)
        if row is None:
            if len(rows) >= self._max_types or self.duration_rows >= self._max_duration_rows:
                self.durations_refused += 1
                return None
            row = rows[key] = DurationRow()
            self.duration_rows += 1
        return row

    def put_durations(self, process: ProcessRow, key: DurationKey, row: DurationRow) -> None:
        """Restore the counts that a process last reported."""
        rows = process.durations
        if rows is None:
            rows = process.durations = {}
        self.duration_rows += key not in rows
        rows[key] = row

    def forget_durations(self, process: ProcessRow) -> None:
        """Drop the counts of a process, with the process."""
        self.duration_rows -= len(process.durations or ())
        process.durations = None

    def _join(self, job: JobRow, suspect_state: SuspectState) -> None:
        incident = self.incidents.get(suspect_state.incident)
        if incident is None:
            type = job.type
            incident = Incident(
                type.environment, type.service, suspect_state.cause, suspect_state.last_span, suspect_state.severity, {}
            )
            self.incidents[suspect_state.incident] = incident
        if suspect_state.severity is Severity.PAGE:
            incident.severity = Severity.PAGE
        incident.jobs[job.span.key] = job

    def _leave(self, job: JobRow, name: str) -> None:
        incident = self.incidents.get(name)
        if incident is not None:
            incident.jobs.pop(job.span.key, None)
            if not incident.jobs:
                del self.incidents[name]


def _add(series: Series, news: Runs, seconds: float) -> None:
    for bucket, count in news:
        series.buckets[bisect_left(DURATION_BOUNDS, middle(bucket))] += count
    series.sum_seconds += seconds
