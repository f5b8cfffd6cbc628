"""The broker that a job sends a message to, or the backend that keeps its result, does not answer."""

from __future__ import annotations

from .case import Case, Cause
from .words import join, stopped

DOES = {"broker": "to send a message", "result backend": "to store its result"}
"""By what the worker says is waited for: what the job does there."""
_NETWORK = frozenset({"socket", "connect", "dns"})


def find(case: Case) -> Cause | None:
    """By the call that waits: the protocol below it is the library's own business."""
    what = case.wait.target
    if what not in DOES or case.wait.kind not in _NETWORK:
        return None
    name = "db_query" if case.is_database else "socket_wait"
    return Cause(name, 0.9, "broker", join(what, case.peer), _words, _advice)


def _who(case: Case) -> str:
    return join(case.wait.target, f"at {case.peer}" if case.peer else "")


def _words(case: Case) -> str:
    does = DOES[case.wait.target or ""]
    return join(f"The {_who(case)} does not answer: the job waits {does}.", stopped(case, case.stood_ns))


def _advice(case: Case) -> str:
    settings = "broker_transport_options" if case.wait.target == "broker" else "result_backend_transport_options"
    return f"Check whether the {_who(case)} is healthy and reachable; then set a socket timeout ({settings})."
