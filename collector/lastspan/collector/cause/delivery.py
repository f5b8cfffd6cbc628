"""What the queue does with the message of a job that will not end by itself."""

from __future__ import annotations

from ..track import JobRow
from .words import took


def outlook(job: JobRow, now_ns: int) -> str:
    """Say whether and when the queue gives the job out again; empty: not known."""
    type = job.type
    if type.acks_late is False:
        return "The message was acked early: it will NOT run again, enqueue it by hand."
    if type.redelivery_ns is None:
        return "" if type.acks_late is None else "The message is not acked: the queue gives it out again."
    left_ns = job.span.start_ns + type.redelivery_ns - now_ns
    limit = took(type.redelivery_ns)
    if left_ns > 0:
        return f"The queue gives it out again in {took(left_ns)} (visibility timeout {limit})."
    return f"The visibility timeout ({limit}) passed {took(-left_ns)} ago: the queue has given it out again, or will."


def is_overdue(job: JobRow, now_ns: int) -> bool:
    """Whether the queue has given the job out again by now, if it does what it was told."""
    type = job.type
    if type.redelivery_ns is None or type.acks_late is False:
        return False
    return now_ns - job.span.start_ns > type.redelivery_ns
