"""The shape of a framework's module: one class, which hooks into the framework and says what it can tell."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any, ClassVar, TypeVar

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.trace import SpanKind

from ..guest import log
from ..guest.patches import Patches
from ..registry import current
from .facts import Tells
from .lifecycle import Jobs

_log = log.Log(__name__)
_T = TypeVar("_T")


class JobInstrumentor(BaseInstrumentor):
    """Marks the jobs of one framework; all state is its own.

    There is one object a class, and each call of the class runs `__init__` again: state is made in `hook`.
    """

    system: ClassVar[str]
    """What the framework is called: in lower case, as its package."""
    requires: ClassVar[tuple[str, ...]]
    """Its distribution, in the versions that were tried: `("rq >= 2, < 4",)`."""
    official: ClassVar[str | None] = None
    """`module:Class` of an instrumentation that opens a consumer span for each job: then that is the job's span."""
    kind: ClassVar[SpanKind] = SpanKind.CONSUMER
    """Of the spans that we open; INTERNAL where no message is consumed."""
    tells: ClassVar[frozenset[Tells]] = frozenset()
    """What tests/conformance tries, and docs/frameworks.md says."""

    jobs: Jobs
    _patches: Patches | None = None

    def hook(self, patches: Patches) -> None:
        """Hook into the framework: connect signals, add middleware, listen to events, wrap functions by *patches*."""
        raise NotImplementedError

    def unhook(self) -> None:
        """Take out again what *patches* knows nothing of."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """The framework, in versions that are known."""
        return self.requires

    def _instrument(self, **kwargs: Any) -> None:
        if current.load() is None:
            return
        self.jobs = Jobs(self.system, official=self.official, kind=self.kind)
        self._patches = self._patches or Patches()
        try:
            self.hook(self._patches)
        except Exception:  # all of it, or nothing
            self._uninstrument()
            raise

    def _uninstrument(self, **kwargs: Any) -> None:
        if self._patches is not None:
            self.unhook()
            self._patches.restore()


def guarded(hook: Callable[..., _T]) -> Callable[..., _T | None]:
    """Keep our errors from the framework, and from its log of failing receivers: None then."""

    @functools.wraps(hook)
    def guarded(*args: Any, **kwargs: Any) -> _T | None:
        try:
            return hook(*args, **kwargs)
        except Exception as error:  # a guest never raises
            _log.fault(f"lastspan: {hook.__qualname__} failed", error)
            return None

    return guarded
