"""`lastspan dashboards`: build them, push them. Loads what it needs when it needs it, and says how to get it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any, Final

import click

EXTRA: Final = "pip install 'lastspan[dashboards]'"
BUILDER: Final = "pip install --no-deps 'grafana-dashboard-builder==0.10.0a3'"
"""With its dependencies it wants kerberos, which has to be compiled; nothing here needs that."""
_NEEDED: Final = {
    "grafana_foundation_sdk": ("grafana-foundation-sdk", EXTRA),
    "promql_parser": ("promql-parser", EXTRA),
    "yaml": ("PyYAML", EXTRA),
    "grafana_dashboards": ("grafana-dashboard-builder", BUILDER),
}
"""Module → package, and how to get it."""

_set = click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="A parameter of the project (collector_url, refresh …).",
)
_descriptors = click.option(
    "--descriptors", metavar="PATH", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="Descriptors of yours, a file or a folder, beside lastspan's own.",
)  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def dashboards() -> None:
    """Dashboards for Grafana: is anything stuck, where, why, and what to do."""


@dashboards.command()
@click.option("--out", metavar="DIR", default="lastspan-dashboards", show_default=True, type=click.Path(path_type=Path))
@_set
@_descriptors
def build(out: Path, settings: tuple[str, ...], descriptors: tuple[Path, ...]) -> None:
    """Write the dashboards as JSON, one file each; nothing is written if a descriptor is wrong (exit 1)."""
    built = _built(settings, descriptors)
    from .build import write

    try:
        for path in write(built, out):
            click.echo(path)
    except OSError as error:
        raise _fail(f"{error.filename or out}: {error.strerror}", 2) from None


@dashboards.command()
@click.option("--url", envvar="GRAFANA_URL", required=True, help="Of the Grafana. [$GRAFANA_URL]")
@click.option(
    "--token", envvar="GRAFANA_TOKEN", required=True, help="Of a service account that may edit. [$GRAFANA_TOKEN]"
)
@click.option("--folder", default="lastspan", show_default=True, help="Uid of the folder; made if it is missing.")
@click.option("--overwrite/--no-overwrite", default=True, help="Replace what somebody has changed in Grafana.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--from", "source", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Push these files instead of building.")  # fmt: skip
@_set
@_descriptors
def push(
    url: str, token: str, folder: str, overwrite: bool, dry_run: bool, source: Path | None,
    settings: tuple[str, ...], descriptors: tuple[Path, ...],
) -> None:  # fmt: skip
    """Put the dashboards into a folder of a Grafana."""
    from .push import Grafana, PushError, read

    try:
        grafana = Grafana(url, token)
        built = read(source) if source is not None else _built(settings, descriptors)
        for line in grafana.push(built, folder=folder, overwrite=overwrite, dry_run=dry_run):
            click.echo(line)
    except PushError as error:
        raise _fail(str(error), error.status) from None


def _built(settings: tuple[str, ...], descriptors: tuple[Path, ...]) -> dict[str, Any]:
    if sys.version_info < (3, 11):
        raise _fail("building dashboards needs Python 3.11, as Grafana's SDK does; `push --from DIR` does not", 2)
    for module, (package, command) in _NEEDED.items():
        if importlib.util.find_spec(module) is None:
            raise _fail(f"building dashboards needs {package}: {command}", 2)
    from .build import OURS, build
    from .mistakes import DescriptorError

    try:
        return build((OURS, *descriptors), _pairs(settings))
    except DescriptorError as error:
        for problem in error.problems:
            click.echo(f"lastspan: {problem}", err=True)
        raise SystemExit(1) from None


def _pairs(settings: tuple[str, ...]) -> dict[str, str]:
    for setting in settings:
        if "=" not in setting:
            raise click.BadParameter(f"{setting!r} is not KEY=VALUE", param_hint="--set")
    return dict(setting.split("=", 1) for setting in settings)


def _fail(message: str, status: int) -> SystemExit:
    click.echo(f"lastspan: {message}", err=True)
    return SystemExit(status)
