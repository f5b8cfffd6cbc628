"""What is told of the process as a whole: its status, its children, what it uses, and that it could not run."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lastspan.semconv import attributes as a
from lastspan.semconv.vocabulary import FRAMEWORKS, SUPPORTED_FRAMEWORKS

from ..evidence import CodeLine
from ..guest import procfs
from .places import OF_STALL, place_attributes

if TYPE_CHECKING:
    from ..registry.children import Child


class Stall(NamedTuple):
    """The whole process stood still, or native code held the interpreter."""

    seconds: float
    place: CodeLine | None
    """Where the oldest job stood when it could go on."""
    at: float
    """When it was seen; monotonic, s."""


def of_children(children: Sequence[Child]) -> dict[str, Any]:
    """Return what the kernel says of the children that run jobs."""
    if not children:
        return {}
    return {
        a.PROCESS_CHILD_PIDS: [child.pid for child in children],
        a.PROCESS_CHILD_STATES: [child.state for child in children],
        a.PROCESS_CHILD_CPU_RATIOS: [child.cpu_ratio for child in children],
        a.PROCESS_CHILD_WAITS: [child.wait for child in children],
    }


def of_usage(*, gil_contended: bool) -> dict[str, Any]:
    """Return what the process uses; *is_hurried*: without what the kernel says in files."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        a.PROCESS_CPU_TIME: usage.ru_utime + usage.ru_stime,
        a.PROCESS_RSS: None if gil_contended else _resident_bytes(),
        a.PROCESS_FRAMEWORKS: _unseen_frameworks() or None,
    }


def of_stall(stall: Stall) -> dict[str, Any]:
    """Return for how long the process stood still, and where."""
    return {a.PROCESS_OVERSLEPT: stall.seconds, **place_attributes(OF_STALL, stall.place)}


def _unseen_frameworks() -> list[str]:
    """Job frameworks that are loaded here and whose jobs we do not see."""
    return [name for name, module in FRAMEWORKS.items() if module in sys.modules and name not in SUPPORTED_FRAMEWORKS]


def _resident_bytes() -> int | None:
    words = procfs.read("/proc/self/statm").split()
    return int(words[1]) * os.sysconf("SC_PAGESIZE") if len(words) > 1 else None
