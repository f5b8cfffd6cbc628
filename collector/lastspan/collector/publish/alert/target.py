"""The Alertmanagers that alerts are posted to, and how."""

from __future__ import annotations

from dataclasses import dataclass, field

from lastspan.alerts.settings import AlertSettings

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class AlertmanagerTarget:
    """The Alertmanagers, and what is common to them."""

    urls: tuple[str, ...]
    """Each receives all alerts. Empty: none are posted."""
    username: str | None = None
    secret_env: str | None = None
    """Names the environment variable that holds the password, or, without a username, the bearer token."""
    secret_file: str | None = None
    """Or the file; read anew for each request, for it may be rotated."""
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    timeout_s: float = 5.0
    resend_ns: int = 60 * SECOND_NS
    hold_ns: int = 900 * SECOND_NS
    keep_ns: int = 60 * SECOND_NS
    settings: AlertSettings = field(default_factory=AlertSettings)
    """Thresholds, severities, links: those of the rules."""
