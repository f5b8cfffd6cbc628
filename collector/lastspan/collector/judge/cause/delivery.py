"""What the queue does with the message of a job that will not end by itself.

A table: what the worker said of the job (acked before or after it runs, what it does with one that was killed, whose
broker it is), what became of its process, and so what becomes of the message. `make redelivery` tries each row on a
real Redis and a real RabbitMQ, and writes docs/redelivery.md.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from lastspan.semconv.vocabulary import OnLost

from ...model.records import JobType
from ...track import JobRow
from .words import took


class ProcessEnd(str, Enum):
    """What became of the process that ran the job."""

    CHILD_KILLED = "killed"
    """By a signal, or by the kernel; the main process of its worker lives, and knows."""
    TIME_LIMIT = "timeout"
    """Killed by its worker, beyond the hard limit."""
    REVOKED = "revoked"
    """Killed by its worker, because somebody revoked the job with `terminate`."""
    WORKER_LOST = "lost"
    """The whole worker is gone, or its machine, or the network to it: nobody is left to say which."""
    SHUTDOWN = "shutdown"
    """The worker stopped in good order before the job had ended (a cold shutdown)."""
    NONE = "none"
    """It is frozen or stuck: the job still runs."""


class MessageFate(str, Enum):
    """What becomes of the message."""

    ACKED_EARLY = "acked before it ran: never delivered again"
    ACKED = "acked by the worker: never delivered again"
    REJECTED = "rejected by the worker: gone, or in a dead-letter queue"
    REQUEUED = "returned by the worker: delivered again at once"
    RETRIED = "acked by the worker, and enqueued again as the next attempt"
    RETURNED = "returned when the worker stops: delivered again at once"
    AFTER_TIMEOUT = "delivered again when the visibility timeout has passed"
    AFTER_CONNECTION = "delivered again when the broker sees that the connection is gone"
    AFTER_CONSUMER = "delivered again, beside the one that runs, when the broker's consumer_timeout has passed"
    UNKNOWN = "not known"


class DeliveryTerms(NamedTuple):
    """On what terms a worker has the message of a job; None, or empty: it did not say."""

    acks_late: bool | None
    on_lost: OnLost | None
    on_timeout: OnLost | None
    broker: str
    has_timeout: bool = False
    """The broker gives out again what is not acked in time."""


_BY_CONNECTION: Final = frozenset({"amqp", "amqps", "pyamqp", "librabbitmq"})
_BY_WORKER: Final[dict[OnLost | None, MessageFate]] = {
    OnLost.ACK: MessageFate.ACKED,
    OnLost.REJECT: MessageFate.REJECTED,
    OnLost.REQUEUE: MessageFate.REQUEUED,
    OnLost.RETRY: MessageFate.RETRIED,
}


def fate(terms: DeliveryTerms, process_end: ProcessEnd) -> MessageFate:
    """Return what becomes of the message."""
    if process_end is ProcessEnd.CHILD_KILLED and terms.on_lost is OnLost.RETRY:
        return MessageFate.RETRIED  # also one that was acked early
    if terms.acks_late is None:
        return MessageFate.UNKNOWN
    if not terms.acks_late:
        return MessageFate.ACKED_EARLY
    match process_end:
        case ProcessEnd.CHILD_KILLED:
            return _BY_WORKER.get(terms.on_lost, MessageFate.UNKNOWN)
        case ProcessEnd.TIME_LIMIT:
            return _BY_WORKER.get(terms.on_timeout, MessageFate.UNKNOWN)
        case ProcessEnd.REVOKED:
            return MessageFate.ACKED
        case ProcessEnd.SHUTDOWN:
            return MessageFate.RETURNED if terms.broker else MessageFate.UNKNOWN
    if terms.broker in _BY_CONNECTION:
        return MessageFate.AFTER_CONSUMER if process_end is ProcessEnd.NONE else MessageFate.AFTER_CONNECTION
    return MessageFate.AFTER_TIMEOUT if terms.has_timeout else MessageFate.UNKNOWN


def terms(type: JobType) -> DeliveryTerms:
    """Return what a job's worker said."""
    return DeliveryTerms(type.acks_late, type.on_lost, type.on_timeout, type.broker, type.redelivery_ns is not None)


def redelivery_forecast(
    job: JobRow, process_end: ProcessEnd, now_ns: int, *, is_sure: bool = True, stable: bool = False
) -> str:
    """Say whether and when the queue gives the job out again; empty: not known.

    Without *is_sure* the job may run on somewhere: nothing is said that would have it run twice. *stable*:
    without the time that is left.
    """
    type = job.type
    by_hand = "; enqueue it by hand" + ("" if is_sure else " once you know that its process is gone")
    match fate(terms(type), process_end):
        case MessageFate.ACKED_EARLY if process_end is ProcessEnd.NONE:
            if type.on_lost is OnLost.RETRY:
                return "The message was acked early; if the process is killed, the worker enqueues the job again."
            return "The message was acked early: if the process is killed, the job will NOT run again."
        case MessageFate.ACKED_EARLY if process_end is ProcessEnd.REVOKED:
            return _REVOKED
        case MessageFate.ACKED_EARLY:
            return f"The message was acked early: it will NOT run again{by_hand}."
        case MessageFate.ACKED if process_end is ProcessEnd.REVOKED:
            return _REVOKED
        case MessageFate.ACKED if process_end is ProcessEnd.TIME_LIMIT:
            return f"The worker acks a job that exceeds its time limit: it will NOT run again{by_hand}."
        case MessageFate.ACKED:
            return (
                "The worker acks a job whose process was killed (no reject_on_worker_lost): it will NOT run again"
                f"{by_hand}."
            )
        case MessageFate.REJECTED:
            return f"The worker rejects the message: it is gone unless a dead-letter queue has it{by_hand}."
        case MessageFate.REQUEUED:
            return "The worker returns the message to the queue: the job runs again at once."
        case MessageFate.RETRIED:
            return "The worker enqueues it again: the next attempt starts by itself."
        case MessageFate.RETURNED:
            return "The worker returns the message to the queue when it stops: the job runs again at once."
        case MessageFate.AFTER_CONNECTION:
            return (
                "The message is not acked: RabbitMQ delivers it again when the connection drops (at once if the worker "
                "ended, after missed heartbeats if its machine did)."
            )
        case MessageFate.AFTER_CONSUMER:
            return (
                "The message is not acked: RabbitMQ delivers it again after its consumer_timeout (30 min by default), "
                "even if the job still runs, and closes the channel, which ends a Celery worker."
            )
        case MessageFate.AFTER_TIMEOUT:
            return _after_timeout(job, now_ns, still_runs=process_end is ProcessEnd.NONE, stable=stable)
    return ""


_REVOKED: Final = "It was revoked: the message is acked, and it will not run again."


def _after_timeout(job: JobRow, now_ns: int, *, still_runs: bool, stable: bool) -> str:
    assert job.type.redelivery_ns is not None  # its terms have a timeout
    left_ns = job.span.start_ns + job.type.redelivery_ns - now_ns
    limit, though = took(job.type.redelivery_ns), ", even if the job still runs" if still_runs else ""
    if left_ns > 0:
        left = "" if stable else f" in {took(left_ns)}"
        return f"The queue delivers it again{left} (visibility timeout {limit}){though}."
    ago = "" if stable else f" {took(-left_ns)} ago"
    return f"The visibility timeout ({limit}) passed{ago}: the queue has delivered it again, or will."


def is_overdue(job: JobRow, now_ns: int) -> bool:
    """Whether the queue has redelivered the job by now, by its settings."""
    type = job.type
    if type.redelivery_ns is None or type.acks_late is False:
        return False
    return now_ns - job.span.start_ns > type.redelivery_ns
