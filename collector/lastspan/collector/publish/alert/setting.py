"""`alertmanager` in the settings, checked: from what is written to a target."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from lastspan.alerts.build import alert_names
from lastspan.alerts.hold import seconds
from lastspan.alerts.settings import AlertSettings, SettingError, with_pairs
from lastspan.semconv import duration

from .target import SECOND_NS, AlertmanagerTarget
from .tls import tls

KNOWN: Final = (
    "many",
    "blocked_at_least",
    "keep_firing_for",
    "collector_url",
    "grafana_url",
    "trace_url",
    "runbook_url",
    "severity",
)
"""Settings of the alerts that mean something without Prometheus."""


class AlertmanagerSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`alertmanager`: alerts that the collector posts itself, for sites without Prometheus."""

    urls: list[str] = []
    """Of each Alertmanager, without /api; each receives all alerts. Empty: none are posted."""
    username: str | None = None
    """With a password: HTTP basic authentication."""
    password_env: str | None = None
    """The environment variable that holds the password."""
    password_file: str | None = None
    """Or the file; read anew for each request."""
    token_env: str | None = None
    """Instead of user and password: the environment variable that holds a bearer token."""
    token_file: str | None = None
    """Or the file; read anew for each request."""
    ca_file: str | None = None
    """Certificates of those who may vouch for the server; none: those that this machine trusts."""
    cert_file: str | None = None
    """Our own certificate, if the server asks for one."""
    key_file: str | None = None
    """Its key."""
    timeout: str | float = "5s"
    """Of a request; 100 ms at least."""
    resend: str | float = "1m"
    """An alert that goes on is posted again so often; 1 s at least."""
    hold: str | float = "15m"
    """Alertmanager keeps an alert for so long while this collector is away; twice `resend` at least."""
    alerts: dict[str, Any] = {}
    """Of the settings of `lastspan alerts build`, those that direct mode knows: many, severity, collector_url, …"""


def target(setting: AlertmanagerSetting, *, grafana_url: str = "") -> AlertmanagerTarget:
    """Return to whom alerts are posted; SettingError begins with the key that is wrong.

    *grafana_url*: where Grafana is, if the alerts' own settings do not say.
    """
    for index, url in enumerate(setting.urls):
        _check_url(f"urls[{index}]", url)
    if len(set(setting.urls)) < len(setting.urls):
        raise SettingError("urls: one is listed twice")
    try:
        known = AlertSettings(grafana_url=grafana_url.rstrip("/"))
        settings = with_pairs(_pairs(setting.alerts), alert_names(), known)
    except SettingError as problem:
        raise SettingError(f"alerts.{problem}") from None
    result = AlertmanagerTarget(
        urls=tuple(url.rstrip("/") for url in setting.urls),
        username=setting.username,
        **_secret(setting),
        ca_file=setting.ca_file,
        cert_file=setting.cert_file,
        key_file=setting.key_file,
        timeout_s=_at_least("timeout", setting.timeout, 0.1),
        resend_ns=round(_at_least("resend", setting.resend, 1.0) * SECOND_NS),
        hold_ns=round(_at_least("hold", setting.hold, 2.0) * SECOND_NS),
        keep_ns=seconds(settings.keep_firing_for) * SECOND_NS,
        settings=settings,
    )
    if result.hold_ns < 2 * result.resend_ns:
        raise SettingError(
            f"hold: {setting.hold} is less than twice resend ({setting.resend}): alerts would end between"
        )
    try:
        tls(result)
    except (OSError, ssl.SSLError) as problem:
        raise SettingError(f"{_files(setting)}: cannot be used: {problem.strerror or problem}") from None
    return result


def _check_url(key: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right or parts.query or parts.fragment:
        raise SettingError(
            f'{key}: "{url.rpartition("@")[2]}" is not the URL of an Alertmanager; write http://host:9093'
        )
    if "@" in parts.netloc:
        raise SettingError(f"{key}: holds a user or password; write username, and password_env or password_file")
    if parts.path.rstrip("/").endswith("/api/v2/alerts"):
        raise SettingError(f"{key}: write it without /api/v2/alerts")


def _secret(setting: AlertmanagerSetting) -> dict[str, str | None]:
    """Return where the password or the token is."""
    told = [name for name in _SECRETS if getattr(setting, name) is not None]
    if len(told) > 1:
        raise SettingError(f"{told[0]}: {told[1]} is set too; write one of {', '.join(_SECRETS)}")
    is_password = bool(told) and told[0].startswith("password")
    if is_password and setting.username is None:
        raise SettingError(f"{told[0]}: a password needs a username")
    if setting.username is not None and not is_password:
        raise SettingError("username: needs password_env or password_file")
    name = told[0] if told else ""
    value = getattr(setting, name) if name else None
    if name.endswith("_env") and not os.environ.get(value or ""):
        raise SettingError(f"{name}: the environment has no {value}")
    return {
        "secret_env": value if name.endswith("_env") else None,
        "secret_file": value if name.endswith("_file") else None,
    }


_SECRETS: Final = ("password_env", "password_file", "token_env", "token_file")


def _pairs(alerts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings of alerts as `lastspan alerts build --set` has them."""
    for key, value in alerts.items():
        if key not in KNOWN:
            raise SettingError(f"{key}: is not a setting of direct mode; there are {', '.join(KNOWN)}")
        if isinstance(value, Mapping):
            yield from (f"{key}.{part}={one}" for part, one in value.items())
        else:
            yield f"{key}={value}"


def _at_least(key: str, value: str | float, least: float) -> float:
    try:
        found = duration.parse(value)
    except ValueError as problem:
        raise SettingError(f"{key}: {problem}") from None
    if found < least:
        raise SettingError(f"{key}: {value} is too short; write {least:g}s or more")
    return found


def _files(setting: AlertmanagerSetting) -> str:
    named = (name for name in ("ca_file", "cert_file", "key_file") if getattr(setting, name) is not None)
    return ", ".join(named) or "ca_file"
