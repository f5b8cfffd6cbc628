"""What `/` shows: stuck jobs grouped by what they stopped at, what blocks them, what runs, and the connections."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

import msgspec

from ...judge.graph import NodeKind, WaitGraph
from ...model.records import Severity, State
from ...track import JobRow
from ..blocked_by import key_text
from ..jobs import SCANNED, all_jobs
from ..status import status
from ..text.wiring import wiring
from ..view import View
from .filter import SORTS, Filter
from .paths import job_path
from .rows import JobLine, job_line

ROWS: Final = 200
"""Lines in all."""
IN_GROUP: Final = 10
"""Lines of one incident, unless it is the one that is asked for."""
_GROUPS: Final = 40
_SLOWEST: Final = 8
_CHOICES: Final = 100
_ROOTS: Final = 10
_BRANCHES: Final = 8
_DEPTH: Final = 8
_ORDER: Final = (State.STUCK, State.LOST, State.FROZEN, State.OVERDUE, State.RUNNING, State.ENDED)
_CALM: Final = frozenset({State.RUNNING, State.OVERDUE, State.ENDED})
"""States that nobody has to look at."""


class IncidentGroup(msgspec.Struct, frozen=True):
    """Jobs that stopped at one thing."""

    incident: str
    state: str
    """Of the first."""
    cause: str
    text: str
    pages: bool
    """Somebody is woken for it."""
    count: int
    rows: list[JobLine]
    path: str
    """Of the page that shows all of them."""


class Branch(msgspec.Struct, frozen=True):
    """A node of the tree of waits, and those that wait for it."""

    kind: str
    title: str
    job_id: str
    subtitle: str
    state: str
    path: str
    count: int
    """How many jobs wait for it, at any distance; 0: not counted."""
    waiting: list[Branch]


def overview(view: View, asked: Filter, url: str) -> dict[str, Any]:
    """Return what the page shows."""
    context = view.known()
    groups, rest = _groups(view, asked)
    drawn = view.graph(_CHOICES)
    wired = wiring(msgspec.to_builtins(status(view)), url)
    return {
        "asked": asked,
        "sorts": SORTS,
        "states": _ORDER,
        "counts": view.states(),
        "choices": _choices(view),
        "groups": groups,
        "hidden": rest,
        "listed": _listed(view, asked),
        "tree": _tree(drawn),
        "circles": [[_branch(drawn, id, 0, set()) for id in cycle[:_BRANCHES]] for cycle in drawn.cycles[:_ROOTS]],
        "slowest": [job_line(view, job, context)[0] for job in _slowest(view, context.now_ns)]
        if asked.is_empty
        else [],
        "wiring": wired,
        "is_wired": all(line.is_fine for line in wired),
        "is_heard": any(True for _ in view.processes()),
        "findings": len(view.findings()),
    }


# --- what is stuck ------------------------------------------------------------------------------------------------


def _groups(view: View, asked: Filter) -> tuple[list[IncidentGroup], int]:
    """Return the incidents that are meant, and how many jobs are in those that have no room."""
    if asked.state in _CALM:
        return [], 0
    by_incident: dict[str, list[JobRow]] = {}
    for job in view.suspects():
        if job.suspect_state is not None and asked.state in ("", job.state.value) and asked.means(job):
            by_incident.setdefault(job.suspect_state.incident, []).append(job)
    ordered = sorted(by_incident.items(), key=lambda pair: _rank(asked.sort, pair[1]))
    shown, room = [], ROWS
    for incident, jobs in ordered[:_GROUPS]:
        if room <= 0:
            break
        group = _group(view, asked, incident, jobs, min(room, ROWS if asked.incident else IN_GROUP))
        room -= len(group.rows)
        shown.append(group)
    if asked.sort == "jobs":
        shown.sort(key=lambda group: not group.pages)
    return shown, sum(len(jobs) for _, jobs in ordered[len(shown) :])


def _rank(sort: str, jobs: list[JobRow]) -> tuple[object, ...]:
    oldest = min(job.span.start_ns for job in jobs)
    if sort == "name":
        return min(job.type.name for job in jobs), oldest
    return (oldest,) if sort == "age" else (-len(jobs), oldest)


def _group(view: View, asked: Filter, incident: str, jobs: list[JobRow], room: int) -> IncidentGroup:
    context = view.known()
    chosen = heapq.nsmallest(
        room, jobs, key=lambda job: (job.type.name if asked.sort == "name" else "", job.span.start_ns)
    )
    told = [job_line(view, job, context) for job in chosen]
    cause = next((cause for _, cause in told if cause is not None), None)
    return IncidentGroup(
        incident=incident,
        state=told[0][0].state,
        cause="" if cause is None else cause.name,
        text="" if cause is None else cause.text,
        pages=any(row.severity == Severity.PAGE for row, _ in told),
        count=len(jobs),
        rows=[row for row, _ in told],
        path=asked.url(incident=incident),
    )


def _listed(view: View, asked: Filter) -> list[JobLine]:
    """Return jobs that nobody needs to look at: those that are asked for, else those that are overdue but move."""
    state = asked.state or State.OVERDUE.value
    if state not in _CALM:
        return []
    jobs = islice(all_jobs(view, state), SCANNED)
    context = view.known()
    meant = (job for job in jobs if job.state.value == state and asked.means(job))
    rows = [job_line(view, job, context)[0] for job in islice(meant, ROWS)]
    keys = {"name": lambda row: row.job_name, "age": lambda row: -row.age}
    return rows if state == State.ENDED else sorted(rows, key=keys.get(asked.sort, lambda row: -row.times))


def _slowest(view: View, now_ns: int) -> list[JobRow]:
    """Return the jobs that run and are nearest to what they may."""

    def share(job: JobRow) -> float:
        allowance = view.policy.job(job.type, job.span.name, job.span.expected_ns)
        return (now_ns - job.span.start_ns) / max(1, allowance.allowed_ns)

    running = (job for job in islice(view.jobs(), SCANNED) if job.state is State.RUNNING)
    return heapq.nlargest(_SLOWEST, running, key=share)


def _choices(view: View) -> dict[str, list[str]]:
    series = list(view.series())
    return {
        "job": _names(one.job_name for one in series),
        "queue": _names(one.queue for one in series),
        "service": _names(one.service for one in series),
    }


def _names(names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name})[:_CHOICES]


# --- who waits for whom -------------------------------------------------------------------------------------------


def _tree(drawn: WaitGraph) -> list[Branch]:
    """Return those that hold up others: jobs, sessions, processes; and what several wait for, if somebody has it."""
    alone = (NodeKind.JOB, NodeKind.SESSION, NodeKind.PROCESS)
    holders = [
        id
        for id in drawn.roots
        if (kind := drawn.nodes[id].kind) in alone or (kind is not NodeKind.TASK and drawn.waiting[id] > 1)
    ]
    return [_branch(drawn, id, _DEPTH, set()) for id in holders[:_ROOTS]]


def _branch(drawn: WaitGraph, id: str, depth: int, seen: set[str]) -> Branch:
    seen.add(id)
    node = drawn.nodes[id]
    before = [edge.source for edge in drawn.edges if edge.target == id and edge.source not in seen] if depth else []
    path = ""
    if len(node.job_key) == 24:
        path = job_path(key_text(node.job_key))
    elif node.job_id:
        path = job_path(node.job_id)
    return Branch(
        node.kind,
        node.title,
        node.job_id if node.job_id != node.title else "",
        "" if node.subtitle == node.kind else node.subtitle,
        node.state,
        path,
        drawn.waiting.get(id, 0),
        [_branch(drawn, source, depth - 1, seen) for source in before[:_BRANCHES]],
    )
