"""Describes errors of our own, without keeping the error: its traceback holds the frames that it went through.

A handler of the host's may keep a record for as long as it likes (an `exc_info` with it), and with a frame of ours what
that was looking at: frames, locks and tasks of the host.
"""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final, ParamSpec, TypeVar

_LINES_MAX: Final = 8


P = ParamSpec("P")
R = TypeVar("R")


def or_none(function: Callable[P, R]) -> Callable[P, R | None]:
    """Have a function return None where it would raise: a guest never does, and what others keep may be anything."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return function(*args, **kwargs)
        except Exception:
            return None

    return guarded


def describe_error(error: BaseException) -> str:
    """Return class and lines of an error that is over, innermost last; and let go of what its frames held."""
    lines = [
        f"{code.co_name}, {os.path.basename(code.co_filename)}:{line}"
        for code, line in ((frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__))
    ]
    for one in _chain(error):
        for frame, _ in traceback.walk_tb(one.__traceback__):
            _let_go(frame)
    return " < ".join([_kind(error), *reversed(lines[-_LINES_MAX:])])


_OURS: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def _let_go(frame: FrameType) -> None:
    """Clear a frame of ours that is over. Never one of the host's: a suspended generator would be closed by that."""
    if frame.f_code.co_filename.startswith(_OURS):
        try:
            frame.clear()
        except RuntimeError:  # it still runs
            return


def _kind(error: BaseException) -> str:
    """Its message stays here: it may hold what a job was given."""
    return type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and those that it was raised in the handling of."""
    passed: set[int] = set()
    while error is not None and id(error) not in passed:
        passed.add(id(error))
        yield error
        error = error.__context__ if error.__cause__ is None else error.__cause__
