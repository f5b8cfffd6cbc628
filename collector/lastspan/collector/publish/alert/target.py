"""The Alertmanagers that alerts are posted to, and how."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from lastspan.alerts.settings import Settings

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class AlertmanagerTarget:
    """The Alertmanagers, and what is common to them."""

    urls: tuple[str, ...]
    """Each of them is told everything. Empty: nobody is."""
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
    settings: Settings = field(default_factory=Settings)
    """Thresholds, severities, links: those of the rules."""


def tls(target: AlertmanagerTarget) -> ssl.SSLContext:
    """Return how servers are known, and we to them; OSError if a file is not what it should be."""
    context = ssl.create_default_context(cafile=target.ca_file)
    if target.cert_file is not None:
        context.load_cert_chain(target.cert_file, target.key_file)
    return context
