"""The data types: what a record says (signals), and the states and severities that we conclude.

Times are `int` nanoseconds (`_ns`). Signals carry ages, never timestamps: clocks of two machines are not compared.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import msgspec

from lastspan.semconv.vocabulary import OnLost, Outcome, Word

from .evidence import CodeLine, Evidence, OwnedByJob

NO_SEQUENCE = -1
"""`sequence` of a record without one (other people's): taken in order of arrival."""


class State(Word):
    """What a job is; see DESIGN, "Judge"."""

    RUNNING = "running"
    OVERDUE = "overdue"
    STUCK = "stuck"
    LOST = "lost"
    FROZEN = "frozen"
    ENDED = "ended"


SUSPECT = frozenset({State.STUCK, State.LOST, State.FROZEN})
"""The states that somebody should look at."""


class Basis(Word):
    """Where an allowed duration comes from, strongest first."""

    DECLARED = "declared"
    RULE = "rule"
    LEARNED = "learned"
    DEFAULT = "default"


class Kind(Word):
    """What a span does, as far as the policy cares."""

    JOB = "job"
    HTTP = "http"
    DB = "db"
    LOCK = "lock"
    OTHER = "other"


class Severity(Word):
    """Whether to wake somebody."""

    PAGE = "page"
    WARNING = "warning"


class ProcessStatus(Word):
    """The status that a process reports."""

    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Resource(msgspec.Struct, frozen=True):
    """The sender: the facts of an OTLP resource that we use. Interned: one object for all records of a process."""

    service: str = ""
    environment: str = ""
    namespace: str = ""
    """Kubernetes namespace."""
    pod: str = ""
    host: str = ""
    pid: int | None = None
    parent_pid: int | None = None
    instance_id: str = ""
    service_version: str = ""
    worker_id: str | None = None
    """The same in a parent process and all its children."""


class JobType(msgspec.Struct, frozen=True, eq=False):
    """What all runs of one job share. Interned: one object a type, so compare with `is`."""

    service: str
    environment: str
    name: str
    queue: str
    system: str
    timeout_ns: int | None
    redelivery_ns: int | None
    acks_late: bool | None
    max_attempts: int | None
    on_lost: OnLost | None = None
    """What the worker does with the message of a job whose process was killed."""
    on_timeout: OnLost | None = None
    """The same, of a job beyond its hard limit."""
    broker: str = ""
    """redis, amqp, sqs, …"""


class Call(msgspec.Struct, frozen=True, eq=False):
    """What a span calls. Interned: spans of one kind share it."""

    attributes: tuple[tuple[str, str | int | float | bool], ...]
    kind: Kind
    timeout_ns: int | None
    unbounded: bool
    """The call has no timeout."""
    peer: str = ""
    """Whom it calls, without ids (`semconv.peers`): what is learned is kept by it."""

    def attribute(self, name: str) -> str | int | float | bool | None:
        """Return one live attribute of the call."""
        return next((value for key, value in self.attributes if key == name), None)


NO_CALL = Call((), Kind.OTHER, None, False)


class Progress(msgspec.Struct, frozen=True, gc=False):
    """What `progress()` last said."""

    done: float
    total: float | None
    message: str | None
    age_ns: int | None


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Which process sent a record, and the record's place in what that process sent."""

    resource: Resource
    process_id: str | None
    sequence: int
    interval_ns: int | None


class SpanOpen(msgspec.Struct, frozen=True, gc=False):
    """A span is open: its full state."""

    key: bytes
    """Trace id and span id, 24 bytes."""
    origin: Origin
    type: JobType
    call: Call
    progress: Progress | None
    evidence: Evidence | None
    owned: OwnedByJob | None
    # From here on in the order of `layout.SPAN`.
    name: str
    kind: str
    parent_id: bytes | None
    age_ns: int
    is_job: bool
    expected_ns: int | None
    job_span_id: bytes | None
    """The nearest enclosing job; None: in no job, or (`foreign`) to be found by the parents."""
    outer_span_id: bytes | None
    job_id: str | None
    attempt: int | None
    movement_ns: int | None
    """How long ago the job last moved."""
    foreign: bool = False
    """Not lastspan's: a span without known parent is itself the job."""


class SpanClosed(msgspec.Struct, frozen=True, gc=False):
    """A span that was announced has ended."""

    key: bytes
    origin: Origin
    outcome: Outcome


class SpanFinished(msgspec.Struct, frozen=True, gc=False):
    """A finished span from the traces pipeline."""

    key: bytes
    outcome: Outcome
    foreign: bool
    """Its producer announces spans too, so an announcement may come after it."""


class Child(msgspec.Struct, frozen=True):
    """A child process, as its parent sees it."""

    state: str
    """The kernel's letter; empty: not known."""
    cpu_ratio: float | None = None
    """In cores, of all its threads."""
    wait: str = ""
    """Where the kernel lets it wait, or `cgroup_frozen`; empty: nowhere, or not known."""


class ProcessStall(msgspec.Struct, frozen=True):
    """A process could not run for a while, and can again."""

    for_ns: int
    place: CodeLine | None = None
    """Where the job stood then."""


class ProcessState(msgspec.Struct, frozen=True):
    """A process is alive; these announced spans of it are open."""

    origin: Origin
    status: ProcessStatus
    span_ids: bytes
    """8 bytes each."""
    complete: bool
    """False: the list is truncated, and absence proves nothing."""
    children: dict[int, Child]
    """Children that run jobs, by pid."""
    stall: ProcessStall | None = None
    frameworks: tuple[str, ...] = ()
    """Job frameworks that are loaded in it, and whose jobs are not seen."""


class Sender(msgspec.Struct, frozen=True):
    """A service that sent OTLP, and what its spans say about jobs."""

    service: str
    environment: str
    frameworks: frozenset[str] = frozenset()
    """Job frameworks that its spans come from."""
    consumes: bool = False
    """It takes messages."""


class DurationCounts(msgspec.Struct, frozen=True):
    """How often and how long, cumulative since the process began."""

    origin: Origin
    job_name: str
    queue: str
    span_name: str | None
    outcome: Outcome | None
    """None: `count` is of the started ones."""
    count: int
    runs: tuple[tuple[int, int], ...]
    """(bucket of `sketch`, how many), in the order of the buckets."""
    sum_seconds: float
    peer: str = ""
    """Whom the span calls; empty: nobody, or a worker of before."""


class JobEnded(msgspec.Struct, frozen=True):
    """A parent learned how a job's process ended."""

    origin: Origin
    key: bytes | None
    system: str
    name: str
    job_id: str
    attempt: int | None
    queue: str
    outcome: Outcome
    reason: str
    pid: int | None
    signal: int | None
    exit_code: int | None


class JobAccepted(msgspec.Struct, frozen=True, gc=False):
    """A parent reports that its child accepted a job a while ago; the child may be unable to report it."""

    key: bytes
    """Of the parent's making: the ids of the job's span are not known."""
    origin: Origin
    """The parent's."""
    type: JobType
    job_id: str
    attempt: int | None
    pid: int
    """The child's."""
    age_ns: int
    expected_ns: int | None


class CallSeen(msgspec.Struct, frozen=True):
    """A kind of call that a job makes: is it bounded?"""

    origin: Origin
    type: JobType
    span_name: str
    function: str | None
    file: str | None
    line: int | None
    peer: str | None
    timeout_ns: int | None
    unbounded: bool


Signal: TypeAlias = (
    SpanOpen | SpanClosed | SpanFinished | ProcessState | DurationCounts | JobEnded | JobAccepted | CallSeen
)


class DatabaseSession(msgspec.Struct, frozen=True):
    """One session of a database, as a probe beside that database sees it. Empty, or None: not known."""

    server: str
    """host:port, as workers address it."""
    id: str
    """The server's own: a backend pid, a connection id."""
    application_name: str = ""
    client: str = ""
    """host:port of the other end."""
    state: str = ""
    """active, idle in transaction, …"""
    wait: str = ""
    """Lock/transactionid, …"""
    query: str = ""
    """The last one; literals are gone, 1 KiB at most."""
    since_query_s: float | None = None
    since_xact_s: float | None = None
    since_state_s: float | None = None
    blocked_by: tuple[str, ...] = ()
    """Ids of the sessions that hold what it waits for."""
    traceparent: str = ""
    locks: str = ""
    """What it waits for: relation and type."""
    is_locked: bool = False
    """It waits for a lock, as the server says; by whom it is held need not be known."""


class DatabaseWait(NamedTuple):
    """A late span that waits for a database: what a probe should look for."""

    server: str
    """host:port as the worker addresses it; may be empty."""
    session: str
    """Its id at the server, or empty."""
    local: str
    """host:port of the worker's end, or empty."""


DURATION_BOUNDS = (
    0.1,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1800.0,
    3600.0,
    7200.0,
    21600.0,
    86400.0,
)
"""Seconds; of the classic histogram at /metrics."""
