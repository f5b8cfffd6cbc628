"""The verdict on a job: a pure function of what is known, the policy and the time. Never stored, so replayable."""

from __future__ import annotations

import msgspec

from lastspan.semconv.peers import template

from ..model.records import SUSPECT, Basis, Kind, Severity, State
from ..track import JobRow, Silence, SpanRow
from .policy import Allowed, Policy

_SECOND = 1_000_000_000
_MIN_WINDOW_NS = 30 * _SECOND
_WINDOW_INTERVALS = 3
_NEWS_INTERVALS = 2
_PEER_SILENT_NS = 300 * _SECOND
"""A call without timeout whose thread has not moved for so long proves itself."""
_DEFAULT_INTERVAL_NS = 15 * _SECOND
_NESTED_MAX = 8
"""Jobs inside of jobs that are followed."""
_AT = " @ "
_NEVER = -(1 << 62)
_STRENGTH = {basis: place for place, basis in enumerate(Basis)}
"""The strongest basis has the least."""


class Leaf(msgspec.Struct, frozen=True, gc=False):
    """An open span, against what it is allowed."""

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
    decides: Leaf
    """Of all that is open for longer than it may, that by the strongest basis; the job itself if nothing is."""
    itself: Leaf
    """The job's own span."""
    last: Leaf
    """The last span: where the job is, or where it stopped."""
    severity: Severity | None
    due_ns: int | None
    """When the verdict may change by the passing of time; None: it will not."""
    is_held: bool = False
    """It was stuck, and what has been seen since may be the same loop or wait."""
    is_told_by_inner: bool = False
    """It pages, or a job inside of it does: those around it need not."""

    @property
    def allowance(self) -> Allowed:
        """What decided."""
        return self.decides.allowance


def judge(job: JobRow, policy: Policy, now_ns: int, depth: int = 0) -> Verdict:
    """Return the verdict on *job* at *now_ns*; *depth*: of jobs inside of jobs."""
    end, process = job.end, job.span.process
    if end is not None:
        now_ns = min(now_ns, end.at_ns)
    itself = _itself(job, policy, now_ns)
    spans = [_leaf(one, job, policy, itself.allowance, now_ns) for one in job.members()] if job.inside else []
    last = _last(job, spans) or itself
    inner = _inner(job, last, policy, now_ns, depth)
    exceeded = [leaf for leaf in (last, itself, *spans) if leaf.late]
    moving_until_ns = _moving_until(job, last, itself.allowance.allowed_ns) if itself.late else None
    if end is not None:
        state = State.ENDED
    elif process is not None and process.silence is not Silence.NONE:
        state = State.FROZEN if process.silence is Silence.FROZEN else State.LOST
    elif _has_stopped(last, itself, inner) or (moving_until_ns is not None and now_ns >= moving_until_ns):
        state = State.STUCK
    else:
        state = State.OVERDUE if itself.late else State.RUNNING
    is_held = _is_held(job, state, itself, last, spans)
    state = State.STUCK if is_held else state
    strongest = min(exceeded, key=lambda leaf: _STRENGTH[leaf.allowance.basis], default=itself)
    severity = _severity(state, strongest, last)
    told_inside = inner is not None and inner.is_told_by_inner
    if severity is Severity.PAGE and (told_inside or is_told_around(job)):
        severity = Severity.WARNING  # of jobs inside of each other one pages: the inner one, if none did before
    is_told = severity is Severity.PAGE or told_inside or _is_a_page(job)
    due_ns = _due(now_ns, (*spans, itself), moving_until_ns)
    if inner is not None and inner.due_ns is not None:
        due_ns = _earlier(due_ns, inner.due_ns, now_ns)
    return Verdict(state, strongest, itself, last, severity, due_ns, is_held, is_told)


def _itself(job: JobRow, policy: Policy, now_ns: int) -> Leaf:
    span = job.span
    allowance = policy.job(job.type, span.name, span.expected_ns, span.call)
    return Leaf(span, max(0, now_ns - span.start_ns), allowance, True)


def _leaf(span: SpanRow, job: JobRow, policy: Policy, of_job: Allowed, now_ns: int) -> Leaf:
    type = job.type if span.job is None else span.job.type
    own = policy.allowed(type, span.name, span.policy_kind, span.expected_ns, span.call)
    return Leaf(span, max(0, now_ns - span.start_ns), own or of_job, own is not None)


def _last(job: JobRow, spans: list[Leaf]) -> Leaf | None:
    """Return the leaf that is most beyond its allowance."""
    if len(spans) > 1:
        parents = {one.span.parent_id for one in spans}
        spans = [one for one in spans if one.span.span_id not in parents] or spans
        return max(spans, key=lambda leaf: _rank(job, leaf))
    return spans[0] if spans else None


def _inner(job: JobRow, last: Leaf, policy: Policy, now_ns: int, depth: int) -> Verdict | None:
    """Return the verdict on the job inside of which this one is; None: it is in none."""
    inner = inside(job, last)
    return None if inner is None or depth >= _NESTED_MAX else judge(inner, policy, now_ns, depth + 1)


def inside(job: JobRow, last: Leaf) -> JobRow | None:
    """Return the job that runs inside of *job*, and in which that one is."""
    inner = last.span.job
    return inner if inner is not None and inner is not job and inner.span is last.span and inner.end is None else None


def is_told_around(job: JobRow) -> bool:
    """Whether a job pages already because it is in this one, or in one around this one."""
    for _ in range(_NESTED_MAX):
        outer = job.outer
        if outer is None:
            break
        if outer.suspect_state is not None and outer.suspect_state.span == job.span.key and _is_a_page(outer):
            return True
        job = outer
    return False


def _is_a_page(job: JobRow) -> bool:
    return job.suspect_state is not None and job.suspect_state.severity is Severity.PAGE


def _has_stopped(last: Leaf, itself: Leaf, inner: Verdict | None) -> bool:
    """Whether the last span is open for longer than it may; a job inside may have moved meanwhile."""
    return last is not itself and last.late and (inner is None or inner.state in SUSPECT)


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


def _moving_until(job: JobRow, last: Leaf, allowed_ns: int) -> int:
    """Return when the last movement stops to count: a window behind it. A job that never reported any is not active."""
    inner = inside(job, last)  # what moves in it moves it
    moved = [one.moved_ns for one in (job, inner) if one is not None and one.moved_ns is not None]
    return max(moved) + window(job, allowed_ns) if moved else _NEVER


def window(job: JobRow, allowed_ns: int) -> int:
    """Return for how long a movement counts."""
    interval_ns = job.span.process.interval_ns if job.span.process is not None else _DEFAULT_INTERVAL_NS
    window_ns = min(max(_WINDOW_INTERVALS * interval_ns, _MIN_WINDOW_NS), allowed_ns)
    # Where it has moved before, the news of more takes a report to come.
    if job.moved_ns is not None and job.moved_ns - job.span.start_ns > _SECOND:
        window_ns = max(window_ns, _NEWS_INTERVALS * interval_ns)
    return window_ns


def _is_held(job: JobRow, state: State, itself: Leaf, last: Leaf, spans: list[Leaf]) -> bool:
    """Whether a job that was stuck still is: a loop, or a wait in turns, may look like movement for a while.

    It is taken back by what cannot be the same loop or wait: `progress()` rose; the last span closed, and one of
    another name or code line began; or the job has moved for so long that a loop would have repeated itself.
    """
    suspect_state = job.suspect_state
    if state not in (State.RUNNING, State.OVERDUE) or suspect_state is None or not suspect_state.was_stuck:
        return False
    if job.progress is not None and job.progress.done > suspect_state.done:
        return False
    stands = next((one for one in (itself, *spans) if one.span.key == suspect_state.span), None)
    if state is State.RUNNING:  # nothing is late: it is what it was found late by that has changed, or what is known
        return stands is not None and stands.span is last.span and _is_by_default(stands)
    is_new = last is not itself and last.span.start_ns > suspect_state.since_ns
    if is_new and is_elsewhere(job.stuck_at, place(last)):
        return False
    return suspect_state.moving_ns is None or (job.moved_ns or 0) - suspect_state.moving_ns < _sure_ns(job, itself)


def _is_by_default(leaf: Leaf) -> bool:
    return not leaf.own or leaf.allowance.basis is Basis.DEFAULT


def _sure_ns(job: JobRow, itself: Leaf) -> int:
    return max(_MIN_WINDOW_NS, window(job, itself.allowance.allowed_ns))


def place(leaf: Leaf) -> str:
    """Return the name of a span and its code line: where a job is, whatever the ids in it."""
    evidence = leaf.span.evidence
    line = "" if evidence is None or not evidence.file else f"{evidence.file}:{evidence.line}"
    return f"{template(leaf.span.name)}{_AT}{line}"


def is_elsewhere(known: tuple[str, ...], where: str) -> bool:
    """Whether a place is none of those that are known; one whose code line is not known may be any of its name."""
    name, _, line = where.partition(_AT)
    lines = [other.partition(_AT)[2] for other in known if other.startswith(name + _AT)]
    return not lines or (bool(line) and "" not in lines and line not in lines)


def _severity(state: State, strongest: Leaf, last: Leaf) -> Severity | None:
    if state in (State.RUNNING, State.ENDED):
        return None
    if state is State.LOST:
        return Severity.PAGE
    if state is State.OVERDUE:
        return Severity.WARNING
    if strongest.late and (strongest.allowance.basis is not Basis.DEFAULT or _proves_itself(last)):
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
