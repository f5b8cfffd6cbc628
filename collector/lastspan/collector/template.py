"""Names without the ids in them: `/orders/17/items` and `/orders/18/items` are one thing."""

from __future__ import annotations

import re
from functools import lru_cache

ID = "{id}"
_MAX = 120
_WORDS = re.compile(r"[0-9A-Za-z]+(?:[-_][0-9A-Za-z]+)*")
_IDS = re.compile(r"\d+|[0-9a-f]{8,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LONG = 20
"""A word of so many letters and digits is no word."""


@lru_cache(4096)
def template(text: str) -> str:
    """Return a name with `{id}` for each number, UUID, digest or token in it; at most 120 characters."""
    return _WORDS.sub(_word, text[: 4 * _MAX])[:_MAX]


def _word(match: re.Match[str]) -> str:
    word = match[0]
    if _IDS.fullmatch(word):
        return ID if any(letter.isdigit() for letter in word) else word
    digits = sum(letter.isdigit() for letter in word)
    if digits and len(word) >= _LONG and "_" not in word:
        return ID
    return re.sub(r"(?<=[-_])\d+(?=[-_]|$)", ID, word)
