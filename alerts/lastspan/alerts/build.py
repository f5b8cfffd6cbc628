"""All files that `lastspan alerts build` writes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from . import alertmanager, forms, itself, jobs
from .model import RuleGroup
from .settings import AlertSettings


def groups(settings: AlertSettings) -> tuple[RuleGroup, ...]:
    """Return all rules."""
    return (jobs.group(settings), itself.group(settings))


def alert_names() -> tuple[str, ...]:
    """Return the names of all alerts, each once."""
    return tuple(dict.fromkeys(alert.name for group in groups(AlertSettings()) for alert in group.alerts))


def build(settings: AlertSettings) -> dict[str, str]:
    """Return the files, by name."""
    rules = groups(settings)
    return {
        "rules.yml": forms.prometheus(rules, settings),
        "prometheusrule.yml": forms.kubernetes(rules, settings),
        "grafana-rules.yml": forms.grafana(rules, settings),
        "mixin.libsonnet": forms.mixin(rules, settings),
        "alertmanager.yml": alertmanager.config(settings),
        "lastspan.tmpl": files(__package__).joinpath("lastspan.tmpl").read_text(encoding="utf-8"),
    }


def write(built: dict[str, str], folder: Path) -> list[Path]:
    """Write the files; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in built.items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
