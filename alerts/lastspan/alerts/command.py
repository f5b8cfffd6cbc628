"""`lastspan alerts`: writes the rules, the configuration of Alertmanager and its templates."""

from __future__ import annotations

from pathlib import Path

import click

from .build import alert_names, write
from .build import build as built
from .settings import SettingError, with_pairs


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def alerts() -> None:
    """Alerts for Prometheus, pages for Alertmanager."""


@alerts.command()
@click.option("--out", metavar="DIR", default="lastspan-alerts", show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--set",
    "pairs",
    metavar="KEY=VALUE",
    multiple=True,
    help="A setting: many=10, collector_url=…, severity.LastspanJobOverdue=info, route.page=webhook …",
)
def build(out: Path, pairs: tuple[str, ...]) -> None:
    """Write rules.yml, its other forms, alertmanager.yml and lastspan.tmpl."""
    try:
        for path in write(built(with_pairs(pairs, alert_names())), out):
            click.echo(path)
    except SettingError as problem:
        raise _fail(str(problem)) from None
    except OSError as problem:
        raise _fail(f"{problem.filename or out}: {problem.strerror}") from None


def _fail(message: str) -> SystemExit:
    click.echo(f"lastspan: {message}", err=True)
    return SystemExit(2)
