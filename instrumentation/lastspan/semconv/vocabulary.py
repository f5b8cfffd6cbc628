"""The values of enumerated attributes: what a thread waits for, and why a job stopped."""

from __future__ import annotations

from typing import Final

WAITS: Final[dict[str, str]] = {
    "lock": "a lock of threads, tasks or processes",
    "semaphore": "a semaphore",
    "condition": "a condition to be notified",
    "event": "an event to be set",
    "barrier": "the other parties of a barrier",
    "queue": "an item of a queue, or room in it; a message",
    "thread": "another thread to end",
    "task": "another asyncio task or greenlet to end",
    "future": "the result of a future",
    "process": "a child process to end, or to write",
    "pipe": "a pipe",
    "pool": "a free connection of a pool",
    "job": "another job's result",
    "sleep": "time to pass: a sleep, or a loop that polls and sleeps",
    "signal": "a signal",
    "input": "a terminal",
    "file_lock": "a lock on a file",
    "redis_lock": "a lock kept in Redis",
    "db_lock": "a lock that the database is asked for: advisory, or the whole file",
    "db": "a database's answer",
    "http": "the response of an HTTP or RPC call",
    "connect": "a connection to open",
    "accept": "a client to connect",
    "socket": "bytes on a socket of no known protocol",
    "dns": "DNS to resolve a name",
    "disk": "the disk, or a network file system",
    "loop": "the event loop, which another task or callback blocks",
}
"""`lastspan.wait.kind`."""

LOCK_WAITS: Final = frozenset({"lock", "semaphore", "file_lock", "redis_lock", "db_lock"})
"""Waits for something that somebody holds: they are allowed what a lock is allowed."""

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

CAUSES: Final[dict[str, str]] = {
    "http_no_timeout": "an HTTP or RPC call without a timeout",
    "http_call": "a slow HTTP or RPC call",
    "db_query": "a slow database query, or a server that does not answer",
    "db_lock": "a lock in a database: row, table, advisory, the whole file",
    "lock_wait": "a lock of threads, tasks, processes, files or Redis",
    "deadlock": "locks whose holders wait for each other",
    "cpu_loop": "code that uses the CPU and does not end",
    "call_loop": "a loop that makes the same short calls again and again",
    "event_loop_blocked": "an event loop that is blocked",
    "waiting_for_job": "the result of another job",
    "waiting": "an event, a queue, a thread, a child process, or time to pass",
    "socket_wait": "a peer on a socket of no known protocol",
    "gil_held": "native code that holds the GIL",
    "worker_frozen": "a process that is stopped or frozen",
    "worker_lost": "a process that is gone",
    "redelivered": "the queue delivered the job again while it runs",
    "unknown": "not known",
}
"""`cause` of a verdict."""

CAUSE_HEADINGS: Final[dict[str, str]] = {
    "http_no_timeout": "HTTP call without a timeout",
    "http_call": "slow HTTP call",
    "db_query": "database query",
    "db_lock": "database lock",
    "lock_wait": "lock not released",
    "deadlock": "deadlock",
    "cpu_loop": "endless CPU loop",
    "call_loop": "endless loop of calls",
    "event_loop_blocked": "event loop blocked",
    "waiting_for_job": "waits for another job",
    "waiting": "endless wait",
    "socket_wait": "peer does not answer",
    "gil_held": "GIL held by native code",
    "worker_frozen": "process frozen",
    "worker_lost": "process lost",
    "redelivered": "runs twice",
    "unknown": "unknown cause",
}
"""Causes in two or three words, for a subject or a heading: what stands below says the rest."""
