"""A place in the code, as attributes: where a span's code stands, or somebody else's."""

from __future__ import annotations

from types import CodeType
from typing import Any, Final

from lastspan.semconv import attributes as a

from ..evidence import CodeLine, sample_stack
from ..guest import redact
from ..registry.spans import ExecutionContext

PATH_MAX: Final = 1024
_OWN: Final = (a.CODE_FUNCTION, a.CODE_FILE, a.CODE_LINE)
OF_LOOP: Final = (a.LOOP_FUNCTION, a.LOOP_FILE, a.LOOP_LINE)
OF_HOLDER: Final = (a.LOCK_HOLDER_FUNCTION, a.LOCK_HOLDER_FILE, a.LOCK_HOLDER_LINE)
OF_STALL: Final = (a.PROCESS_OVERSLEPT_FUNCTION, a.PROCESS_OVERSLEPT_FILE, a.PROCESS_OVERSLEPT_LINE)
"""The names of function, file and line."""


def code_at(where: ExecutionContext, package: str) -> CodeLine | None:
    """Return the place where somebody's code stands now; None: it cannot be seen."""
    step = sample_stack(where).place(package)
    return None if step is None else CodeLine.of(step)


def code_attributes(code: CodeType, line: int) -> dict[str, Any]:
    """Return a place's function, file and line."""
    return place_attributes(_OWN, CodeLine.of((code, line)))


def place_attributes(names: tuple[str, str, str], place: CodeLine | None) -> dict[str, Any]:
    """Return a place by the names of its attributes; {}: it is not known."""
    if place is None:
        return {}
    return dict(zip(names, (redact.text(place.function), redact.text(place.file, PATH_MAX), place.line), strict=True))
