"""Where the records go: our own setting, else the process's OTLP settings, else the loopback."""

from collections.abc import Mapping

import pytest

from lastspan.instrumentation.send.endpoint import resolve

OURS = "OTEL_LASTSPAN_ENDPOINT"
LOGS = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"
BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
LOGS_PROTOCOL = "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"
HTTP = {PROTOCOL: "http/protobuf"}

DEFAULT = "http://127.0.0.1:4318/v1/logs"

ADDRESSES: list[tuple[Mapping[str, str], str]] = [
    ({}, DEFAULT),
    # our own setting is a base, and wins
    ({OURS: "http://collector:4318"}, "http://collector:4318/v1/logs"),
    ({OURS: "http://collector:4318/"}, "http://collector:4318/v1/logs"),
    ({OURS: " https://collector/otlp/ "}, "https://collector/otlp/v1/logs"),
    ({OURS: "http://collector", BASE: "http://other:4318", **HTTP}, "http://collector/v1/logs"),
    ({OURS: "http://[::1]:4318"}, "http://[::1]:4318/v1/logs"),
    ({OURS: "HTTP://collector:1"}, "http://collector:1/v1/logs"),
    # http: the signal's own endpoint as it is, the base with our path
    ({LOGS: "http://logs:4318/custom", BASE: "http://base:4318", **HTTP}, "http://logs:4318/custom"),
    ({LOGS: "http://logs:4318", **HTTP}, "http://logs:4318"),
    ({BASE: "http://base:4318/tenant", **HTTP}, "http://base:4318/tenant/v1/logs"),
    ({BASE: "http://base:4318?tenant=1", **HTTP}, "http://base:4318/v1/logs?tenant=1"),
    ({BASE: "http://base:4318", LOGS_PROTOCOL: "http/protobuf", PROTOCOL: "grpc"}, "http://base:4318/v1/logs"),
    # the signal's protocol wins
    ({BASE: "http://base:4317", LOGS_PROTOCOL: "grpc", **HTTP}, "http://base:4318/v1/logs"),
    # grpc, and the default of Python's exporter: the same host, port 4318
    ({BASE: "http://base:4317"}, "http://base:4318/v1/logs"),
    ({BASE: "base:4317", PROTOCOL: "grpc"}, "http://base:4318/v1/logs"),
    ({BASE: "base", PROTOCOL: "grpc"}, "http://base:4318/v1/logs"),
    ({LOGS: "http://logs:4317", BASE: "http://base:4317"}, "http://logs:4318/v1/logs"),
    ({BASE: "http://[2001:db8::1]:4317"}, "http://[2001:db8::1]:4318/v1/logs"),
    ({BASE: "[2001:db8::1]:4317"}, "http://[2001:db8::1]:4318/v1/logs"),
    ({BASE: "http://base:4317/path?x=1"}, "http://base:4318/v1/logs"),
    # where TLS was asked for, nothing leaves without it
    ({BASE: "https://base:4317", PROTOCOL: "grpc"}, "https://base:4318/v1/logs"),
    # no address: the next one
    ({OURS: "collector:4318"}, DEFAULT),  # no scheme
    ({OURS: "ftp://collector"}, DEFAULT),
    ({OURS: "http://"}, DEFAULT),
    ({OURS: "http://collector:port"}, DEFAULT),
    ({OURS: "http://collector:99999"}, DEFAULT),
    ({OURS: "http://[::1"}, DEFAULT),
    ({OURS: "nonsense", BASE: "http://base:4318", **HTTP}, "http://base:4318/v1/logs"),
    ({LOGS: "nonsense", BASE: "http://base:4318", **HTTP}, "http://base:4318/v1/logs"),
    ({BASE: "http://[::1", PROTOCOL: "grpc"}, DEFAULT),
    ({BASE: "unix:///run/otel.sock", PROTOCOL: "grpc"}, DEFAULT),
    ({BASE: "  ", **HTTP}, DEFAULT),
]


@pytest.mark.parametrize(("environ", "url"), ADDRESSES, ids=lambda item: str(item) if isinstance(item, dict) else "")
def test_where(environ: Mapping[str, str], url: str) -> None:
    """The first setting that names an address."""
    assert resolve(environ).url == url


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({OURS: "http://collector"}, OURS),
        ({LOGS: "http://logs/x", **HTTP}, LOGS),
        ({BASE: "http://base", **HTTP}, BASE),
        ({BASE: "base:4317"}, f"{BASE} is for gRPC: the same host, port 4318"),
        ({}, "nothing else is set"),
    ],
)
def test_why(environ: Mapping[str, str], why: str) -> None:
    """The line in the log can say which setting it was."""
    assert resolve(environ).why == why


SECRETS = {
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20abc, x-tenant=7",
    "OTEL_EXPORTER_OTLP_CERTIFICATE": "/tls/ca.pem",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/tls/client.pem",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/tls/client.key",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
}


@pytest.mark.parametrize("address", [{LOGS: "https://vendor/v1/logs"}, {BASE: "https://vendor"}])
def test_the_address_brings_its_headers(address: Mapping[str, str]) -> None:
    """Headers, certificates and compression of the OTLP settings go where those settings point."""
    destination = resolve({**SECRETS, **HTTP, **address})
    assert destination.headers == {"authorization": "Bearer abc", "x-tenant": "7"}
    assert destination.certificate == "/tls/ca.pem"
    assert destination.client_certificate == ("/tls/client.pem", "/tls/client.key")
    assert destination.gzip


@pytest.mark.parametrize(
    "address",
    [
        {OURS: "http://collector"},
        {BASE: "http://vendor:4317", PROTOCOL: "grpc"},  # the host is the same, the listener is not
        {},
        {OURS: "http://collector", BASE: "https://vendor"},
    ],
)
def test_a_token_goes_nowhere_else(address: Mapping[str, str]) -> None:
    """An address from elsewhere gets no header, no certificate, no compression."""
    destination = resolve({**SECRETS, **HTTP, **address})
    assert destination.headers == {}
    assert destination.certificate is None
    assert destination.client_certificate is None
    assert not destination.gzip


def test_the_signals_own_settings_win() -> None:
    """`…_LOGS_HEADERS` before `…_HEADERS`, and so on."""
    environ = {
        **SECRETS,
        **HTTP,
        BASE: "https://vendor",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS": "authorization=logs",
        "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE": "/tls/logs.pem",
        "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION": "none",
    }
    destination = resolve(environ)
    assert destination.headers == {"authorization": "logs"}
    assert destination.certificate == "/tls/logs.pem"
    assert not destination.gzip


def test_a_client_certificate_may_hold_its_key() -> None:
    """One file, as the OTLP exporters allow."""
    environ = {**HTTP, BASE: "https://vendor", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/tls/both.pem"}
    assert resolve(environ).client_certificate == "/tls/both.pem"


def test_a_token_is_not_printed() -> None:
    """A destination in a traceback or a log shows no header."""
    assert "Bearer" not in repr(resolve({**SECRETS, **HTTP, BASE: "https://vendor"}))
