"""What is told of a job, as attributes: what its framework said of it, how it gets on, how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lastspan.semconv import attributes as a

from ..guest import redact

if TYPE_CHECKING:
    from ..registry.children import JobEnd
    from ..registry.run import Run
    from ..registry.session import Session


def of_run(run: Run) -> dict[str, Any]:
    """Return what the framework said of an attempt."""
    return {
        a.JOB_SPAN_ID: f"{run.span_id:016x}",
        a.JOB_OUTER_SPAN_ID: f"{run.outer.span_id:016x}" if run.outer is not None else None,
        a.JOB_NAME: redact.text(run.name),
        a.JOB_ID: redact.text(run.id) if run.id else f"{run.span_id:016x}",
        a.JOB_ATTEMPT: run.attempt,
        a.JOB_QUEUE: redact.text(run.queue) if run.queue else None,
        a.JOB_SYSTEM: run.system,
        a.JOB_TIMEOUT: run.timeout,
        a.JOB_REDELIVERY_AFTER: run.redelivery_after,
        a.JOB_ACKS_LATE: run.acks_late,
        a.JOB_ON_LOST: run.on_lost,
        a.JOB_ON_TIMEOUT: run.on_timeout,
        a.JOB_BROKER: run.broker,
        a.JOB_MAX_ATTEMPTS: run.max_attempts,
    }


def of_progress(run: Run, now: float) -> dict[str, Any]:
    """Return its own word of how far it is."""
    if run.progress is None:
        return {}
    done, total, message, at = run.progress
    return {
        a.JOB_PROGRESS_DONE: done,
        a.JOB_PROGRESS_TOTAL: total,
        a.JOB_PROGRESS_MESSAGE: redact.text(message) if message else None,
        a.JOB_PROGRESS_AGE: now - at,
    }


def of_sessions(sessions: list[Session]) -> dict[str, Any]:
    """Return the database sessions that a job has used."""
    if not sessions:
        return {}
    names = (a.JOB_DB_SYSTEMS, a.JOB_DB_SERVERS, a.JOB_DB_IDS, a.JOB_DB_LOCALS)
    rows = [[redact.text(word) for word in (one.system, one.server, one.id, one.local)] for one in sessions]
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def of_accepted(run: Run, pid: int, age: float) -> dict[str, Any]:
    """Return what a parent knows of a job that a child has taken."""
    facts = of_run(run)
    for own in (a.JOB_SPAN_ID, a.JOB_OUTER_SPAN_ID):
        del facts[own]
    return {**facts, a.SPAN_AGE: age, a.SPAN_EXPECTED_DURATION: run.expected, a.PID: pid}


def of_end(end: JobEnd) -> dict[str, Any]:
    """Return how a job ended whose process is no more."""
    return {
        a.JOB_SYSTEM: end.system,
        a.JOB_ID: redact.text(end.job_id),
        a.JOB_NAME: redact.text(end.job_name),
        a.JOB_ATTEMPT: end.attempt,
        a.OUTCOME: end.outcome,
        a.REASON: redact.text(end.reason),
        a.PID: end.pid,
        a.EXIT_SIGNAL: end.signal,
        a.EXIT_CODE: end.code,
    }
