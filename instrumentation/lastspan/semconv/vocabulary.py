"""The words that values are made of: what a thread waits for, and why a job stopped.

Each is an enum whose members are their own words: they go over the wire, into JSON and into texts as they are.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeVar

_W = TypeVar("_W", bound="Word")


class Word(str, Enum):
    """One of a few words."""

    __str__ = str.__str__
    __format__ = str.__format__  # type: ignore[assignment]  # which asks for no more than Enum's

    @classmethod
    def known(cls: type[_W], text: str) -> _W | None:
        """Return the member of that text; None: there is none, as of a later version's."""
        try:
            return cls(text)
        except ValueError:
            return None


class WaitKind(Word):
    """What a thread waits for: `lastspan.wait.kind`."""

    LOCK = "lock"
    SEMAPHORE = "semaphore"
    CONDITION = "condition"
    EVENT = "event"
    BARRIER = "barrier"
    QUEUE = "queue"
    THREAD = "thread"
    TASK = "task"
    FUTURE = "future"
    PROCESS = "process"
    PIPE = "pipe"
    POOL = "pool"
    JOB = "job"
    SLEEP = "sleep"
    SIGNAL = "signal"
    INPUT = "input"
    FILE_LOCK = "file_lock"
    REDIS_LOCK = "redis_lock"
    DB_LOCK = "db_lock"
    DB = "db"
    HTTP = "http"
    CONNECT = "connect"
    ACCEPT = "accept"
    SOCKET = "socket"
    DNS = "dns"
    DISK = "disk"
    LOOP = "loop"


WAITS: Final[dict[str, str]] = {
    WaitKind.LOCK: "a lock of threads, tasks or processes",
    WaitKind.SEMAPHORE: "a semaphore",
    WaitKind.CONDITION: "a condition to be notified",
    WaitKind.EVENT: "an event to be set",
    WaitKind.BARRIER: "the other parties of a barrier",
    WaitKind.QUEUE: "an item of a queue, or room in it; a message",
    WaitKind.THREAD: "another thread to end",
    WaitKind.TASK: "another asyncio task or greenlet to end",
    WaitKind.FUTURE: "the result of a future",
    WaitKind.PROCESS: "a child process to end, or to write",
    WaitKind.PIPE: "a pipe",
    WaitKind.POOL: "a free connection of a pool",
    WaitKind.JOB: "another job's result",
    WaitKind.SLEEP: "time to pass: a sleep, or a loop that polls and sleeps",
    WaitKind.SIGNAL: "a signal",
    WaitKind.INPUT: "a terminal",
    WaitKind.FILE_LOCK: "a lock on a file",
    WaitKind.REDIS_LOCK: "a lock kept in Redis",
    WaitKind.DB_LOCK: "a lock that the database is asked for: advisory, or the whole file",
    WaitKind.DB: "a database's answer",
    WaitKind.HTTP: "the response of an HTTP or RPC call",
    WaitKind.CONNECT: "a connection to open",
    WaitKind.ACCEPT: "a client to connect",
    WaitKind.SOCKET: "bytes on a socket of no known protocol",
    WaitKind.DNS: "DNS to resolve a name",
    WaitKind.DISK: "the disk, or a network file system",
    WaitKind.LOOP: "the event loop, which another task or callback blocks",
}
"""Of each: what it is for."""

LOCK_WAITS: Final = frozenset(
    {WaitKind.LOCK, WaitKind.SEMAPHORE, WaitKind.FILE_LOCK, WaitKind.REDIS_LOCK, WaitKind.DB_LOCK}
)
"""Waits for something that somebody holds: they are allowed what a lock is allowed."""


class WaitPurpose(Word):
    """What a call that waits is for: `lastspan.wait.purpose`."""

    BROKER = "broker"
    RESULT_BACKEND = "result_backend"
    TLS_HANDSHAKE = "tls_handshake"
    NOTIFICATION = "notification"


PURPOSES: Final[dict[str, str]] = {
    WaitPurpose.BROKER: "to a broker: a message is to be sent",
    WaitPurpose.RESULT_BACKEND: "to a result backend: a job's result is to be stored",
    WaitPurpose.TLS_HANDSHAKE: "a TLS handshake",
    WaitPurpose.NOTIFICATION: "for a notification of a database, which need not come",
}
"""Of each: the call is …"""


class Certainty(Word):
    """How sure it is that it is this one who holds a lock: `lastspan.lock.holder.certainty`."""

    CERTAIN = "certain"
    LIKELY = "likely"
    NOBODY = "nobody"
    """The lock was leaked: its holder has ended."""
    UNKNOWN = "unknown"


class Outcome(Word):
    """How a span or a job ended: `lastspan.outcome`."""

    OK = "ok"
    ERROR = "error"
    RETRY = "retry"
    KILLED = "killed"
    TIMEOUT = "timeout"
    REVOKED = "revoked"
    SHUTDOWN = "shutdown"
    LOST = "lost"
    UNKNOWN = "unknown"


class OnLost(Word):
    """What a worker does with the message of a job that was killed: `lastspan.job.on_lost`, `….on_timeout`."""

    ACK = "ack"
    REJECT = "reject"
    REQUEUE = "requeue"
    RETRY = "retry"


FRAMEWORKS: Final[dict[str, str]] = {
    "airflow": "airflow.sdk.execution_time.task_runner",
    "apscheduler": "apscheduler.schedulers.base",
    "arq": "arq.worker",
    "celery": "celery.worker",
    "chancy": "chancy.worker",
    "dagster": "dagster._core.execution.api",
    "dbos": "dbos",
    "django_q": "django_q.cluster",
    "docket": "docket.worker",
    "dramatiq": "dramatiq.worker",
    "hatchet_sdk": "hatchet_sdk.worker.worker",
    "huey": "huey.consumer",
    "luigi": "luigi.worker",
    "pgqueuer": "pgqueuer.qm",
    "prefect": "prefect.flow_engine",
    "procrastinate": "procrastinate.worker",
    "rq": "rq.worker",
    "saq": "saq.worker",
    "streaq": "streaq.worker",
    "taskiq": "taskiq.receiver",
    "temporalio": "temporalio.worker",
}
"""Frameworks that run jobs, and a module that their workers import."""

SUPPORTED_FRAMEWORKS: Final = frozenset({"celery"})
"""Of these lastspan sees the jobs by itself."""


class CauseName(Word):
    """Why a job stopped: `cause` of a verdict."""

    HTTP_NO_TIMEOUT = "http_no_timeout"
    HTTP_CALL = "http_call"
    DB_QUERY = "db_query"
    DB_LOCK = "db_lock"
    LOCK_WAIT = "lock_wait"
    DEADLOCK = "deadlock"
    CPU_LOOP = "cpu_loop"
    CALL_LOOP = "call_loop"
    EVENT_LOOP_BLOCKED = "event_loop_blocked"
    WAITING_FOR_JOB = "waiting_for_job"
    WAITING = "waiting"
    SOCKET_WAIT = "socket_wait"
    GIL_HELD = "gil_held"
    WORKER_FROZEN = "worker_frozen"
    WORKER_LOST = "worker_lost"
    REDELIVERED = "redelivered"
    UNKNOWN = "unknown"


CAUSES: Final[dict[str, str]] = {
    CauseName.HTTP_NO_TIMEOUT: "an HTTP or RPC call without a timeout",
    CauseName.HTTP_CALL: "an HTTP or RPC call that takes long",
    CauseName.DB_QUERY: "a database query that takes long, or whose server does not answer",
    CauseName.DB_LOCK: "a lock in a database: row, table, advisory, the whole file",
    CauseName.LOCK_WAIT: "a lock of threads, tasks, processes, files or Redis",
    CauseName.DEADLOCK: "locks whose holders wait for each other",
    CauseName.CPU_LOOP: "code that computes without an end in sight",
    CauseName.CALL_LOOP: "a loop that makes the same short calls again and again",
    CauseName.EVENT_LOOP_BLOCKED: "an event loop that something keeps from running",
    CauseName.WAITING_FOR_JOB: "the result of another job",
    CauseName.WAITING: "an event, a queue, a thread, a child process, or time to pass",
    CauseName.SOCKET_WAIT: "a peer on a socket of no known protocol",
    CauseName.GIL_HELD: "native code that does not let go of the interpreter's lock",
    CauseName.WORKER_FROZEN: "a process that is stopped or frozen",
    CauseName.WORKER_LOST: "a process that is gone",
    CauseName.REDELIVERED: "the queue gave the job out again while it runs",
    CauseName.UNKNOWN: "not known",
}
"""Of each: what it is."""

CAUSE_HEADINGS: Final[dict[str, str]] = {
    CauseName.HTTP_NO_TIMEOUT: "HTTP call without a timeout",
    CauseName.HTTP_CALL: "slow HTTP call",
    CauseName.DB_QUERY: "database query",
    CauseName.DB_LOCK: "lock in a database",
    CauseName.LOCK_WAIT: "lock not released",
    CauseName.DEADLOCK: "deadlock",
    CauseName.CPU_LOOP: "computes without an end",
    CauseName.CALL_LOOP: "repeats a call without an end",
    CauseName.EVENT_LOOP_BLOCKED: "event loop blocked",
    CauseName.WAITING_FOR_JOB: "waits for another job",
    CauseName.WAITING: "endless wait",
    CauseName.SOCKET_WAIT: "silent peer",
    CauseName.GIL_HELD: "interpreter held by native code",
    CauseName.WORKER_FROZEN: "process frozen",
    CauseName.WORKER_LOST: "process lost",
    CauseName.REDELIVERED: "runs twice",
    CauseName.UNKNOWN: "cause not known",
}
"""Causes in two or three words, for a subject or a heading: what stands below says the rest."""
