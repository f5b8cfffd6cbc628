"""Of how many jobs and incidents something is said one by one, and of which: the same at `/metrics` and in alerts."""

from __future__ import annotations

from itertools import islice

from ..track import Incident, JobRow
from .view import View

MAX_SUSPECTS = 200
MAX_INCIDENTS = 100


def chosen_suspects(view: View) -> list[JobRow]:
    """Return the suspects that get series: one of each incident, then the first found, always in the same order."""
    chosen = {(job := next(iter(incident.jobs.values()))).span.key: job for _, incident in chosen_incidents(view)}
    for job in islice(view.suspects(), 2 * MAX_SUSPECTS):
        if len(chosen) >= MAX_SUSPECTS:
            break
        if job.suspect_state is not None and job.suspect_state.incident:  # else what is in its way is not plain yet
            chosen.setdefault(job.span.key, job)
    return sorted(chosen.values(), key=lambda job: job.suspect_state.since_ns if job.suspect_state is not None else 0)


def chosen_incidents(view: View) -> list[tuple[str, Incident]]:
    """Return the incidents that get series, by name: the first found."""
    return list(islice(view.incidents().items(), MAX_INCIDENTS))


def left_out(view: View, chosen: list[JobRow]) -> int:
    """Return how many suspects there is no room for; those that have no name yet are not meant."""
    found = len(view.suspects())
    is_truncated = len(chosen) >= MAX_SUSPECTS or found > 2 * MAX_SUSPECTS
    return max(0, found - len(chosen)) if is_truncated else 0
