"""Causes in two or three words: the headings of `/`. The sentence below each says the rest."""

from __future__ import annotations

from lastspan.semconv.vocabulary import CAUSE_HEADINGS


def heading(cause: str) -> str:
    """Return a cause's heading."""
    return CAUSE_HEADINGS.get(cause, CAUSE_HEADINGS["unknown"])
