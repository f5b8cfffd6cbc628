"""The verdict on a job: a pure function of what is known, the policy and the time. Never stored, so replayable."""

from __future__ import annotations

import msgspec

from .model import Basis, Kind, Severity, State
from .policy import Allowed, Policy
from .track import JobRow, Silence, SpanRow

_SECOND = 1_000_000_000
_MIN_WINDOW_NS = 30 * _SECOND
_WINDOW_INTERVALS = 3
_NEWS_INTERVALS = 2
_PEER_SILENT_NS = 300 * _SECOND
"""A call without timeout whose thread has not moved for so long proves itself."""
_DEFAULT_INTERVAL_NS = 15 * _SECOND


class Leaf(msgspec.Struct, frozen=True, gc=False):
    """An open span without an open child, against what it is allowed."""

    span: SpanRow
    age_ns: int
    allowance: Allowed
    own: bool
    """The allowance is the span's own; False: its job's."""

    @property
    def late(self) -> bool:
        """Whether it is open for longer than it may, by an allowance of its own."""
        return self.own and self.age_ns > self.allowance.allowed_ns


class Verdict(msgspec.Struct, frozen=True):
    """What a job is, by what measure, and where it is."""

    state: State
    allowance: Allowed
    """What decided: the last span's, or the job's."""
    late: bool
    """Something is open for longer than it may."""
    last: Leaf
    """The last span: where the job is, or where it stopped."""
    severity: Severity | None
    due_ns: int | None
    """When the verdict may change by the passing of time; None: it will not."""


def judge(job: JobRow, policy: Policy, now_ns: int) -> Verdict:
    """Return the verdict on *job* at *now_ns*."""
    end, span, process = job.end, job.span, job.span.process
    if end is not None:
        now_ns = min(now_ns, end.at_ns)
    allowance = policy.job(job.type, span.name, span.expected_ns, span.call)
    itself = Leaf(span, max(0, now_ns - span.start_ns), allowance, True)
    leaves = _leaves(job, policy, allowance, now_ns) if job.inside is not None else ()
    last = itself if not leaves else leaves[0] if len(leaves) == 1 else max(leaves, key=lambda leaf: _rank(job, leaf))
    job_late = itself.late
    leaf_late = last is not itself and last.late
    moving_until_ns = _moving_until(job, allowance.allowed_ns) if job_late else None
    if end is not None:
        state = State.ENDED
    elif process is not None and process.silence is not Silence.NONE:
        state = State.FROZEN if process.silence is Silence.FROZEN else State.LOST
    elif leaf_late or (moving_until_ns is not None and now_ns >= moving_until_ns):
        state = State.STUCK
    else:
        state = State.OVERDUE if job_late else State.RUNNING
    deciding = last.allowance if leaf_late else allowance
    late = leaf_late or job_late
    due_ns = _due(now_ns, (*leaves, itself), moving_until_ns)
    return Verdict(state, deciding, late, last, _severity(state, deciding, late, last), due_ns)


def _leaves(job: JobRow, policy: Policy, of_job: Allowed, now_ns: int) -> list[Leaf]:
    spans = list(job.members())
    if len(spans) > 1:
        parents = {span.parent_id for span in spans}
        spans = [span for span in spans if span.key[16:] not in parents]
    return [_leaf(span, job, policy, of_job, now_ns) for span in spans]


def _leaf(span: SpanRow, job: JobRow, policy: Policy, of_job: Allowed, now_ns: int) -> Leaf:
    type = job.type if span.job is None else span.job.type
    own = policy.allowed(type, span.name, span.policy_kind, span.expected_ns, span.call)
    return Leaf(span, max(0, now_ns - span.start_ns), own or of_job, own is not None)


def _rank(job: JobRow, leaf: Leaf) -> tuple[float, int, int]:
    """Most beyond its allowance first; ties: the deepest, then the oldest."""
    return leaf.age_ns / max(1, leaf.allowance.allowed_ns), _depth(job, leaf.span), leaf.age_ns


def _depth(job: JobRow, span: SpanRow) -> int:
    if not isinstance(job.inside, dict):
        return 0
    depth, parent_id = 0, span.parent_id
    while parent_id is not None and depth < 64:
        parent = job.inside.get(span.key[:16] + parent_id)
        if parent is None:
            break
        depth, parent_id = depth + 1, parent.parent_id
    return depth


def _moving_until(job: JobRow, allowed_ns: int) -> int:
    """Return when the last movement stops to count: a window behind it. A job that never told of any does not move."""
    if job.moved_ns is None:
        return -(1 << 62)
    interval_ns = job.span.process.interval_ns if job.span.process is not None else _DEFAULT_INTERVAL_NS
    window_ns = min(max(_WINDOW_INTERVALS * interval_ns, _MIN_WINDOW_NS), allowed_ns)
    if job.moved_ns - job.span.start_ns > _SECOND:  # it has moved before: the news of more takes a report to come
        window_ns = max(window_ns, _NEWS_INTERVALS * interval_ns)
    return job.moved_ns + window_ns


def _severity(state: State, allowance: Allowed, late: bool, last: Leaf) -> Severity | None:
    if state in (State.RUNNING, State.ENDED):
        return None
    if state is State.LOST:
        return Severity.PAGE
    if state is State.OVERDUE:
        return Severity.WARNING
    if late and (allowance.basis is not Basis.DEFAULT or _proves_itself(last)):
        return Severity.PAGE
    return Severity.WARNING


def _proves_itself(last: Leaf) -> bool:
    evidence = last.span.evidence
    stood_ns = last.age_ns
    if evidence is not None and evidence.stack_age_ns is not None:
        stood_ns = min(stood_ns, evidence.stack_age_ns)
    # A database that computes is silent by nature.
    call = last.span.call
    return call.unbounded and call.kind is Kind.HTTP and stood_ns >= _PEER_SILENT_NS


def _due(now_ns: int, leaves: tuple[Leaf, ...], moving_until_ns: int | None) -> int | None:
    due_ns = None
    for leaf in leaves:
        start_ns = leaf.span.start_ns
        due_ns = _earlier(due_ns, start_ns + leaf.allowance.allowed_ns, now_ns)
        if leaf.span.call.unbounded and leaf.span.call.kind is Kind.HTTP:
            due_ns = _earlier(due_ns, start_ns + _PEER_SILENT_NS, now_ns)
    return due_ns if moving_until_ns is None else _earlier(due_ns, moving_until_ns, now_ns)


def _earlier(due_ns: int | None, at_ns: int, now_ns: int) -> int | None:
    """Return the earlier of two times that are not past."""
    return at_ns if at_ns >= now_ns and (due_ns is None or at_ns < due_ns) else due_ns
