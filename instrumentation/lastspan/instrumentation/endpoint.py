"""Where the records go, and why: the collector's address from our own setting or from the process's OTLP settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from opentelemetry.util.re import parse_env_headers

from . import clean
from .environment_variables import OTEL_LASTSPAN_ENDPOINT

_DEFAULT: Final = "http://127.0.0.1:4318"
_LOGS_PATH: Final = "v1/logs"
_OTLP: Final = "OTEL_EXPORTER_OTLP_"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where to POST OTLP logs, and which setting said so."""

    url: str
    why: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Taken from the OTLP settings only if the address was; they may hold a token."""
    certificate: str | None = None
    client_certificate: tuple[str, str] | str | None = None
    gzip: bool = False

    @property
    def address(self) -> str:
        """The URL as it may be logged: it may hold a password, or a token in its query."""
        return clean.url(self.url) or ""


def resolve(environ: Mapping[str, str]) -> Destination:
    """Choose the destination (DESIGN §3.7); an address that cannot be one falls through to the next."""
    own = environ.get(OTEL_LASTSPAN_ENDPOINT, "").strip()
    if _is_http(own):
        return Destination(_join(own), OTEL_LASTSPAN_ENDPOINT)

    logs, base = (environ.get(_OTLP + name, "").strip() for name in ("LOGS_ENDPOINT", "ENDPOINT"))
    protocol = environ.get(_OTLP + "LOGS_PROTOCOL") or environ.get(_OTLP + "PROTOCOL") or "grpc"
    if protocol.strip().startswith("http"):
        if _is_http(logs):  # the signal's own endpoint is used as it is (OTLP exporter specification)
            return _like_otlp(environ, logs, _OTLP + "LOGS_ENDPOINT")
        if _is_http(base):
            return _like_otlp(environ, _join(base), _OTLP + "ENDPOINT")
    for name, address in (("LOGS_ENDPOINT", logs), ("ENDPOINT", base)):
        if host := _host(address):
            scheme = "https" if address.lower().startswith("https:") else "http"
            url = _join(f"{scheme}://{host}:4318")
            return Destination(url, f"{_OTLP}{name} is for gRPC: the same host, port 4318")
    return Destination(_join(_DEFAULT), "nothing else is set")


def _like_otlp(environ: Mapping[str, str], url: str, why: str) -> Destination:
    def setting(name: str) -> str:
        return environ.get(f"{_OTLP}LOGS_{name}") or environ.get(_OTLP + name, "")

    certificate, key = setting("CLIENT_CERTIFICATE"), setting("CLIENT_KEY")
    return Destination(
        url,
        why,
        headers=parse_env_headers(setting("HEADERS"), liberal=True),
        certificate=setting("CERTIFICATE") or None,
        client_certificate=(certificate, key) if certificate and key else certificate or None,
        gzip=setting("COMPRESSION").strip().lower() == "gzip",
    )


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port that is no number
        return False


def _host(address: str) -> str | None:
    if not address:
        return None
    try:
        host = urlsplit(address if "//" in address else f"//{address}").hostname
    except ValueError:
        return None
    return f"[{host}]" if host and ":" in host else host


def _join(base: str) -> str:
    parts = urlsplit(base)
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/{_LOGS_PATH}", parts.query, ""))
