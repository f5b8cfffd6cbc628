"""Services that send OTLP without records of jobs: a worker that lastspan does not see is among them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

from lastspan.semconv.vocabulary import FRAMEWORKS

from ..model.records import Sender

_SENDERS_MAX = 1000
"""Services, including those whose jobs are reported; beyond it the one that has been silent for longest is dropped."""
_NAME_MAX = 200
"""Of a scope: a longer name is nobody's."""


class Senders:
    """The services that send OTLP, by name and environment."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Sender] = {}

    def add(self, heard: Iterable[Sender]) -> None:
        """Add the senders of a request."""
        for one in heard:
            key = (one.service, one.environment)
            known = self._known.pop(key, one)
            self._known[key] = Sender(*key, known.frameworks | one.frameworks, known.consumes or one.consumes)
            if len(self._known) > _SENDERS_MAX:
                del self._known[next(iter(self._known))]

    def __iter__(self) -> Iterator[Sender]:
        return iter(sorted(self._known.values(), key=lambda one: (one.environment, one.service)))


def frameworks_in(scopes: Iterable[str]) -> frozenset[str]:
    """Return the job frameworks that the names of instrumentation scopes belong to."""
    return frozenset().union(*(_frameworks_of(name) for name in scopes if len(name) <= _NAME_MAX))


@functools.lru_cache(maxsize=1024)
def _frameworks_of(scope: str) -> frozenset[str]:
    return frozenset(scope.replace("-", "_").split(".")) & FRAMEWORKS.keys()
