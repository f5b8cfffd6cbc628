"""Causes in two or three words: the headings of `/`. The sentence below each says the rest."""

from __future__ import annotations

from typing import Final

HEADINGS: Final[dict[str, str]] = {
    "http_no_timeout": "HTTP call without a timeout",
    "http_call": "slow HTTP call",
    "db_query": "database query",
    "db_lock": "lock in a database",
    "lock_wait": "lock",
    "deadlock": "deadlock",
    "cpu_loop": "computes without an end",
    "call_loop": "repeats a call without an end",
    "event_loop_blocked": "event loop blocked",
    "waiting_for_job": "waits for another job",
    "waiting": "waits",
    "socket_wait": "silent peer",
    "gil_held": "interpreter held by native code",
    "worker_frozen": "process frozen",
    "worker_lost": "process lost",
    "redelivered": "runs twice",
    "unknown": "cause not known",
}
"""By the words of `vocabulary.CAUSES`; a test compares them."""


def heading(cause: str) -> str:
    """Return a cause's heading."""
    return HEADINGS.get(cause, HEADINGS["unknown"])
