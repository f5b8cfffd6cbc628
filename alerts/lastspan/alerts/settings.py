"""What of the alerts can be set: thresholds, delays, severities, links, routes (`lastspan alerts build --set`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

SEVERITIES: Final = ("page", "warning", "info", "none")
CHANNELS: Final = ("pagerduty", "slack", "email", "webhook")
_DURATION: Final = re.compile(r"(?=\d)(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?|0")
_LONGEST_DAYS: Final = 36_500
_UNITS: Final = {"d": 1.0, "h": 1 / 24, "m": 1 / 1440, "s": 1 / 86_400, "ms": 1 / 86_400_000}
_ADDRESS: Final = re.compile(r"https?://[^\s\"'`<>{}\\]+")
_HOST_PORT: Final = re.compile(r"[^\s:]+:\d{1,5}")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class SettingError(ValueError):
    """A setting is wrong; the message says which, and what to write."""


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """All of them; durations as Prometheus writes them (`90s`, `1h30m`)."""

    scrape_job: str = "lastspan"
    """`job_name` of the scrape of the collectors."""
    interval: str = ""
    """Between evaluations; empty: Prometheus' own `evaluation_interval`, 15 s for the operator and Grafana."""
    extra_labels: tuple[str, ...] = ()
    """Labels of your scrape targets that stay on alerts, as `cluster`."""

    keep_firing_for: str = "1m"
    """A job that recovers and hangs again within it is one page; a collector that restarts has it to learn anew."""
    hold: str = "1h"
    """Alerts about jobs stay for so long at most while their collector is down."""
    learning: str = "2m"
    """After a collector's start: it hears of all that is open within a minute."""
    many: int = 5
    """Jobs that stopped at one thing: from here on one alert speaks for all."""
    mostly_ratio: float = 0.5
    """Share of a type's open jobs that are stuck: beyond it `LastspanJobTypeMostlyStuck`."""
    mostly_at_least: int = 3
    """And so many of them."""
    blocked_at_least: int = 2
    """Jobs that wait for one holder of a lock."""
    again_times: int = 3
    """Times that jobs of a type become stuck, and …"""
    again_within: str = "6h"
    """… within how long: `LastspanStuckAgain`."""
    budget: float = 0.001
    """Share of jobs that may become stuck."""
    burn: float = 14.4
    """Times faster than the budget allows: of a budget for 30 days, 2 % in an hour."""
    burn_at_least: int = 3
    """And so many stuck jobs."""
    verdict_age: int = 30
    """Seconds after which verdicts are stale."""

    collector_url: str = "http://127.0.0.1:9417"
    """Where a reader's browser finds the collector: incident pages and runbooks."""
    grafana_url: str = ""
    """Where it finds Grafana; empty: no links to dashboards."""
    trace_url: str = ""
    """Of an open trace, `{trace_id}` in it; empty: the collector's page of the job, which shows the spans."""
    runbook_url: str = ""
    """Of the folder of runbooks; empty: the collector's own."""

    group_wait: str = "5s"
    """How long Alertmanager waits for more of an incident before the first page."""
    group_interval: str = "1m"
    """How long until it tells what has changed in an incident, its end included."""
    repeat_interval: str = "4h"
    """After how long it tells again what goes on."""
    max_alerts: int = 20
    """Alerts in the body of one webhook call."""
    pagerduty_key_file: str = "/etc/alertmanager/secrets/pagerduty"
    """At Alertmanager: the file that holds the routing key."""
    slack_url_file: str = "/etc/alertmanager/secrets/slack"
    """At Alertmanager: the file that holds the webhook's URL."""
    slack_channel: str = "#oncall"
    """Where Slack shows it."""
    email_to: str = "oncall@example.org"
    """Who gets mail."""
    email_from: str = "lastspan@example.org"
    """From whom."""
    email_smarthost: str = "localhost:25"
    """HOST:PORT of the mail server."""
    webhook_url: str = ""
    """Gets what `route` sends to `webhook`."""
    watchdog_url: str = ""
    """Of a dead man's switch outside: it is called every minute, and alarms when it is not."""

    severity: Mapping[str, str] = field(default_factory=dict)
    """By alert: page, warning, info, or none (sent to nobody)."""
    wait: Mapping[str, str] = field(default_factory=dict)
    """By alert: its `for`."""
    route: Mapping[str, str] = field(
        default_factory=lambda: {"page": "pagerduty,slack", "warning": "slack,email", "info": "", "none": ""}
    )
    """By severity: channels, separated by commas; empty: nobody."""

    @property
    def runbooks(self) -> str:
        """Where a reader's browser finds runbooks."""
        return (self.runbook_url or f"{self.collector_url}/runbooks").rstrip("/")


def with_pairs(pairs: Iterable[str], alerts: Iterable[str], settings: AlertSettings | None = None) -> AlertSettings:
    """Return *settings* changed by KEY=VALUE: a field, or `severity.ALERT`, `wait.ALERT`, `route.SEVERITY`."""
    result, known = settings or AlertSettings(), frozenset(alerts)
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise SettingError(f"{pair!r} is not KEY=VALUE")
        name, _, part = key.partition(".")
        if name not in _FIELDS:
            raise SettingError(f"{key}: is not a setting; there are {', '.join(_FIELDS)}")
        old = getattr(result, name)
        changed: Any = _entry(key, part, value, old, known) if part else _value(key, value, old)
        result = replace(result, **{name: changed})
    return result


def _value(key: str, value: str, old: Any) -> Any:
    if isinstance(old, Mapping):
        raise SettingError(f"{key}: write {key.rstrip('.')}.NAME={value}")
    if isinstance(old, tuple):
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        if wrong := [name for name in names if not _LABEL.fullmatch(name)]:
            raise SettingError(f"{key}: {wrong[0]!r} is not the name of a label")
        return names
    if isinstance(old, (int, float)):
        return _number(key, value, old)
    if key in _DURATIONS and (value or key != "interval"):
        _refuse_no_duration(key, value, above_0=key in _ABOVE_0)
    if any(ord(letter) < 32 for letter in value) or '"' in value or "\\" in value or "{{" in value:
        raise SettingError(f"{key}: {value!r} holds a quote, a backslash, a newline or {{{{")
    if key.endswith("_url"):
        _refuse_no_address(key, value)
        return value.rstrip("/")
    if key == "email_smarthost" and not _HOST_PORT.fullmatch(value):
        raise SettingError(f"{key}: {value!r} is not HOST:PORT")
    if not value and key in ("scrape_job", "slack_channel", "email_to", "email_from"):
        raise SettingError(f"{key}: is empty")
    return value


def _refuse_no_duration(key: str, value: str, *, above_0: bool = False) -> None:
    days = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[dhms])", value))
    if not _DURATION.fullmatch(value) or days > _LONGEST_DAYS:
        raise SettingError(f"{key}: {value!r} is not a duration; write 90s, 10m, 1h30m")
    if above_0 and not days:
        raise SettingError(f"{key}: {value} is not above 0")


def _refuse_no_address(key: str, value: str) -> None:
    if not value and key != "collector_url":  # without it, no such link
        return
    address = value.replace("{trace_id}", "x") if key == "trace_url" else value
    if not _ADDRESS.fullmatch(address):
        raise SettingError(f"{key}: {value!r} is not an address; write https://…")
    if key == "trace_url" and address == value:
        raise SettingError(f"{key}: {value!r} holds no {{trace_id}}")


def _number(key: str, value: str, old: float) -> float:
    try:
        number = type(old)(value)
    except ValueError:
        raise SettingError(f"{key}: {value!r} is not a number") from None
    if not 0 < number < 1e9:
        raise SettingError(f"{key}: {value} is not above 0")
    return number


def _entry(key: str, part: str, value: str, old: Any, alerts: frozenset[str]) -> dict[str, str]:
    name = key.partition(".")[0]
    if not isinstance(old, Mapping):
        raise SettingError(f"{key}: is not a setting; write {name}={value}")
    if name == "route":
        _among(key, part, SEVERITIES)
        for channel in filter(None, value.split(",")):
            _among(key, channel, CHANNELS)
    else:
        _among(key, part, sorted(alerts))
    if name == "severity":
        _among(key, value, SEVERITIES)
    if name == "wait":
        _refuse_no_duration(key, value)
    return {**old, part: value}


def _among(key: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise SettingError(f"{key}: {value!r} is not one of {', '.join(known)}")


_FIELDS: Final = tuple(entry.name for entry in fields(AlertSettings))
_ABOVE_0: Final = frozenset({"interval", "group_interval", "repeat_interval", "hold", "learning", "again_within"})
_DURATIONS: Final = frozenset(
    {
        "interval",
        "keep_firing_for",
        "hold",
        "learning",
        "again_within",
        "group_wait",
        "group_interval",
        "repeat_interval",
    }
)
