"""Paths of pages."""

from __future__ import annotations

from urllib.parse import quote


def job_path(ref: str, ending: str = "") -> str:
    """Return the path of a job's page."""
    return f"/jobs/{quote(ref, safe='')}{ending}"
