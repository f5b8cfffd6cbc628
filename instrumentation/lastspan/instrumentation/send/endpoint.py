"""Where the records go, and why: the collector's address from our own setting or from the process's OTLP settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from opentelemetry.util.re import parse_env_headers

from ..config.config_file import OTEL_CONFIG_FILE, ConfigFile, ConfiguredExporter
from ..config.environment_variables import OTEL_LASTSPAN_ENDPOINT
from ..guest import redact

_DEFAULT: Final = "http://127.0.0.1:4318"
_LOGS_PATH: Final = "v1/logs"
_TRACES_PATH: Final = "v1/traces"
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
        return redact.url(self.url) or ""


def resolve(environ: Mapping[str, str], file: ConfigFile | None = None) -> Destination:
    """Choose the destination (DESIGN §3.7); an address that cannot be one falls through to the next.

    *file*: of the declarative configuration, in the place of the OTLP variables.
    """
    own = environ.get(OTEL_LASTSPAN_ENDPOINT, "").strip()
    if _is_http(own):
        return Destination(_join(own), OTEL_LASTSPAN_ENDPOINT)
    return _of_environ(environ) if file is None else _of_file(file)


def _of_file(file: ConfigFile) -> Destination:
    for exporter in file.exporters:
        why = f"{OTEL_CONFIG_FILE}, {exporter.section}"
        endpoint = exporter.endpoint.strip() or _DEFAULT
        if exporter.is_grpc:
            if (url := _beside_grpc(endpoint)) is not None:
                return Destination(url, f"{why} is for gRPC: the same host, port 4318")
        elif (url := _for_logs(endpoint, exporter)) is not None:
            return _like_exporter(exporter, url, why)
    return Destination(_join(_DEFAULT), f"{OTEL_CONFIG_FILE} names no OTLP exporter")


def _for_logs(endpoint: str, exporter: ConfiguredExporter) -> str | None:
    """An exporter's own endpoint is used as it is; that of spans is one for logs too, if it ends as usual."""
    if not _is_http(endpoint):
        return None
    if exporter.section == "logger_provider" and exporter.endpoint:
        return endpoint
    parts = urlsplit(endpoint)
    base, found, rest = parts.path.rpartition(_TRACES_PATH)
    if rest or not (found or parts.path in {"", "/"}):
        return None
    return _join(urlunsplit((parts.scheme, parts.netloc, base, parts.query, "")))


def _like_exporter(exporter: ConfiguredExporter, url: str, why: str) -> Destination:
    certificate, key = exporter.client_certificate, exporter.client_key
    return Destination(
        url,
        why,
        headers={**parse_env_headers(exporter.headers_list, liberal=True), **dict(exporter.headers)},
        certificate=exporter.certificate,
        client_certificate=(certificate, key) if certificate and key else certificate,
        gzip=exporter.gzip,
    )


def _of_environ(environ: Mapping[str, str]) -> Destination:
    logs, base = (environ.get(_OTLP + name, "").strip() for name in ("LOGS_ENDPOINT", "ENDPOINT"))
    protocol = environ.get(_OTLP + "LOGS_PROTOCOL") or environ.get(_OTLP + "PROTOCOL") or "grpc"
    if protocol.strip().startswith("http"):
        if _is_http(logs):  # the signal's own endpoint is used as it is (OTLP exporter specification)
            return _like_otlp(environ, logs, _OTLP + "LOGS_ENDPOINT")
        if _is_http(base):
            return _like_otlp(environ, _join(base), _OTLP + "ENDPOINT")
    for name, address in (("LOGS_ENDPOINT", logs), ("ENDPOINT", base)):
        if (url := _beside_grpc(address)) is not None:
            return Destination(url, f"{_OTLP}{name} is for gRPC: the same host, port 4318")
    return Destination(_join(_DEFAULT), "nothing else is set")


def _beside_grpc(address: str) -> str | None:
    host = _host(address)
    scheme = "https" if address.lower().startswith("https:") else "http"
    return _join(f"{scheme}://{host}:4318") if host else None


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
