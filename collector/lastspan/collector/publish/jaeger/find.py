"""Finds the jobs that match a search. Rows are checked cheaply first; only possible matches are built in full."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from ...track import JobRow
from ..jobs import SCANNED, Wall, all_jobs, job_view
from ..view import View
from . import traces
from .query import JaegerQuery
from .shapes import JaegerOperation, JaegerTrace

_NAMES = 1000
_TOLD = 2000
"""Traces that one search tells in full, to look at their tags."""


def services(view: View) -> list[str]:
    """Return the services of which anything is known."""
    told = (series.service for series in view.series() if series.service != "other")
    heard = (row.resource.service for row, _ in view.processes())
    return traces.first((name or traces.NO_SERVICE for part in (told, heard) for name in part), _NAMES)


def operations(view: View, service: str, kind: str = "") -> list[JaegerOperation]:
    """Return the names of a service's spans that are open now or were when their job ended."""
    found: dict[tuple[str, str], None] = {}
    for job in islice(all_jobs(view, None), SCANNED):
        if not _is_of(job, service):
            continue
        for span in (job.span, *job.members()):
            told = (span.name, (span.kind or "internal").lower())
            if kind in ("", told[1]) and len(found) < _NAMES:
                found[told] = None
    return [JaegerOperation(*told) for told in sorted(found)]


def one(view: View, trace_id: bytes, wall: Wall) -> JaegerTrace | None:
    """Return a trace; None: nothing of it is known."""
    return next(iter(_traces(view, [trace_id], wall)), None)


def search(view: View, query: JaegerQuery, wall: Wall) -> list[JaegerTrace]:
    """Return the traces that are meant, suspects first.

    Of a job that is open the whole time between its start and now counts: one that hangs since yesterday is found
    whatever the hour that a client looks back.
    """
    if query.trace_ids:
        return list(_traces(view, query.trace_ids, wall))
    now = wall()
    meant = dict.fromkeys(
        job.span.key[:16]
        for job in islice(all_jobs(view, None), SCANNED)
        if (not query.service or _is_of(job, query.service))
        and len(job.span.key) == 24
        and _overlaps(view, job, query, now)
    )
    found = _traces(view, islice(meant, _TOLD), wall)
    asked = {
        "operation": query.operation,
        "tags": dict(query.tags),
        "at_least": query.at_least,
        "at_most": query.at_most,
    }
    return list(islice((trace for trace in found if traces.has(trace, **asked)), query.limit))  # type: ignore[arg-type]


def _is_of(job: JobRow, service: str) -> bool:
    return (job.type.service or traces.NO_SERVICE) == service


def _overlaps(view: View, job: JobRow, query: JaegerQuery, now: float) -> bool:
    now_ns = view.clock()
    started = now - (now_ns - job.span.start_ns) / 1e9
    ended = now if job.end is None else now - (now_ns - job.end.at_ns) / 1e9
    return started <= query.end and ended >= query.start


def _traces(view: View, trace_ids: Iterable[bytes], wall: Wall) -> Iterator[JaegerTrace]:
    """Yield those traces of which a job is known."""
    context = view.known()
    for trace_id, together in view.of_traces(trace_ids).items():
        if together:
            told = (job_view(view, job, wall=wall, context=context) for job in together[: traces.MAX_SPANS])
            yield traces.trace(trace_id.hex(), told)
