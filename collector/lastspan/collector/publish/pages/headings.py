"""Causes in two or three words: the headings of `/`. The sentence below each gives the details."""

from __future__ import annotations

from lastspan.semconv.vocabulary import CAUSE_HEADINGS


def heading(cause: str) -> str:
    """Return a cause's heading."""
    return CAUSE_HEADINGS.get(cause, CAUSE_HEADINGS["unknown"])
