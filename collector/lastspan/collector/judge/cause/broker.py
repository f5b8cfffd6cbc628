"""The broker that a job sends a message to, or the backend that keeps its result, does not answer."""

from __future__ import annotations

from typing import Final

from lastspan.semconv.vocabulary import CauseName, WaitKind, WaitPurpose

from ..names import waited_for
from .case import Case, Cause
from .words import join, stopped

DOES: Final[dict[WaitPurpose | None, str]] = {
    WaitPurpose.BROKER: "to send a message",
    WaitPurpose.RESULT_BACKEND: "to store its result",
}
"""By what the call is for: what the job does there."""
_NETWORK: Final = frozenset({WaitKind.SOCKET, WaitKind.CONNECT, WaitKind.DNS})


def find(case: Case) -> Cause | None:
    """By the call that waits: the protocol below it is the library's own business."""
    if case.wait.purpose not in DOES or case.wait.kind not in _NETWORK:
        return None
    name = CauseName.DB_QUERY if case.is_database else CauseName.SOCKET_WAIT
    return Cause(name, 0.9, "broker", join(waited_for(case.wait), case.peer), _words, _advice)


def _who(case: Case) -> str:
    return join(waited_for(case.wait), f"at {case.peer}" if case.peer else "")


def _words(case: Case) -> str:
    does = DOES[case.wait.purpose]
    return join(f"The {_who(case)} does not answer: the job waits {does}.", stopped(case, case.stopped_ns))


def _advice(case: Case) -> str:
    is_broker = case.wait.purpose is WaitPurpose.BROKER
    settings = "broker_transport_options" if is_broker else "result_backend_transport_options"
    return f"Check whether the {_who(case)} is healthy and reachable; then set a socket timeout ({settings})."
