"""What comes from other people's programs, so that a terminal can show it."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
"""An answer of the API."""


def printable(value: Any) -> Any:
    """Names come from other people's programs: what would move a terminal's cursor is shown as a question mark."""
    match value:
        case str():
            return value if value.isprintable() else "".join(c if c.isprintable() or c == "\n" else "?" for c in value)
        case dict():
            return {name: printable(item) for name, item in value.items()}
        case list():
            return [printable(item) for item in value]
        case _:
            return value
