"""Which frameworks the suite tries, and which scenario is for which of them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple, TypeGuard

import pytest
from tests.conformance.framework import Framework

from lastspan.instrumentation.jobs import Tells


class Case(NamedTuple):
    """A framework, with the official instrumentation active or without."""

    framework: type[Framework]
    official: bool

    @property
    def name(self) -> str:
        return f"{self.framework.__name__.lower()}{'-official' if self.official else ''}"


def _cases() -> Iterator[Case]:
    """Yield those of the class of each file in `adapters/`."""
    for path in sorted((Path(__file__).parent / "adapters").glob("*.py")):
        module = importlib.import_module(f"tests.conformance.adapters.{path.stem}")
        [found] = [one for one in vars(module).values() if _is_of(module, one)]
        yield Case(found, official=False)
        if found.official is not None:
            yield Case(found, official=True)


def _is_of(module: ModuleType, found: object) -> TypeGuard[type[Framework]]:
    return isinstance(found, type) and issubclass(found, Framework) and found.__module__ == module.__name__


CASES: Final = list(_cases())


def tells(*wanted: Tells) -> pytest.MarkDecorator:
    """Mark a scenario as one for frameworks that tell all of these."""
    return pytest.mark.tells(*wanted)
