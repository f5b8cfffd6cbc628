"""The collector: takes in what workers announce; says which jobs are stuck, where and why. See `serve/pipeline.py`."""

from __future__ import annotations

import sys

from .cli.terminal import prepare

__all__ = ["main"]


def main() -> None:
    """Run the command `lastspan`."""
    prepare()
    if sys.argv[1:2] == ["dashboards"]:  # which needs none of these
        from lastspan.dashboards import main as dashboards

        dashboards(sys.argv[2:])
        return
    try:
        import click
        import google.protobuf
        import grpc
        import msgspec
        import prometheus_client
        import rich
        import starlette
        import uvicorn
        import yaml
    except ImportError as problem:
        sys.stderr.write(f"lastspan: the command needs pip install 'lastspan[collector]' ({problem.name} is missing)\n")
        raise SystemExit(2) from None
    del click, google, grpc, msgspec, prometheus_client, rich, starlette, uvicorn, yaml
    from .cli.main import cli

    cli(prog_name="lastspan")
