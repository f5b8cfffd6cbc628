"""A rule, as data: what the writers in `forms` turn into files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """A recording rule."""

    name: str
    expr: str


@dataclass(frozen=True, slots=True)
class AlertRule:
    """An alerting rule. Several of one name differ in severity."""

    name: str
    expr: str
    summary: str
    """One line; a template of Prometheus."""
    severity: str = ""
    """Empty: the series' own label says it."""
    wait: str = ""
    """Its `for`; empty: none."""
    keep_firing_for: str = ""
    plain: str = ""
    """The line for Grafana, whose templates cannot ask for facts; empty: `summary` does."""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """Rules that are evaluated together, one after the other."""

    name: str
    rules: tuple[RecordingRule | AlertRule, ...]

    @property
    def alerts(self) -> tuple[AlertRule, ...]:
        """The alerting rules among them."""
        return tuple(rule for rule in self.rules if isinstance(rule, AlertRule))
