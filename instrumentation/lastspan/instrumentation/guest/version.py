"""The version of this distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final


def _version() -> str:
    try:
        return version("lastspan")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"


VERSION: Final = _version()
