"""What publishers may ask, each by a name that says what. They read: whatever they do, nothing changes by it.

What is returned is what is there at this moment, and may change once the event loop goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from ..judge.cause import Explanation
from ..judge.context import JudgeContext
from ..judge.graph import MAX_NODES, WaitGraph, graph
from ..judge.lint import Finding, Lint
from ..judge.policy import Policy
from ..judge.verdict import Verdict, judge
from ..model.facts import CollectorFacts
from ..model.records import Sender, State
from ..track import Incident, JobRow, ProcessRow, Series, Tracker
from ..track.learn import LearnedKey, LearnedRow

Look = Callable[[JobRow, JudgeContext], tuple[Verdict, Explanation | None]]


class View:
    """One collector, as publishers see it."""

    def __init__(
        self,
        tracker: Tracker,
        *,
        policy: Policy,
        lint: Lint,
        facts: CollectorFacts,
        speakers: Iterable[Sender],
        clock: Callable[[], int],
        context: Callable[[], JudgeContext],
        look: Look,
    ) -> None:
        self._tracker, self._lint, self._look = tracker, lint, look
        self.policy = policy
        """How long spans may be open."""
        self.facts = facts
        """What the collector knows of itself."""
        self.speakers = speakers
        """Whose OTLP arrives."""
        self.clock = clock
        """Nanoseconds, as those of all rows."""
        self.known = context
        """Returns what may be asked about jobs other than the one at hand, now; good for several jobs."""

    # --- jobs -----------------------------------------------------------------------------------------------------

    def suspects(self) -> Collection[JobRow]:
        """Return the jobs that are stuck, lost or frozen, in the order in which they were found."""
        return self._tracker.suspects.values()

    def jobs(self) -> Collection[JobRow]:
        """Return the jobs that are open, suspects among them."""
        return self._tracker.jobs.values()

    def ended(self) -> Iterator[JobRow]:
        """Yield the jobs that ended lately, the last one first."""
        return reversed(self._tracker.ended.values())

    def job(self, key: bytes) -> JobRow | None:
        """Return the job of a key, open or ended lately."""
        return self._tracker.jobs.get(key) or self._tracker.ended.get(key)

    def attempts(self, job_id: str) -> list[JobRow]:
        """Return the attempts of a job, open or ended lately."""
        return self._tracker.with_id(job_id)

    def other_attempts(self, job: JobRow) -> list[JobRow]:
        """Return the other attempts of a job, open or ended lately."""
        return self._tracker.others(job)

    def of_traces(self, trace_ids: Iterable[bytes]) -> dict[bytes, list[JobRow]]:
        """Return the jobs of each of these traces, those that are open first."""
        found: dict[bytes, list[JobRow]] = {trace_id: [] for trace_id in trace_ids}
        for rows in (self._tracker.jobs, self._tracker.ended):
            for key in rows:
                if (together := found.get(key[:16])) is not None:
                    together.append(rows[key])
        return found

    def verdict(self, job: JobRow) -> Verdict:
        """Return the verdict on a job now."""
        return judge(job, self.policy, self.clock())

    def look(self, job: JobRow, context: JudgeContext | None = None) -> tuple[Verdict, Explanation | None]:
        """Return the verdict on a job and its cause; counts and incidents agree with them from then on."""
        return self._look(job, context or self.known())

    # --- many jobs ------------------------------------------------------------------------------------------------

    def series(self) -> Collection[Series]:
        """Return the counts of each type of job."""
        return self._tracker.counts.series.values()

    def states(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        counts = {state.value: 0 for state in State}
        for series in self.series():
            for state, count in series.open.items():
                counts[state.value] += count
        counts[State.ENDED.value] = len(self._tracker.ended)
        return counts

    def incidents(self) -> Mapping[str, Incident]:
        """Return what jobs stopped at, by name."""
        return self._tracker.counts.incidents

    def graph(self, limit: int = MAX_NODES) -> WaitGraph:
        """Return who waits for whom, among the suspects."""
        known = self.known()
        return graph(known.suspects(limit), known, limit=limit)

    def findings(self) -> list[Finding]:
        """Return what will hang one day."""
        types = (series.type for series in self.series())
        return self._lint.all((type for type in types if type is not None), self.known())

    def findings_of(self, job: JobRow, context: JudgeContext) -> list[Finding]:
        """Return what will hang one day in one job, and others of its kind."""
        return self._lint.of(job, context)

    # --- processes ------------------------------------------------------------------------------------------------

    def processes(self) -> Iterator[tuple[ProcessRow, str]]:
        """Yield each process that is of interest, and its state in a word."""
        return self._tracker.processes.states()

    def services(self) -> set[tuple[str, str]]:
        """Return service and environment of each process and type of job that is known."""
        heard = {(row.resource.service, row.resource.environment) for row in self._tracker.processes.rows.values()}
        return heard | {(one.type.service, one.type.environment) for one in self.series() if one.type is not None}

    def silent_ns(self, process: ProcessRow, now_ns: int) -> int:
        """Return for how long a process has not been heard while we listened."""
        return self._tracker.processes.silent_ns(process, now_ns)

    @property
    def is_blind(self) -> bool:
        """So many workers are silent that we doubt ourselves."""
        return self._tracker.processes.blind

    # --- what was learned -----------------------------------------------------------------------------------------

    def learned(
        self, *, service: str | None = None, job_name: str | None = None
    ) -> Iterator[tuple[LearnedKey, LearnedRow]]:
        """Yield what was learned of a service, of a job, or all."""
        return self._tracker.learner.matching(service=service, job_name=job_name)

    @property
    def learned_keys(self) -> int:
        """By how many keys something was learned."""
        return len(self._tracker.learner.rows)

    @property
    def learned_refused(self) -> int:
        """Runs that were not learned from, because there are too many keys."""
        return self._tracker.learner.refused

    # --- what it takes --------------------------------------------------------------------------------------------

    @property
    def open_spans(self) -> int:
        """How many spans are open."""
        return len(self._tracker.spans)

    @property
    def span_limit(self) -> int:
        """How many may be."""
        return self._tracker.limits.max_open_spans

    @property
    def evidence_bytes(self) -> int:
        """How much is kept of what was seen of threads."""
        return self._tracker.evidence_bytes

    @property
    def verdict_age_s(self) -> float:
        """For how long verdicts have not been brought up to date."""
        return max(0, self.clock() - self.facts.judged_ns) / 1e9
