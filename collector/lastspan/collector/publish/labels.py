"""What `/metrics` and alerts say of a job alike, as labels have it."""

from __future__ import annotations

from ..judge.cause import Brief
from .shapes import JobView

_MAX = 200
_NOTHING = Brief("", "", "", "", "")

Labels = tuple[str, ...]


def as_labels(*values: object) -> Labels:
    """Return the values of labels, each of a reasonable length."""
    return tuple("" if value is None else str(value)[:_MAX] for value in values)


def brief(job: JobView) -> Brief:
    """Return what a page says of a job."""
    return job.brief or _NOTHING


def code_line(job: JobView) -> str:
    """Return the code line of a job; empty: not known."""
    return "" if job.code is None else f"{job.code.function} {job.code.file}:{job.code.line}"
