"""Services that send OTLP without records of jobs: a worker that lastspan does not see is among them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

from lastspan.semconv.vocabulary import FRAMEWORKS

from ..model.records import Speaker

_MOST = 1000
"""Services, with those whose jobs are told; beyond it the one that has been silent for longest makes room."""
_NAME_MAX = 200
"""Of a scope: a longer name is nobody's."""


class Speakers:
    """The services that speak, by name and environment."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Speaker] = {}

    def take(self, heard: Iterable[Speaker]) -> None:
        """Note who has spoken."""
        for one in heard:
            key = (one.service, one.environment)
            known = self._known.pop(key, one)
            self._known[key] = Speaker(*key, known.frameworks | one.frameworks, known.consumes or one.consumes)
            if len(self._known) > _MOST:
                del self._known[next(iter(self._known))]

    def __iter__(self) -> Iterator[Speaker]:
        return iter(sorted(self._known.values(), key=lambda one: (one.environment, one.service)))


def frameworks_in(scopes: Iterable[str]) -> frozenset[str]:
    """Return the job frameworks that the names of instrumentation scopes speak of."""
    return frozenset().union(*(_frameworks_of(name) for name in scopes if len(name) <= _NAME_MAX))


@functools.lru_cache(maxsize=1024)
def _frameworks_of(scope: str) -> frozenset[str]:
    return frozenset(scope.replace("-", "_").split(".")) & FRAMEWORKS.keys()
