"""Processes that end at once, by `os._exit`: children of `multiprocessing`, and of whoever forks workers by hand.

No `atexit` runs there, so what was said last, that a job has ended, would be lost, and the job would count as lost too.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from typing import Any, Final

from .patches import Patches

_patches: Final = Patches()


def install(before: Callable[[], None]) -> None:
    """Have *before* called whenever `os._exit` is."""

    def saying(original: Any) -> Any:
        @functools.wraps(original)
        def _exit(*args: Any, **kwargs: Any) -> Any:
            with contextlib.suppress(Exception):  # nothing keeps a process from ending
                before()
            return original(*args, **kwargs)

        return _exit

    _patches.wrap(os, {"_exit": saying})


def uninstall() -> None:
    """Give it back."""
    _patches.restore()
