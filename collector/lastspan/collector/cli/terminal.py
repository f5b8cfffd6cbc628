"""Output for people, on any terminal: a character that the terminal cannot show is escaped.

One door: the command line puts it before its output once, and everybody writes as if the terminal could show it all.
"""

from __future__ import annotations

import codecs
import io
import json
import sys
from typing import Final, TextIO

_ESCAPED: Final = "lastspan.told"
_REPLACEMENTS: Final = {
    "…": "...",
    "─": "-",
    "→": "->",
    "←": "<-",
    "↺": "<->",
    "▶": ">",
    "×": "x",
    "÷": "/",
    "·": "-",
    "–": "-",
    "—": "-",
    "−": "-",
    "µ": "u",
    "μ": "u",
    "«": '"',
    "»": '"',
    "“": '"',
    "”": '"',
    "’": "'",
    "≥": ">=",
    "≤": "<=",
    "≈": "~",
    "\N{NO-BREAK SPACE}": " ",
}
"""Of ours. What others have written, as names of jobs, is told by number, so that it can be searched for."""


def prepare() -> None:
    """Put the door before this process's output."""
    codecs.register_error(_ESCAPED, _escaped)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPED)
            if _is_ascii(stream):
                setattr(sys, name, _Ascii(stream))


def shows(text: str, stream: TextIO | None = None) -> bool:
    """Say whether the output can write a text as it is."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeError:
        return False
    return True


def exact(text: str) -> str:
    """Return JSON that means the same, and that the output can write: a program reads it."""
    return text if shows(text) else "".join(one if one.isascii() else json.dumps(one)[1:-1] for one in text)


def _escaped(problem: UnicodeError) -> tuple[str, int]:
    if not isinstance(problem, UnicodeEncodeError):
        raise problem
    part = problem.object[problem.start : problem.end]
    told = (_REPLACEMENTS.get(one) or one.encode("ascii", "backslashreplace").decode() for one in part)
    return "".join(told), problem.end


def _is_ascii(stream: TextIO) -> bool:
    try:
        return codecs.lookup(stream.encoding).name == "ascii"
    except LookupError:
        return False


class _Ascii(io.TextIOBase):
    """An output of ASCII, as it is: click takes one for a mistake, and writes UTF-8 to what is below it."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()
