"""A place in the code, as it is announced: in words, and as attributes."""

from __future__ import annotations

from types import CodeType
from typing import Any

from lastspan.semconv import attributes as a

from ..evidence import look, qualname
from ..evidence.stack.frames import short_place
from ..guest import redact
from ..registry.spans import Where


def code_text(code: CodeType, line: int) -> str:
    """Name a place for people: function, file:line."""
    return redact.text(f"{qualname(code)}, {short_place(code.co_filename, line)}", 512)


def code_at(where: Where, package: str) -> str:
    """Name the place where somebody's code stands now; empty: it cannot be seen."""
    step = look(where).place(package)
    return "" if step is None else code_text(*step)


def code_attributes(code: CodeType, line: int) -> dict[str, Any]:
    """Return a place's function, file and line."""
    return {
        a.CODE_FUNCTION: redact.text(qualname(code)),
        a.CODE_FILE: redact.text(code.co_filename, 1024),
        a.CODE_LINE: line,
    }
