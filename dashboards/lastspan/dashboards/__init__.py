"""Dashboards for Grafana, built from descriptors in YAML. Start with `build`; the components are in `components`.

Nothing of it is loaded by workers or by the collector. It needs `pip install 'lastspan[dashboards]'`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str]) -> None:
    """Run the command `lastspan dashboards`."""
    try:
        import click
    except ImportError:
        sys.stderr.write("lastspan: the command needs pip install 'lastspan[dashboards]' (click is missing)\n")
        raise SystemExit(2) from None
    del click
    from .command import dashboards

    dashboards.main(list(arguments), prog_name="lastspan dashboards")
