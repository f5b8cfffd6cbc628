"""With how many examples a property is tried: with all of them, or with few where time is short (`make test-unit`)."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import settings

_USUAL: Final = 100
"""Of a property that says nothing."""

# However long one takes: the machine may be busy.
settings.register_profile("all", max_examples=_USUAL, deadline=None)
settings.register_profile("quick", max_examples=10, deadline=None)
settings.load_profile("all")


def examples(count: int, **more: Any) -> settings:
    """Try a property with so many examples, or with the same share of them as every other one."""
    return settings(max_examples=max(1, count * settings().max_examples // _USUAL), **more)
