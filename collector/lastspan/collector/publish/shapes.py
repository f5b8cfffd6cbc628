"""What the API answers with. Every field is always there; null: not known."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Annotated, Any, TypeAlias

import msgspec

from lastspan.semconv.vocabulary import Outcome, WaitPurpose

from ..judge.cause import Brief
from ..judge.lint import Finding
from ..model.records import Basis, Kind, Severity, State


def _one_of(words: Iterable[str | Enum]) -> msgspec.Meta:
    """Say in the API's description which words there are."""
    return msgspec.Meta(extra_json_schema={"enum": [getattr(word, "value", word) for word in words]})


StateWord: TypeAlias = Annotated[str, _one_of(State)]
OutcomeWord: TypeAlias = Annotated[str, _one_of(Outcome)]
SeverityWord: TypeAlias = Annotated[str, _one_of(Severity)]
BasisWord: TypeAlias = Annotated[str, _one_of(Basis)]
KindWord: TypeAlias = Annotated[str, _one_of(Kind)]
TimeText: TypeAlias = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


class LastSpan(msgspec.Struct):
    """Where the job is, or where it stopped."""

    name: str
    """Its name."""
    kind: KindWord
    """What it does."""
    age_s: float
    """For how long it is open."""
    allowed_s: float
    """For how long it may be."""
    basis: BasisWord
    """Where that comes from."""
    basis_rule: str
    """Which rule decided, for people."""
    attributes: dict[str, Any]
    """Of the call, by their stable names: docs/semconv.md lists them."""
    span_id: str
    """16 hex digits."""


class CodeLocation(msgspec.Struct):
    """The current code line of the thread."""

    function: str | None
    """The innermost function of the application."""
    file: str | None
    """Its file."""
    line: int | None
    """The line where it stands."""
    lines: str | None
    """Of a loop that repeats, as 97-109."""
    first_line: int | None
    """The first of these."""
    last_line: int | None
    """The last of these."""


class ProgressView(msgspec.Struct):
    """What `progress()` last said."""

    done: float
    """So much is done …"""
    total: float | None
    """… of so much."""
    ratio: float | None
    """The share that is done, 0 … 1."""
    message: str | None
    """In the job's own words."""


class AwaitedProcess(msgspec.Struct):
    """A process that is waited for."""

    pid: int
    """Its number."""
    program: str | None
    """The name of its program, 15 letters of it."""
    state: str | None
    """The kernel's letter: R, S, D, T, Z or X (gone)."""


class WaitView(msgspec.Struct):
    """What the thread or task waits for."""

    kind: str | None
    """What for: docs/semconv.md lists the words."""
    call: str | None
    """The call that waits, as the library names it: Queue.get."""
    peer: str | None
    """host:port, pid or path that it waits for."""
    local: str | None
    """host:port of its own end of that connection."""
    idle_s: float | None
    """Since the peer last sent a byte."""
    timeout_s: float | None
    """The timeout that the wait was given."""
    unbounded: bool
    """The wait has no timeout."""
    job_id: str | None
    """The job whose end it waits for."""
    target: str | None
    """The thread, task, process, queue … by name."""
    session: str | None
    """The database session that waits: its id at the server."""
    syscall: str | None
    """The system call in which its thread is."""
    purpose: Annotated[str, _one_of(WaitPurpose)] | None
    """What the call is for, where its kind does not say it: docs/semconv.md lists the words."""
    job_ids: list[str]
    """Of several jobs that it waits for: the first few that have not ended."""
    processes: list[AwaitedProcess]
    """Those that it waits for."""


class BlockerView(msgspec.Struct):
    """What is waited for, and who has it."""

    kind: str | None
    """What for: docs/semconv.md lists the words."""
    peer: str | None
    """host:port, pid or path that is waited for."""
    lock: str | None
    """The lock, queue, thread … by name."""
    holder_job_id: str | None
    """The job that has it."""
    holder_job_key: str | None
    """Its key."""
    holder_job_name: str | None
    """Its name."""
    holder_thread: str | None
    """The thread, task or database session that has it."""
    holder_pid: int | None
    """The process that has it."""
    holder_code: str | None
    """Where the holder stands."""
    holder_state: str | None
    """Of the job, else of the database session that has it."""
    since_s: float
    """For how long it is waited for."""
    certainty: str
    """How sure it is that this one has it: certain, likely, nobody (it was leaked) or unknown."""


class BlockedBy(BlockerView):
    """The first step, and all of them to the one that everybody waits for."""

    chain: list[BlockerView]
    """All steps, this one first."""
    is_circle: bool
    """The last one waits for this job: a deadlock."""


class OpenSpan(msgspec.Struct):
    """One open span of the job, its own included."""

    span_id: str
    """16 hex digits."""
    parent_id: str | None
    """Of its parent; null: a root."""
    name: str
    """Its name."""
    kind: str
    """INTERNAL, SERVER, CLIENT, PRODUCER or CONSUMER."""
    age_s: float
    """For how long it is open."""
    attributes: dict[str, Any]
    """Of the call, by their stable names."""
    is_job: bool
    """It is a job's own span."""
    is_last: bool
    """It is the last span."""


class OtherAttempt(msgspec.Struct):
    """Another attempt of the same job."""

    job_key: str
    """Its key."""
    attempt: int | None
    """From 1."""
    state: StateWord
    """What it is."""
    outcome: OutcomeWord | None
    """How it ended."""
    host: str | None
    """Where it ran."""
    pid: int | None
    """In which process."""


class JobView(msgspec.Struct):
    """One job."""

    job_key: str
    """Trace id, `-`, span id: unique."""
    job_id: str
    """The queue's id; of plain code its span id."""
    job_name: str
    """The task's or function's name."""
    service: str | None
    """`service.name` of the worker."""
    environment: str | None
    """`deployment.environment.name` of the worker."""
    host: str | None
    """The machine."""
    pod: str | None
    """The Kubernetes pod."""
    namespace: str | None
    """Its namespace."""
    pid: int | None
    """The process."""
    instance_id: str | None
    """`service.instance.id` of the process."""
    service_version: str | None
    """What is deployed."""
    queue: str | None
    """The queue that gave it out."""
    system: str | None
    """celery, …; python for plain code."""
    attempt: int | None
    """From 1."""
    max_attempts: int | None
    """So many are made; null: without limit, or not known."""
    state: StateWord
    """What it is now."""
    outcome: OutcomeWord | None
    """How it ended; null: it has not."""
    reason: str | None
    """The outcome in the framework's words."""
    exit_signal: int | None
    """The signal that ended its process."""
    exit_code: int | None
    """The exit code of its process."""
    severity: SeverityWord | None
    """Whether to wake somebody; null: nobody need look."""
    basis: BasisWord
    """Where `allowed_s` comes from, strongest first."""
    basis_rule: str
    """Which rule decided, for people."""
    cause: str | None
    """Why it is so: docs/semconv.md lists the words."""
    cause_text: str | None
    """The same in a sentence or two, with what is known now."""
    advice: str | None
    """The first thing to do."""
    brief: Brief | None
    """Cause and advice as labels and pages have them: without what changes by itself."""
    confidence: float | None
    """0 … 1: how often the cause would be right if it were told each time; 0: not known."""
    incident: str | None
    """Jobs that have the same thing in the way share it; null: none, or not plain yet."""
    started_at: TimeText
    """By the collector's clock."""
    moved_at: TimeText
    """When it last did something new; else when it started."""
    age_s: float
    """For how long it is open, or was."""
    allowed_s: float
    """By `basis`: the strongest of all that is exceeded; the job's if nothing is."""
    measured_s: float
    """For how long that has been open to which `allowed_s` applies."""
    job_allowed_s: float
    """For how long the job as a whole may be open."""
    job_basis: BasisWord
    """Where that comes from."""
    job_basis_rule: str
    """Which rule decided, for people."""
    timeout_s: float | None
    """The limit that its framework enforces."""
    silent_s: float | None
    """For how long its process has not been heard while the collector listened."""
    heartbeat_age_s: float | None
    """Since its process was last heard."""
    movement_age_s: float | None
    """Since it last did something new."""
    progress: ProgressView | None
    """What it said of itself."""
    cpu_ratio: float | None
    """Of its thread: share of a core."""
    runqueue_ratio: float | None
    """Of its thread: share of the time in which it could have run and got no core."""
    thread_state: str | None
    """R, S, D, T … as the kernel says."""
    trace_id: str | None
    """32 hex digits."""
    span_id: str | None
    """16 hex digits."""
    last_span: LastSpan
    """Where the job is, or where it stopped."""
    code: CodeLocation | None
    """The code line there."""
    stack: list[str]
    """Its lines, innermost last."""
    stack_unseen: str | None
    """Why no stack could be seen."""
    unseen: str | None
    """What could not be looked at, and why."""
    thread: str | None
    """The name of its thread."""
    wait: WaitView | None
    """What it waits for there."""
    holds: list[str]
    """Keys of the locks that it holds."""
    open_spans: list[OpenSpan]
    """Its own span and what is open below it, 100 at most."""
    blocked_by: BlockedBy | None
    """Whom it waits for."""
    lint: list[Finding]
    """What is better changed in this job."""
    others: list[OtherAttempt]
    """Other attempts of it, open or ended lately."""


class JobList(msgspec.Struct):
    """An answer of `/api/v1/jobs`."""

    jobs: list[JobView]
    """Suspects first, then those that are open, then those that ended lately."""
    truncated: bool
    """There are more than were asked for."""
    counts: dict[str, int]
    """All open jobs by state, whatever the filter."""
    now: TimeText
    """The collector's clock."""


class FindingList(msgspec.Struct):
    """An answer of `/api/v1/lint`."""

    findings: list[Finding]
    """What will hang one day."""


class Error(msgspec.Struct):
    """Why a request was refused."""

    error: str
    """In a sentence, for people."""
