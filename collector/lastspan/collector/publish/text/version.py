"""Which lastspan this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def own_version() -> str:
    """Return the version that is installed."""
    try:
        return version("lastspan")
    except PackageNotFoundError:  # run from a checkout
        return "0"
