"""Joins the pure stages: bytes in, verdicts out. Nothing here reads a socket or a file.

    receive ──bytes──▶ decode ──signals──▶ track ──jobs that are due──▶ judge ──verdicts──▶ counts, suspects ──▶ publish

Owned by the event loop's thread; nothing is locked. `accept_*` is called for each request, `tick` a few times a second.
A tick only means "check now": an early, late or repeated tick is harmless.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from lastspan.semconv import duration
from lastspan.semconv.vocabulary import WaitKind

from ..decode import otlp_json
from ..decode.decoder import Batch, Decoder
from ..decode.senders import Senders
from ..judge.blockers import chain
from ..judge.cause import GONE, Explanation, explain, incident, is_guess, raise_severity
from ..judge.context import JudgeContext, evidence_of, server_of
from ..judge.lint import Lint, is_unbounded
from ..judge.policy import Policy
from ..judge.verdict import Verdict, is_elsewhere, judge, place
from ..model.facts import CollectorFacts
from ..model.records import (
    SUSPECT,
    CallSeen,
    DatabaseSession,
    DatabaseWait,
    Kind,
    Severity,
    Signal,
    SpanFinished,
    State,
)
from ..publish.view import View
from ..receive.sink import AcceptResult
from ..track import (
    JobRow,
    Limits,
    ProcessRow,
    Saved,
    SavedLearned,
    SavedProcessEnd,
    SavedReset,
    SavedSilence,
    SuspectState,
    Tracker,
    replay,
    saved_verdict,
)
from ..track.databases import DatabaseFacts
from ..track.learn import LearnedKey

logger = logging.getLogger(__name__)

Clock = Callable[[], int]
"""Nanoseconds; monotonic."""
Memory = Callable[[Sequence[Signal | Saved]], None]
"""Takes what was observed or concluded just now."""

SLICE = 100
"""Judgements between two returns to the event loop: two milliseconds if all are of suspects."""
TICK_NS = 250_000_000
_STALL_NS = 4 * TICK_NS
_NAMED_NS = 10_000_000_000
"""A call is announced 5 s after its start, a second look and a probe take a moment: then it is plain what it is."""
_STUCK_AT_MAX = 8
"""Places where a job was found stuck that are remembered."""
_PROBED = 2000
"""Suspects that a probe is asked to look for."""
_DATABASE = frozenset({WaitKind.DB, WaitKind.DB_LOCK})
_LOGGED_MAX = 20
"""Changes of verdict that one tick logs; more are counted."""


class Pipeline:
    """The collector without its sockets."""

    def __init__(
        self,
        *,
        limits: Limits,
        policy: Policy,
        clock: Clock = time.monotonic_ns,
        stopwatch: Clock = time.perf_counter_ns,
    ) -> None:
        self.clock = clock
        self._policy = policy
        self.tracker = Tracker(limits, policy.learner)
        self.databases = DatabaseFacts()
        self._lint = Lint(policy)
        self.facts = CollectorFacts(judged_ns=clock())
        self._speakers = Senders()
        self.view = View(
            self.tracker,
            policy=policy,
            lint=self._lint,
            facts=self.facts,
            speakers=self._speakers,
            clock=clock,
            context=self.context,
            look=self.assess,
        )
        self.memory: Memory | None = None
        """Called with everything that changes the state; None: the state is not saved."""
        self._decoder = Decoder()
        self._stopwatch = stopwatch
        self._ticked_ns: int | None = None
        self._ignored_said = False
        self._changes = 0

    # --- receive ------------------------------------------------------------------------------------------------

    def accept_logs(self, body: bytes, *, transport: str, json: bool = False) -> AcceptResult:
        """Take in a logs request. RequestError: the sender must not send it again."""
        return self._take(self._decoder.logs(otlp_json.logs(body) if json else body), transport)

    def accept_traces(self, body: bytes, *, transport: str, json: bool = False) -> AcceptResult:
        """Take in a traces request: finished spans close what is open."""
        return self._take(self._decoder.traces(otlp_json.traces(body) if json else body), transport)

    def accept_metrics(self, body: bytes, *, transport: str, json: bool = False) -> AcceptResult:
        """Take in a metrics request: nothing in it is for us, but who sends all signals to one place gets success."""
        return self._take(self._decoder.metrics(otlp_json.metrics(body) if json else body), transport)

    def refuse(self, transport: str, reason: str) -> None:
        """Count a request that was not taken in."""
        self.facts.dropped[transport, reason] += 1

    def _take(self, batch: Batch, transport: str) -> AcceptResult:
        now_ns, tracker, observed = self.clock(), self.tracker, []
        for signal in batch.signals:
            if isinstance(signal, CallSeen):
                self._lint.take(signal, now_ns)
            elif type(signal) is SpanFinished and not tracker.is_wanted(signal):
                continue
            reason = tracker.observe(signal, now_ns)
            if reason is None:
                observed.append(signal)
            else:
                batch.rejected[reason] += 1
                batch.problem = batch.problem or f"no room ({reason}): {len(tracker.spans)} spans are open"
        if self.memory is not None and observed:
            self.memory(observed)
        self._speakers.add(batch.senders)
        for record, count in batch.received.items():
            self.facts.received[transport, record] += count
        for reason, count in batch.rejected.items():
            self.facts.dropped[transport, reason] += count
        if batch.received["ignored"] and not self._ignored_said:
            self._ignored_said = True
            logger.info(
                "some records received over %s are not for lastspan: they are accepted, counted and ignored", transport
            )
        return AcceptResult(sum(batch.rejected.values()), batch.problem)

    # --- what was learned ---------------------------------------------------------------------------------------

    def put_learned(self, entries: Sequence[SavedLearned]) -> int:
        """Take in what was learned elsewhere; return how many keys are known now."""
        now_ns = self.clock()
        for saved in entries:
            replay(self.tracker, saved, now_ns)
        if self.memory is not None:
            self.memory(entries)
        rows = self.tracker.learner.rows
        return sum(saved.key in rows for saved in entries)

    def forget_learned(self, keys: Sequence[LearnedKey]) -> int:
        """Forget what was learned by these keys; return how many were known."""
        if self.memory is not None:
            self.memory([SavedReset(tuple(keys))])
        return self.tracker.learner.forget(keys)

    # --- probes -------------------------------------------------------------------------------------------------

    def late_database_waits(self) -> list[DatabaseWait]:
        """Return the late spans that wait for a database: a probe need not look while there are none.

        Of the suspects, and of those that suspects wait for: these need not be late themselves.
        """
        context = self.context()
        suspects = context.suspects(_PROBED)
        holders = (step.job for job in suspects for step in chain(job, context)[0] if step.job is not None)
        waits = (_database_wait(job, context.verdict(job)) for job in (*suspects, *holders))
        return list(dict.fromkeys(wait for wait in waits if wait is not None))

    def database_facts(self, server: str, sessions: list[DatabaseSession]) -> None:
        """Take what a probe saw at a database server: all sessions that wait for a lock or hold what others want."""
        self.databases.take(server, sessions, self.clock())
        for job in self.context().suspects(_PROBED):
            self.tracker.touch(job)

    # --- judge --------------------------------------------------------------------------------------------------

    def tick(self) -> Iterator[None]:
        """Judge what is due. Yields after each slice, so that the receiver can go on."""
        now_ns, started = self.clock(), self._stopwatch()
        longest = 0
        if self._ticked_ns is not None and now_ns - self._ticked_ns > _STALL_NS:
            self.tracker.processes.note_stall(now_ns - self._ticked_ns, now_ns)
        self._ticked_ns = now_ns
        for done, _ in enumerate(self._work(now_ns), start=1):
            if done % SLICE == 0:
                longest = max(longest, self._stopwatch() - started)
                yield
                started = self._stopwatch()
        self.tracker.forget(now_ns)
        if self._changes > _LOGGED_MAX:
            logger.warning("%d more jobs changed their state", self._changes - _LOGGED_MAX)
        self._changes = 0
        self.facts.longest_stop_ns = max(longest, self._stopwatch() - started)
        self.facts.judged_ns = now_ns

    def context(self) -> JudgeContext:
        """Return what may be asked about jobs other than the one at hand, now."""
        return JudgeContext(self.tracker, self.databases, self._policy, self.clock())

    def assess(self, job: JobRow, context: JudgeContext) -> tuple[Verdict, Explanation | None]:
        """Return the verdict on a job and its cause, and update the counts to match."""
        verdict = self._judge(job, context)
        if verdict.state is State.RUNNING or (job.end is not None and job.end.outcome not in GONE):
            return verdict, None
        cause = explain(job, verdict, context)
        return raise_severity(job, verdict, cause), cause

    def _work(self, now_ns: int) -> Iterator[None]:
        tracker, context = self.tracker, JudgeContext(self.tracker, self.databases, self._policy, now_ns)
        self.databases.forget(now_ns)
        for process in tracker.processes.wheel.pop(now_ns):
            tracker.processes.check_silence(process, now_ns)
            yield
        changed, tracker.processes.changed = tracker.processes.changed, []
        for process in changed:
            self._check_process(process, now_ns)
            yield
        touched = tracker.take_touched()
        self.facts.backlog = len(touched)
        for job in touched:
            job.dirty = False
            self._judge(job, context)
            yield
        for job in tracker.wheel.pop(now_ns):
            self._judge(job, context)
            yield

    def _check_process(self, process: ProcessRow, now_ns: int) -> None:
        silence, outcome = process.silence, self.tracker.check_process(process, now_ns)
        if self.memory is not None:
            self.memory([SavedSilence(process.id, silence)])
            if outcome is not None:
                self.memory([SavedProcessEnd(process.id, outcome)])

    def _judge(self, job: JobRow, context: JudgeContext) -> Verdict:
        now_ns = context.now_ns
        verdict = judge(job, self._policy, now_ns)
        if job.end is not None:
            return verdict
        if verdict.state in SUSPECT or job.suspect_state is not None or verdict.state is not job.state:
            self._apply_verdict(job, verdict, context)
        due_ns = verdict.due_ns if verdict.due_ns is not None else 1 << 62
        if job.suspect_state is not None and not job.suspect_state.incident:
            due_ns = min(due_ns, _named_at(job, job.suspect_state.since_ns))
        self.tracker.wheel.arm(job, due_ns, now_ns)
        return verdict

    def _apply_verdict(self, job: JobRow, verdict: Verdict, context: JudgeContext) -> None:
        before, old = job.state, job.suspect_state
        suspect_state = self._suspect_state(job, verdict, context) if verdict.state in SUSPECT else None
        is_new = suspect_state is not None and bool(suspect_state.incident) and (old is None or not old.incident)
        is_changed = before is not verdict.state or suspect_state is not old
        for where in _places_left(verdict, old, suspect_state):
            if is_elsewhere(job.stuck_at, where):
                job.stuck_at, is_changed = (*job.stuck_at, where)[-_STUCK_AT_MAX:], True
        self.tracker.apply_verdict(job, verdict.state, suspect_state)
        if _pages(old) is not _pages(suspect_state):
            self._touch_nested(job, old)
        if is_new and suspect_state is not None:
            self.tracker.counts.of_job(job).stuck_total[suspect_state.cause] += 1
        if is_changed and self.memory is not None:
            self.memory([saved_verdict(job, context.now_ns, counted=is_new)])
        if before is verdict.state:
            return
        self._changes += 1
        if self._changes <= _LOGGED_MAX:
            _log_change(job, verdict, before, suspect_state)

    def _touch_nested(self, job: JobRow, old: SuspectState | None) -> None:
        """Of jobs inside of each other one pages: if it does so no more, another one may have to."""
        inner = self.tracker.spans.get(old.span) if old is not None else None
        for other in (job.outer, None if inner is None else inner.job):
            if other is not None and other is not job:
                self.tracker.touch(other)

    def _suspect_state(self, job: JobRow, verdict: Verdict, context: JudgeContext) -> SuspectState:
        cause, old = explain(job, verdict, context), job.suspect_state
        severity = raise_severity(job, verdict, cause).severity
        assert severity is not None  # a suspect has one
        since_ns = context.now_ns if old is None else old.since_ns
        was_stuck = verdict.state is State.STUCK or (old is not None and old.was_stuck)
        last = verdict.last
        new = SuspectState("", cause.name, last.span.name, severity, since_ns, was_stuck, last.span.key, place(last))
        new.incident = _name_incident(job, verdict, cause, old, context.now_ns)
        if job.progress is not None:
            new.done = job.progress.done if old is None else old.done
        if verdict.is_held:
            new.moving_ns = job.moved_ns if old is None or old.moving_ns is None else old.moving_ns
        self._note_lint(job, verdict, context)
        return old if old is not None and _same(old, new) else new

    def _note_lint(self, job: JobRow, verdict: Verdict, context: JudgeContext) -> None:
        """A call without timeout that is late is a finding, also when the job will have ended."""
        span, evidence = verdict.last.span, evidence_of(job, verdict.last)
        if is_unbounded(evidence, span.call.unbounded):
            self._lint.take_late(job, span.name, evidence, server_of(span, evidence), context.now_ns)


def _database_wait(job: JobRow, verdict: Verdict) -> DatabaseWait | None:
    span = verdict.last.span
    evidence = evidence_of(job, verdict.last)
    wait = evidence.wait
    if span.call.kind is not Kind.DB and (wait is None or (wait.session is None and wait.kind not in _DATABASE)):
        return None
    session, local = (wait.session or "", wait.local or "") if wait is not None else ("", "")
    return DatabaseWait(server_of(span, evidence), session, local)


def _log_change(job: JobRow, verdict: Verdict, before: State, suspect_state: SuspectState | None) -> None:
    last = verdict.last
    logger.log(
        logging.INFO if suspect_state is None else logging.WARNING,
        "job %s %s: %s → %s at %s, open for %s (%s)",
        job.type.name,
        job.job_id,
        before.value,
        verdict.state.value,
        last.span.name,
        duration.render(last.age_ns / 1e9),
        "fine" if suspect_state is None else suspect_state.cause,
    )


def _name_incident(job: JobRow, verdict: Verdict, cause: Explanation, old: SuspectState | None, now_ns: int) -> str:
    """Return the incident of a suspect; empty: what is in the way is not plain yet, and may soon be.

    Alerts are known by it, so it stays, but for the loss of the process: that is another incident.
    """
    is_lost = verdict.state is State.LOST
    if old is not None and old.incident and is_lost is (job.state is State.LOST):
        return old.incident
    if is_guess(cause) and not is_lost and now_ns < _named_at(job, now_ns if old is None else old.since_ns):
        return ""
    return incident(job, cause)


def _pages(suspect_state: SuspectState | None) -> bool:
    return suspect_state is not None and suspect_state.severity is Severity.PAGE


def _places_left(verdict: Verdict, old: SuspectState | None, suspect_state: SuspectState | None) -> Iterator[str]:
    """Yield the places to which a job may come back without having gone on: where it was found, and has been since."""
    if suspect_state is None:
        return
    if old is not None and old.span != suspect_state.span:
        yield old.where
    if old is None or verdict.last.span.start_ns <= suspect_state.since_ns:
        yield suspect_state.where


def _named_at(job: JobRow, since_ns: int) -> int:
    """Return when an incident is named, whatever is known by then."""
    process = job.span.process
    return since_ns + (_NAMED_NS if process is None else min(_NAMED_NS, 2 * process.interval_ns))


def _same(one: SuspectState, other: SuspectState) -> bool:
    return msgspec.structs.astuple(one) == msgspec.structs.astuple(other)
