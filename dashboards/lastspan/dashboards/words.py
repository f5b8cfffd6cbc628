"""What values mean, in words: Grafana's value mappings for causes, what to do about them, and states.

The causes are those of `lastspan.semconv`; a test says when one has no advice.
"""

from __future__ import annotations

from typing import Any, Final

from lastspan.semconv.vocabulary import CAUSES

ADVICE: Final[dict[str, str]] = {
    "http_no_timeout": "Look at the peer: it does not answer. Give the call at this line a timeout.",
    "http_call": "Look at the peer: it is slow or silent. If that duration is normal, allow more by a rule.",
    "db_query": "Look at the query in the database (EXPLAIN, locks, load), and cancel it there if nobody needs it.",
    "db_lock": "Look at the holder below: end its transaction, or its session. Commit before slow work.",
    "lock_wait": "Look at the holder below: it has what this job waits for. End it so that the others continue.",
    "deadlock": "End one of the jobs in the cycle. Then take the locks in the same order everywhere.",
    "cpu_loop": "Check the exit condition of the loop at this line. Kill the job if it is endless.",
    "call_loop": "Check the exit condition of the loop at this line: it makes the same call again and again.",
    "event_loop_blocked": "This call blocks the event loop. Move it to a thread (asyncio.to_thread).",
    "waiting_for_job": "Look at the job that it waits for: that one is stuck, queued or gone.",
    "waiting": "Find what should set, send or end what this line waits for. Give the wait a timeout.",
    "socket_wait": "Look at the peer of the socket: it does not answer. Set a timeout on the socket.",
    "gil_held": "Native code holds the GIL. Take a native stack of the process (py-spy --native, gdb), then kill it.",
    "worker_frozen": "Find out why the process is stopped: SIGSTOP, a debugger, disk, memory. Resume it or kill it.",
    "worker_lost": "The process is gone (memory, a deploy, a lost node?). Enqueue the job again if the queue does not.",
    "redelivered": "The job runs twice. Make the queue's visibility timeout longer than the job.",
    "unknown": "Open the page of the job for its stack, twice. If the line is the same, the job stopped there.",
}
"""The first thing to do, for each cause."""

STATES: Final[dict[str, tuple[str, str]]] = {
    "running": ("running", "green"),
    "overdue": ("overdue: late but still active", "yellow"),
    "stuck": ("stuck", "red"),
    "frozen": ("frozen: its process does not run", "orange"),
    "lost": ("lost: its process is silent", "purple"),
}
"""State → words, colour."""

LINT: Final[dict[str, str]] = {
    "call_without_timeout": "A call without a timeout: give it one",
    "job_without_limit": "A job without a time limit: give it one",
    "long_transaction": "A transaction left open: commit before slow work",
    "not_given_back": "Acked late, but lost when its process is killed: reject_on_worker_lost",
    "redelivery_too_early": "Delivered again while it runs: raise the visibility timeout above its longest run",
    "redelivery_too_late": "Delivered again long after a crash: lower the visibility timeout",
}
"""Rules of the lint, and what to do; a test compares them with the collector's."""


def _texts(texts: dict[str, str]) -> list[dict[str, Any]]:
    return _mapping({value: {"text": text} for value, text in texts.items()})


def _mapping(results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    options = {value: {**result, "index": index} for index, (value, result) in enumerate(results.items())}
    return [{"type": "value", "options": options}]


TABLES: Final[dict[str, list[dict[str, Any]]]] = {
    "causes": _texts(CAUSES),
    "advice": _texts(ADVICE),
    "states": _mapping({state: {"text": text, "color": color} for state, (text, color) in STATES.items()}),
    "lint": _texts(LINT),
    "facts": _texts(CAUSES | {state: text for state, (text, _) in STATES.items()}),
}
"""What `!words` knows."""


def mappings(table: str) -> list[dict[str, Any]]:
    """Return the value mappings of a table."""
    return [{**mapping, "options": dict(mapping["options"])} for mapping in TABLES[table]]
