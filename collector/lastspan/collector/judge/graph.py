"""The wait graph of all suspects: jobs, locks, sessions, peers, processes. Pure; built on request.

An edge goes from the one that waits to what it waits for, and from a thing to the job that has it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from lastspan.semconv.vocabulary import Certainty, WaitKind, Word

from ..track import JobRow
from .blockers import Blocker, behind, blocker
from .context import JudgeContext, evidence_of
from .names import file_line
from .words import session, short

MAX_NODES = 2000


class NodeKind(Word):
    """What a node stands for."""

    JOB = "job"
    LOCK = "lock"
    SESSION = "session"
    PEER = "peer"
    PROCESS = "process"
    TASK = "task"


class Node(msgspec.Struct, frozen=True):
    """A job, or a thing that jobs wait for."""

    id: str
    kind: NodeKind
    title: str
    subtitle: str
    state: str
    """Of a job: its state; else empty."""
    job_id: str = ""
    job_key: bytes = b""
    """Of a job that is known."""


class Edge(msgspec.Struct, frozen=True):
    """One waits for, or is held by, the other."""

    source: str
    target: str
    kind: str
    """The kind of wait, or `held by`."""
    certainty: Certainty


class WaitGraph(msgspec.Struct, frozen=True):
    """Who waits for whom."""

    nodes: dict[str, Node]
    edges: list[Edge]
    roots: tuple[str, ...]
    """Nodes that others wait for and that wait for nobody, those that hold up the most first."""
    cycles: tuple[tuple[str, ...], ...]
    """Deadlocks."""
    waiting: dict[str, int]
    """For each root or member of a cycle: how many jobs wait for it, at any distance."""


def graph(jobs: Iterable[JobRow], context: JudgeContext, *, limit: int = MAX_NODES) -> WaitGraph:
    """Return the graph of *jobs*, and of those that hold what they wait for; at most *limit* nodes."""
    drawing = _GraphBuilder(context, limit)
    for job in jobs:
        drawing.add_job(job)
    nodes, edges = drawing.nodes, list(dict.fromkeys(drawing.edges))
    following: dict[str, list[str]] = {id: [] for id in nodes}
    before: dict[str, list[str]] = {id: [] for id in nodes}
    for edge in edges:
        following[edge.source].append(edge.target)
        before[edge.target].append(edge.source)
    cycles = tuple(tuple(part) for part in components(following) if len(part) > 1 or part[0] in following[part[0]])
    ends = [id for id in nodes if before[id] and not following[id]]
    waiting = {id: _count_jobs(id, before, nodes) for id in (*ends, *(id for cycle in cycles for id in cycle))}
    roots = tuple(sorted(ends, key=lambda id: -waiting[id]))
    return WaitGraph(nodes, edges, roots, cycles, waiting)


class _GraphBuilder:
    def __init__(self, context: JudgeContext, limit: int) -> None:
        self._context = context
        self._limit = limit
        self._drawn: set[bytes] = set()
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []

    def add_job(self, job: JobRow) -> None:
        """Draw a job and, one after the other, those that it waits for."""
        current: JobRow | None = job
        while current is not None and current.span.key not in self._drawn:
            self._drawn.add(current.span.key)
            step = blocker(current, self._context.verdict(current).last, self._context)
            source, passed = self._job(current), set[bytes]()
            while step is not None:
                self._step(source, step)
                current = step.job
                if current is not None:
                    break
                source, step = self._thing(step), behind(step, self._context, passed)
            if step is None:
                return

    def _step(self, source: str | None, step: Blocker) -> None:
        thing = self._thing(step)
        if source is None or thing is None:
            return
        if step.job is None:
            self.edges.append(Edge(source, thing, step.kind or "waits for", step.certainty))
            return
        holder = self._job(step.job)
        if holder is None:
            return
        if thing == holder:
            self.edges.append(Edge(source, holder, step.kind or "waits for", step.certainty))
            return
        self.edges.append(Edge(source, thing, step.kind or "waits for", Certainty.CERTAIN))
        self.edges.append(Edge(thing, holder, "held by", step.certainty))

    def _job(self, job: JobRow) -> str | None:
        context = self._context
        leaf = context.verdict(job).last
        evidence = evidence_of(job, leaf)
        where = file_line(evidence.file, evidence.line) or leaf.span.name
        state = context.verdict(job).state.value
        key = job.span.key
        return self._add(Node(f"job:{key.hex()}", NodeKind.JOB, job.type.name, short(where), state, job.job_id, key))

    def _thing(self, step: Blocker) -> str | None:
        if step.job is not None and step.kind is WaitKind.JOB:
            return self._job(step.job)
        if step.session is not None:
            one = step.session
            return self._add(
                Node(f"session:{one.server} {one.id}", NodeKind.SESSION, f"session {one.id}", session(one), "")
            )
        if step.key:
            return self._add(
                Node(f"lock:{step.key}", NodeKind.LOCK, short(step.resource or step.key), step.kind or "", "")
            )
        if step.pid is not None:
            return self._add(Node(f"process:{step.pid}", NodeKind.PROCESS, f"process {step.pid}", step.thread, ""))
        if step.job_id:
            return self._add(
                Node(f"awaited:{step.job_id}", NodeKind.JOB, short(step.job_id), "not started", "", step.job_id)
            )
        if step.peer:
            return self._add(Node(f"peer:{step.peer}", NodeKind.PEER, short(step.peer), step.kind or "", ""))
        name = step.thread or step.resource
        return self._add(Node(f"{step.kind or ''}:{name}", NodeKind.TASK, short(name), step.code, "")) if name else None

    def _add(self, node: Node) -> str | None:
        if node.id not in self.nodes:
            if len(self.nodes) >= self._limit:
                return None
            self.nodes[node.id] = node
        return node.id


def components(following: dict[str, list[str]]) -> list[list[str]]:
    """Return the strongly connected components (Tarjan 1972, without recursion: a chain may be long)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[list[str]] = []
    for start in following:
        if start in index:
            continue
        work = [(start, iter(following[start]))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on_stack.add(start)
        while work:
            node, rest = work[-1]
            for other in rest:
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(following[other])))
                    break
                if other in on_stack:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    found.append(_take(stack, on_stack, node))
    return found


def _take(stack: list[str], on_stack: set[str], until: str) -> list[str]:
    part: list[str] = []
    while not part or part[-1] != until:
        part.append(stack.pop())
        on_stack.discard(part[-1])
    return part[::-1]


def _count_jobs(id: str, before: dict[str, list[str]], nodes: dict[str, Node]) -> int:
    seen, work = {id}, [id]
    while work:
        for other in before[work.pop()]:
            if other not in seen:
                seen.add(other)
                work.append(other)
    return sum(1 for other in seen if other != id and nodes[other].kind is NodeKind.JOB)
