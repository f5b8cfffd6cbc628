"""What the API answers with. Every field is always there; null: not known."""

from __future__ import annotations

from typing import Any

import msgspec

from lastspan.semconv.vocabulary import CauseName, Certainty, Outcome

from ..judge.cause import Brief
from ..judge.lint import Finding
from ..model.evidence import WaitedProcess
from ..model.records import Basis, Kind, Severity, State


class LastSpan(msgspec.Struct):
    """Where the job is, or where it stopped."""

    name: str
    kind: Kind
    """What it does, as far as policies care."""
    age_s: float
    allowed_s: float
    basis: str
    basis_rule: str
    attributes: dict[str, Any]
    span_id: str


class Code(msgspec.Struct):
    """The code line where the thread stands."""

    function: str | None
    file: str | None
    line: int | None
    lines: str | None
    """Of a loop that repeats, as 97-109."""
    first_line: int | None
    last_line: int | None


class Progress(msgspec.Struct):
    """What `progress()` last said."""

    done: float
    total: float | None
    ratio: float | None
    message: str | None


class Wait(msgspec.Struct):
    """What the thread or task waits for."""

    kind: str | None
    call: str | None
    peer: str | None
    local: str | None
    idle_s: float | None
    timeout_s: float | None
    unbounded: bool
    job_id: str | None
    target: str | None
    """The thread, task, process, queue … by name."""
    session: str | None
    syscall: str | None
    purpose: str | None
    """broker, result_backend, tls_handshake or notification, where the kind does not say it."""
    job_ids: tuple[str, ...]
    """Of several jobs that it waits for: the first few that have not ended."""
    processes: tuple[WaitedProcess, ...]


class Step(msgspec.Struct):
    """What is waited for, and who has it."""

    kind: str | None
    peer: str | None
    lock: str | None
    """The lock, queue, thread … by name."""
    holder_job_id: str | None
    holder_job_key: str | None
    holder_job_name: str | None
    holder_thread: str | None
    holder_pid: int | None
    holder_code: str | None
    holder_state: str | None
    """Of the job, else of the database session that has it."""
    since_s: float
    certainty: Certainty


class BlockedBy(Step):
    """The first step, and all of them to the one that everybody waits for."""

    chain: list[Step]
    is_circle: bool
    """The last one waits for this job: a deadlock."""


class OpenSpan(msgspec.Struct):
    """One open span of the job, its own included."""

    span_id: str
    parent_id: str | None
    name: str
    kind: str
    age_s: float
    attributes: dict[str, Any]
    is_job: bool
    is_last: bool


class Other(msgspec.Struct):
    """Another attempt of the same job."""

    job_key: str
    attempt: int | None
    state: str
    outcome: str | None
    host: str | None
    pid: int | None


class JobView(msgspec.Struct):
    """One job."""

    job_key: str
    job_id: str
    job_name: str
    service: str | None
    environment: str | None
    host: str | None
    pod: str | None
    namespace: str | None
    pid: int | None
    instance_id: str | None
    service_version: str | None
    queue: str | None
    system: str | None
    attempt: int | None
    max_attempts: int | None
    state: State
    outcome: Outcome | None
    reason: str | None
    exit_signal: int | None
    exit_code: int | None
    severity: Severity | None
    basis: Basis
    basis_rule: str
    cause: CauseName | None
    cause_text: str | None
    advice: str | None
    brief: Brief | None
    """Cause and advice as labels and pages have them: without what changes by itself."""
    confidence: float | None
    incident: str | None
    started_at: str
    moved_at: str
    """When it last did something new; else when it started."""
    age_s: float
    allowed_s: float
    """By `basis`: the strongest of all that is exceeded; the job's if nothing is."""
    measured_s: float
    """For how long that has been open to which `allowed_s` applies."""
    job_allowed_s: float
    job_basis: str
    job_basis_rule: str
    timeout_s: float | None
    silent_s: float | None
    heartbeat_age_s: float | None
    movement_age_s: float | None
    progress: Progress | None
    cpu_ratio: float | None
    runqueue_ratio: float | None
    thread_state: str | None
    trace_id: str | None
    span_id: str | None
    last_span: LastSpan
    code: Code | None
    stack: list[str]
    stack_unseen: str | None
    unseen: str | None
    """What could not be looked at, and why."""
    thread: str | None
    wait: Wait | None
    holds: list[str]
    open_spans: list[OpenSpan]
    blocked_by: BlockedBy | None
    lint: list[Finding]
    others: list[Other]


class JobList(msgspec.Struct):
    """An answer of `/api/v1/jobs`."""

    jobs: list[JobView]
    truncated: bool
    """There are more than were asked for."""
    counts: dict[str, int]
    """All open jobs by state, whatever the filter."""
    now: str
