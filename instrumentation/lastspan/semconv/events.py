"""Every event: OTLP log records, each the full state of its subject."""

from __future__ import annotations

from . import attributes as a
from .declare import event

_ALWAYS = (a.EVENT_NAME, a.PROCESS_ID, a.PROCESS_SEQUENCE, a.REPORT_INTERVAL)

SPAN_OPEN = event(
    "lastspan.span.open",
    "one open span",
    "its age passes ANNOUNCE_AFTER; on material change; every REFRESH; again after a failed export",
    (
        *_ALWAYS,
        a.SPAN_NAME,
        a.SPAN_KIND,
        a.SPAN_PARENT_ID,
        a.SPAN_AGE,
        a.SPAN_IS_JOB,
        a.SPAN_EXPECTED_DURATION,
        a.JOB_SPAN_ID,
        a.JOB_OUTER_SPAN_ID,
        a.JOB_NAME,
        a.JOB_ID,
        a.JOB_ATTEMPT,
        a.JOB_QUEUE,
        a.JOB_SYSTEM,
        a.JOB_TIMEOUT,
        a.JOB_REDELIVERY_AFTER,
        a.JOB_ACKS_LATE,
        a.JOB_MAX_ATTEMPTS,
        a.JOB_MOVEMENT_AGE,
        a.JOB_PROGRESS_DONE,
        a.JOB_PROGRESS_TOTAL,
        a.JOB_PROGRESS_MESSAGE,
        a.JOB_PROGRESS_AGE,
        a.CALL_TIMEOUT,
        a.CALL_UNBOUNDED,
        a.THREAD_ID,
        a.THREAD_NAME,
        a.CODE_FUNCTION,
        a.CODE_FILE,
        a.CODE_LINE,
        a.CODE_STACKTRACE,
        a.STACK_AGE,
        a.STACK_UNSEEN,
        a.THREAD_CPU_RATIO,
        a.THREAD_STATE,
        a.WAIT_KIND,
        a.WAIT_PEER,
        a.LOCK_NAME,
        a.LOCK_HOLDER_JOB_ID,
        a.LOCK_HOLDER_THREAD,
        *sorted(a.CALL_ATTRIBUTES),
    ),
)
SPAN_CLOSED = event(
    "lastspan.span.closed",
    "one span that was announced",
    "it ended (best effort)",
    (*_ALWAYS, a.SPAN_DURATION, a.OUTCOME),
)
PROCESS_STATE = event(
    "lastspan.process.state",
    "one process that runs jobs, or is the parent of such; body: announced open span ids, 8 bytes each",
    "every INTERVAL; at orderly shutdown",
    (
        *_ALWAYS,
        a.PROCESS_STATUS,
        a.SPAN_OPEN_COUNT,
        a.PROCESS_LOOP_LAG,
        a.PROCESS_CPU_TIME,
        a.PROCESS_RSS,
        a.PROCESS_DESCRIPTORS,
        a.PROCESS_CHILD_PIDS,
        a.PROCESS_CHILD_STATES,
        a.PROCESS_DROPPED,
    ),
)
PROCESS_DURATIONS = event(
    "lastspan.process.durations",
    "one (job name, queue, span name or none, outcome) of a process, cumulative; body: a mergeable sketch",
    "every INTERVAL in which something ended; at exit",
    (
        *_ALWAYS,
        a.JOB_NAME,
        a.JOB_QUEUE,
        a.JOB_SYSTEM,
        a.SPAN_NAME,
        a.OUTCOME,
        a.COUNT_STARTED,
        a.COUNT_ENDED,
        a.SKETCH_FORMAT,
    ),
)
JOB_ENDED = event(
    "lastspan.job.ended",
    "one attempt of a job, told by a parent process",
    "the job's process was killed, revoked or lost",
    (
        *_ALWAYS,
        a.JOB_SYSTEM,
        a.JOB_NAME,
        a.JOB_ID,
        a.JOB_ATTEMPT,
        a.OUTCOME,
        a.REASON,
        a.PID,
        a.EXIT_SIGNAL,
        a.EXIT_CODE,
    ),
)
