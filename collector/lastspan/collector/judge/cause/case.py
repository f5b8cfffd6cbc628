"""One job whose cause is asked for, and the answer."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from lastspan.semconv.peers import host_of, template
from lastspan.semconv.vocabulary import CauseName

from ...model.evidence import Evidence, Lock, Wait
from ...model.records import Call, Kind
from ...track import JobRow
from ..context import JudgeContext, evidence_of, server_of
from ..verdict import Leaf, Verdict

_NO_WAIT, _NO_LOCK = Wait(), Lock()
_MOVES_NS = 3_000_000_000
_BUSY_CPU, _BUSY = 0.02, 0.05
"""A thread that uses so much of a core, and with the time that it waits for one so much, computes; others wait."""


class Case(msgspec.Struct, gc=False):
    """A job, the verdict on it, what was seen of its code, and whom else to ask."""

    job: JobRow
    verdict: Verdict
    context: JudgeContext
    evidence: Evidence
    wait: Wait
    """Empty where nothing was reported."""
    lock: Lock
    stable: bool = False
    """What is said of it is to be a label: without what changes by itself (ages, shares, lines of code that runs), and
    without what has room for more than a name (calls, reasons, what others wrote of themselves)."""

    @property
    def last(self) -> Leaf:
        """Where the job is, or where it stopped."""
        return self.verdict.last

    @property
    def call(self) -> Call:
        """What the last span calls."""
        return self.verdict.last.span.call

    @property
    def peer(self) -> str:
        """host:port of the other end; empty: none is known."""
        return server_of(self.last.span, self.evidence) or _of_url(self.call)

    @property
    def route(self) -> str:
        """Where at the peer: the path of the URL without the ids in it; empty: not known."""
        told = self.call.attribute("url.template") or self.call.attribute("http.route")
        url = str(self.call.attribute("url.full") or "").partition("://")[2]
        path = str(self.call.attribute("url.path") or url.partition("/")[2])
        return str(told) if told else template("/" + path.partition("?")[0].lstrip("/")) if path else ""

    @property
    def process(self) -> str:
        """The process that the job runs in."""
        row = self.job.span.process
        return "" if row is None else row.id

    @property
    def host_or_process(self) -> str:
        """The host or pod that it runs on, else the process."""
        row = self.job.span.process
        return "" if row is None else row.resource.pod or row.resource.host or row.id

    @property
    def stopped_ns(self) -> int:
        """For how long it has been where it is."""
        stood_ns = self.evidence.stack_age_ns
        return self.last.age_ns if stood_ns is None else min(self.last.age_ns, stood_ns)

    @property
    def is_http(self) -> bool:
        """Whether the last span is a request whose answer it waits for."""
        return self.call.kind is Kind.HTTP or self.call.attribute("rpc.system") is not None

    @property
    def is_database(self) -> bool:
        """Whether the last span asks a database."""
        return self.call.kind is Kind.DB

    @property
    def is_busy(self) -> bool:
        """Whether its thread computes, by the time that it got and the time that it would have used."""
        cpu = self.evidence.cpu_ratio or 0.0
        return cpu > _BUSY_CPU and cpu + (self.evidence.runqueue_ratio or 0.0) > _BUSY

    @property
    def is_moving(self) -> bool:
        """Whether its code is at another line at each look."""
        stood_ns = self.evidence.stack_age_ns
        return self.is_busy or (stood_ns is not None and stood_ns < _MOVES_NS)

    @property
    def is_unbounded(self) -> bool:
        """Whether what it waits in has no timeout."""
        return self.call.unbounded or self.wait.unbounded

    @property
    def is_bounded(self) -> bool:
        """Whether it is known to have a timeout."""
        return self.wait.timeout_ns is not None or self.call.timeout_ns is not None

    @property
    def silent_ns(self) -> int:
        """For how long the peer has sent nothing, as far as that is known."""
        return self.stopped_ns if self.wait.idle_ns is None else self.wait.idle_ns


def stable(case: Case) -> Case:
    """Return the case for labels: what the worker names is named without the part that changes by itself."""
    wait, evidence = case.wait, case.evidence
    if wait.processes:
        stateless = tuple(msgspec.structs.replace(one, state="") for one in wait.processes)
        wait = msgspec.structs.replace(wait, processes=stateless)
    if evidence.loop is not None and evidence.loop.place is not None:  # what keeps a loop from running runs itself
        place = msgspec.structs.replace(evidence.loop.place, line=None)
        evidence = msgspec.structs.replace(evidence, loop=msgspec.structs.replace(evidence.loop, place=place))
    return msgspec.structs.replace(case, stable=True, wait=wait, evidence=evidence)


def case(job: JobRow, verdict: Verdict, context: JudgeContext) -> Case:
    """Return the case of a job."""
    evidence = evidence_of(job, verdict.last)
    return Case(job, verdict, context, evidence, evidence.wait or _NO_WAIT, evidence.lock or _NO_LOCK)


Words = Callable[[Case], str]


class Cause(msgspec.Struct, frozen=True):
    """Why a job is as it is."""

    name: CauseName
    confidence: float
    """0 … 1: how often we would be right if we said so each time. 0: not known."""
    family: str
    """Causes of one family make one incident."""
    target: str
    """Holder, peer, job, span … that is in the way: what jobs of one incident have in common."""
    words: Words
    """Makes the sentence that a person reads: only when one does."""
    advice: Words
    """Makes the first thing to do."""
    proven: bool = False
    """The evidence alone is enough to wake somebody, whatever the job is allowed."""
    is_guess: bool = False
    """Another look, or a probe, may soon say what is really in the way: the incident is not named by this yet."""


Finder = Callable[[Case], Cause | None]


def _of_url(call: Call) -> str:
    address = call.attribute("network.peer.address")
    if address is not None:
        port = call.attribute("network.peer.port")
        return f"{address}:{port}" if port is not None else str(address)
    return host_of(str(call.attribute("url.full") or ""))
