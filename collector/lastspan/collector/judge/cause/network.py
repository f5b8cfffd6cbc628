"""Peers that do not answer: HTTP and RPC calls, and sockets of which nothing else is known."""

from __future__ import annotations

from lastspan.semconv.peers import template
from lastspan.semconv.vocabulary import LOCK_WAITS, CauseName, WaitKind, WaitPurpose

from ..names import waited_for
from .case import Case, Cause
from .words import allowed, join, live, place, short, stopped, took

_PEER_SILENT_NS = 300_000_000_000
"""A call without timeout whose peer has been silent for so long proves itself."""
_NETWORK = frozenset({WaitKind.HTTP, WaitKind.SOCKET, WaitKind.CONNECT, WaitKind.ACCEPT, WaitKind.DNS})
_COMPUTES = 0.5
_BOUND_NOT_SEEN = 0.55
"""It takes long; whether it may go on for ever is not known."""


def find_http(case: Case) -> Cause | None:
    """An HTTP or RPC call, known from its span or from the code that waits."""
    kind = case.wait.kind
    if not (kind is WaitKind.HTTP or (case.is_http and (kind is None or kind in _NETWORK or not _is_precise(kind)))):
        return None
    if case.is_http and kind is None and case.is_busy and (case.evidence.cpu_ratio or 0.0) >= _COMPUTES:
        return None  # it computes: what came back, perhaps
    target = join(case.peer, case.route) or template(case.last.span.name)
    proven = case.is_unbounded and case.silent_ns >= _PEER_SILENT_NS
    if case.is_unbounded:
        return Cause(CauseName.HTTP_NO_TIMEOUT, 0.95, "http", target, _http_words, _http_advice, proven=proven)
    if not case.is_bounded:
        return Cause(CauseName.HTTP_CALL, _BOUND_NOT_SEEN, "http", target, _http_words, _http_advice)
    sure = 0.9 if case.last.late or kind is WaitKind.HTTP else 0.7
    return Cause(CauseName.HTTP_CALL, sure, "http", target, _http_words, _http_advice)


def find_socket(case: Case) -> Cause | None:
    """A socket, or a name that is not resolved."""
    if case.wait.kind not in _NETWORK:
        return None
    target = case.peer or waited_for(case.wait) or place(case)
    return Cause(CauseName.SOCKET_WAIT, 0.85, "socket", target, _socket_words, _socket_advice)


def _is_precise(kind: WaitKind) -> bool:
    """Whether a wait says more than the span around it: a lock or a pool inside a client is what is waited for."""
    return kind in _PRECISE


_PRECISE = LOCK_WAITS | {WaitKind.DB, WaitKind.POOL, WaitKind.LOOP, WaitKind.JOB, WaitKind.SLEEP}


def _http_words(case: Case) -> str:
    where = stopped(case, case.last.age_ns, more=allowed(case.last)) if case.is_http else stopped(case, case.stopped_ns)
    return join(_http_call(case), _STAGES.get(case.wait.kind, ""), where, _idle(case), _bound(case))


_STAGES: dict[WaitKind | None, str] = {
    WaitKind.DNS: "DNS has not resolved its name yet.",
    WaitKind.CONNECT: "The connection is not open yet.",
}


def _http_call(case: Case) -> str:
    if not case.is_http:  # no span tells of the call
        bound = ", and the call has no timeout" if case.is_unbounded else ""
        return f"It waits for an HTTP response from {case.peer or 'a server'}{bound}."
    protocol = "HTTP" if case.call.attribute("rpc.system") is None else "RPC"
    method = case.call.attribute("http.request.method") or case.call.attribute("rpc.method")
    what = f"The {protocol} call {join(method, case.peer or short(case.last.span.name))}"
    return f"{what} has not returned and has no timeout." if case.is_unbounded else f"{what} has not returned."


def _http_advice(case: Case) -> str:
    peer = case.peer or "the peer"
    where = place(case)
    if case.wait.kind is WaitKind.DNS:
        return f"Check that the host's DNS servers answer (/etc/resolv.conf) and can resolve {peer}."
    if case.is_unbounded:
        return f"Check whether {peer} is healthy; then give the call a timeout" + (f" at {where}." if where else ".")
    return f"Check whether {peer} is healthy and how long it takes; lower the timeout if it should not take this long."


_VERBS: dict[WaitKind | None, tuple[str, str]] = {
    WaitKind.CONNECT: ("It tries to connect to", ""),
    WaitKind.ACCEPT: ("It waits for a client to connect to", ""),
    WaitKind.DNS: ("It waits for DNS to resolve", ""),
}


def _socket_words(case: Case) -> str:
    verb, rest = _VERBS.get(case.wait.kind, ("It waits for data from", ""))
    if _shakes_hands(case):
        verb, rest = "It waits in the TLS handshake with", ""
    peer = case.peer or waited_for(case.wait) or "an unknown peer"
    if case.wait.kind is WaitKind.ACCEPT:
        peer = live(case, case.wait.local or "") or case.peer or "its port"
    bound = "and has no timeout" if case.is_unbounded else ""
    fact = f"{join(verb, peer, rest, bound)}."
    return join(fact, stopped(case, case.stopped_ns), _idle(case), _timeout(case))


def _shakes_hands(case: Case) -> bool:
    return case.wait.purpose is WaitPurpose.TLS_HANDSHAKE


def _socket_advice(case: Case) -> str:
    if _shakes_hands(case):
        return f"Check whether {case.peer or 'the peer'} speaks TLS and is healthy; then set a timeout."
    if case.wait.kind is WaitKind.CONNECT:
        return f"Check whether {case.peer or 'the peer'} listens and is reachable (firewall, DNS, security group)."
    if case.wait.kind is WaitKind.DNS:
        return "Check that the host's DNS servers answer (/etc/resolv.conf)."
    if case.wait.kind is WaitKind.ACCEPT:
        return "Check why no client connects; if that is normal, do not wait for it inside a job."
    return f"Check whether {case.peer or 'the peer'} is healthy; then give the socket a timeout (settimeout)."


def _idle(case: Case) -> str:
    idle_ns = case.wait.idle_ns
    return live(case, f"The peer has sent nothing for {took(idle_ns)}.") if idle_ns is not None else ""


def _timeout(case: Case) -> str:
    timeout_ns = case.wait.timeout_ns if case.wait.timeout_ns is not None else case.call.timeout_ns
    return f"The timeout is {took(timeout_ns)}." if timeout_ns is not None and not case.is_unbounded else ""


def _bound(case: Case) -> str:
    return (
        _timeout(case) if case.is_bounded or case.is_unbounded else "lastspan could not see whether it has a timeout."
    )
