"""Where a database is: URLs, checked at start, and never shown with what is secret in them."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

HIDDEN: Final = "***"
_SCHEMES: Final = {"postgres": ("postgresql", "postgres"), "mysql": ("mysql", "mariadb")}
_PORTS: Final = {"postgres": 5432, "mysql": 3306}
_TLS_KEY: Final = {"postgres": "sslmode", "mysql": "ssl-mode"}
_TLS_MODES: Final = {
    "postgres": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "mysql": ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"),
}
_TLS_FILES: Final = {
    "postgres": ("sslrootcert", "sslcert", "sslkey", "sslcrl"),
    "mysql": ("ssl-ca", "ssl-cert", "ssl-key"),
}
_MYSQL_OPTIONS: Final = frozenset({"ssl-mode", "ssl-ca", "ssl-cert", "ssl-key", "unix-socket"})
_EXAMPLES: Final = {
    "postgres": "postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require",
    "mysql": "mysql://USER:PASSWORD@HOST:PORT/DATABASE?ssl-mode=REQUIRED",
}


@dataclass(frozen=True, slots=True)
class Dsn:
    """A database's address and how to be let in."""

    host: str
    port: int
    user: str
    database: str
    options: Mapping[str, str]
    password: str = field(repr=False)
    text: str = field(repr=False)

    @property
    def address(self) -> str:
        """host:port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(system: str, text: str) -> Dsn:
    """Return the address in *text*; *system* is postgres or mysql. ValueError says what is wrong, without a secret."""
    parts = _split(text)
    if parts is None or parts.scheme not in _SCHEMES[system]:
        raise ValueError(f'"{masked(text)}" is not a URL of a database; write {_EXAMPLES[system]}')
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    _check_options(system, options)
    host = unquote(parts.hostname or "") or options.get("host", "")
    if not host and not options.get("unix-socket"):
        raise ValueError(f'"{masked(text)}" names no host; write {_EXAMPLES[system]}')
    return Dsn(
        host=host,
        port=parts.port or _PORTS[system],
        user=unquote(parts.username or ""),
        database=unquote(parts.path.lstrip("/")),
        options=options,
        password=unquote(parts.password or ""),
        text=text,
    )


def masked(text: str) -> str:
    """Return *text* without passwords; of what is no readable URL, its scheme at most."""
    parts = _split(text)
    if parts is None:
        scheme, separator, _ = text.partition("://")
        return f"{scheme}://…" if separator and scheme.isalnum() else "…"
    place = parts.netloc.rpartition("@")[2]
    if parts.username is not None or parts.password is not None:
        secret = "" if parts.password is None else f":{HIDDEN}"
        place = f"{parts.netloc.partition('@')[0].partition(':')[0]}{secret}@{place}"
    options = [(key, HIDDEN if "password" in key.lower() else value) for key, value in parse_qsl(parts.query)]
    return parts._replace(netloc=place, query=urlencode(options, safe="*/:"), fragment="").geturl()


def tls_context(dsn: Dsn) -> ssl.SSLContext | None:
    """Return what a MySQL address says of TLS; None: without."""
    mode = dsn.options.get("ssl-mode", "PREFERRED")
    if mode == "DISABLED":
        return None
    context = ssl.create_default_context(cafile=dsn.options.get("ssl-ca"))
    context.check_hostname = mode == "VERIFY_IDENTITY"
    if mode not in {"VERIFY_CA", "VERIFY_IDENTITY"}:
        context.verify_mode = ssl.CERT_NONE
    if certificate := dsn.options.get("ssl-cert"):
        context.load_cert_chain(certificate, dsn.options.get("ssl-key"))
    return context


def _split(text: str) -> SplitResult | None:
    """Return the parts of a URL that can be read safely: a raw `/`, `?`, `#` or `@` in a password moves the host."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    if not parts.scheme or "://" not in text or parts.netloc.endswith(":"):
        return None
    return parts if parts.netloc.count("@") == text.count("@") <= 1 else None


def _check_options(system: str, options: Mapping[str, str]) -> None:
    key, modes = _TLS_KEY[system], _TLS_MODES[system]
    if options.get(key, modes[0]) not in modes:
        raise ValueError(f'{key} "{options[key]}" is not one of {", ".join(modes)}')
    for name in _TLS_FILES[system]:
        if name in options and not Path(options[name]).is_file():
            raise ValueError(f'{name} "{options[name]}" is not a file')
    if system == "mysql" and (unknown := sorted(options.keys() - _MYSQL_OPTIONS)):
        raise ValueError(f"{unknown[0]} is not an option; there are {', '.join(sorted(_MYSQL_OPTIONS))}")


__all__ = ["Dsn", "masked", "parse", "tls_context"]
