"""The SDK's declarative configuration, where `OTEL_CONFIG_FILE` names one: is OpenTelemetry off, where does OTLP go.

The file is read by the SDK's own parser, environment variables in it included: https://opentelemetry.io/docs/specs/otel/configuration/
Where there is such a file, the SDK does not look at the other `OTEL_` variables; so neither do we.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..guest import log

_log = log.Log(__name__)

OTEL_CONFIG_FILE: Final = "OTEL_CONFIG_FILE"
_PARSER: Final = "opentelemetry.configuration"


@dataclass(frozen=True, slots=True)
class ConfiguredExporter:
    """An OTLP exporter that the file names."""

    section: str
    """`logger_provider` or `tracer_provider`."""
    is_grpc: bool
    endpoint: str
    """Empty: the exporter's default."""
    headers: tuple[tuple[str, str], ...] = ()
    headers_list: str = ""
    """As in `OTEL_EXPORTER_OTLP_HEADERS`; one of `headers` goes before one of the same name here."""
    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    gzip: bool = False

    def __repr__(self) -> str:  # its headers may hold a token
        return f"Exporter({self.section}, {'grpc' if self.is_grpc else 'http'})"


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What a file says that is of use here."""

    is_disabled: bool = False
    exporters: tuple[ConfiguredExporter, ...] = ()
    """Of logs before those of spans."""


def read(environ: Mapping[str, str]) -> ConfigFile | None:
    """Read the file; None, with a line in the log where that is a fault: there is none, or none that can be read.

    Reads a file and imports a parser: while lastspan is loaded, never later.
    """
    path = environ.get(OTEL_CONFIG_FILE, "").strip()
    if not path:
        return None
    try:
        parser = importlib.import_module(_PARSER)
    except ImportError:
        _ignored(path, "opentelemetry-configuration is not installed")
        return None
    try:
        return _of(parser.load_config_file(path))
    except Exception as error:  # it may say anything, or be no file
        _ignored(path, _fault(error))
        return None


def _fault(error: Exception) -> str:
    """Describe the error and its place, but not the text there: the parser's message quotes it, tokens included."""
    cause = error.__cause__
    line = getattr(getattr(cause, "problem_mark", None), "line", None)
    path = [str(step) for step in getattr(cause, "absolute_path", None) or ()]
    at = f"line {line + 1}" if isinstance(line, int) else " → ".join(path)
    return f"{type(cause).__name__} at {at}"[:200] if at else type(error).__name__


def _ignored(path: str, why: str) -> None:
    _log.warning("lastspan ignores %s=%s (%s) and uses the other variables", OTEL_CONFIG_FILE, path, why)


def _of(config: Any) -> ConfigFile:
    exporters = [
        exporter
        for section in ("logger_provider", "tracer_provider")
        for processor in getattr(getattr(config, section, None), "processors", None) or ()
        for exporter in _exporters(section, processor)
    ]
    return ConfigFile(getattr(config, "disabled", None) is True, tuple(exporters))


def _exporters(section: str, processor: Any) -> Iterable[ConfiguredExporter]:
    for kind in ("batch", "simple"):
        exporter = getattr(getattr(processor, kind, None), "exporter", None)
        for name, is_grpc in (("otlp_http", False), ("otlp_grpc", True)):
            if (told := getattr(exporter, name, None)) is not None:
                yield _exporter(section, is_grpc, told)


def _exporter(section: str, is_grpc: bool, told: Any) -> ConfiguredExporter:
    tls = getattr(told, "tls", None)
    return ConfiguredExporter(
        section,
        is_grpc,
        str(getattr(told, "endpoint", None) or ""),
        headers=tuple((str(pair.name), str(pair.value or "")) for pair in getattr(told, "headers", None) or ()),
        headers_list=str(getattr(told, "headers_list", None) or ""),
        certificate=getattr(tls, "ca_file", None),
        client_certificate=getattr(tls, "cert_file", None),
        client_key=getattr(tls, "key_file", None),
        gzip=getattr(told, "compression", None) == "gzip",
    )
