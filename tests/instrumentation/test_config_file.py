"""`OTEL_CONFIG_FILE`, the SDK's declarative configuration: whether OpenTelemetry is off, and where OTLP goes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.instrumentation.program import program
from tests.sink import Sink

from lastspan.instrumentation.config import config_file
from lastspan.instrumentation.send.endpoint import Destination, resolve

HTTP = "file_format: '1.0'\n{section}:\n  processors:\n    - {kind}:\n        exporter:\n          otlp_http: {told}\n"
GRPC = HTTP.replace("otlp_http", "otlp_grpc")
DEFAULT = "http://127.0.0.1:4318/v1/logs"


@pytest.fixture
def destination(tmp_path: Path) -> Callable[..., Destination]:
    def destination(text: str, **environ: str) -> Destination:
        (tmp_path / "otel.yaml").write_text(text)
        environ = {**environ, "OTEL_CONFIG_FILE": str(tmp_path / "otel.yaml")}
        return resolve(environ, config_file.read(environ))

    return destination


@pytest.mark.parametrize("kind", ["batch", "simple"])
@pytest.mark.parametrize(
    ("text", "section", "told", "url"),
    [
        (HTTP, "logger_provider", "{endpoint: 'http://logs:4318/v1/logs'}", "http://logs:4318/v1/logs"),
        (HTTP, "logger_provider", "{endpoint: 'https://vendor/api/otlp'}", "https://vendor/api/otlp"),  # as it is
        (HTTP, "logger_provider", "{}", DEFAULT),  # the exporter's own default
        (HTTP, "tracer_provider", "{endpoint: 'http://spans:4318/v1/traces'}", "http://spans:4318/v1/logs"),
        (HTTP, "tracer_provider", "{endpoint: 'http://spans:4318/otlp/v1/traces'}", "http://spans:4318/otlp/v1/logs"),
        (HTTP, "tracer_provider", "{endpoint: 'http://spans:4318'}", "http://spans:4318/v1/logs"),
        (HTTP, "tracer_provider", "{endpoint: 'http://spans:4318/spans-only'}", DEFAULT),  # nobody knows where logs go
        (HTTP, "tracer_provider", "{}", DEFAULT),
        (HTTP, "logger_provider", "{endpoint: nonsense}", DEFAULT),
        (GRPC, "logger_provider", "{endpoint: 'http://logs:4317'}", "http://logs:4318/v1/logs"),
        (GRPC, "logger_provider", "{endpoint: 'https://logs:4317'}", "https://logs:4318/v1/logs"),
        (GRPC, "tracer_provider", "{endpoint: 'spans:4317'}", "http://spans:4318/v1/logs"),
        (GRPC, "tracer_provider", "{}", DEFAULT),
    ],
)
def test_where_a_file_sends(
    destination: Callable[..., Destination], text: str, section: str, told: str, url: str, kind: str
) -> None:
    """To the exporter of logs, else to that of spans."""
    found = destination(text.format(section=section, kind=kind, told=told))
    assert found.url == url
    assert "OTEL_CONFIG_FILE" in found.why


def test_logs_go_before_spans(destination: Callable[..., Destination]) -> None:
    """Whichever stands first; a console is no place to send to."""
    spans = HTTP.format(section="tracer_provider", kind="batch", told="{endpoint: 'http://spans:4318/v1/traces'}")
    logs = "logger_provider:\n  processors:\n    - simple: {exporter: {console: {}}}\n"
    logs += "    - batch: {exporter: {otlp_http: {endpoint: 'http://logs:4318/v1/logs'}}}\n"
    assert destination(spans + logs).url == "http://logs:4318/v1/logs"


def test_our_own_setting_wins(destination: Callable[..., Destination]) -> None:
    text = HTTP.format(section="logger_provider", kind="batch", told="{endpoint: 'http://logs:4318/v1/logs'}")
    assert destination(text, OTEL_LASTSPAN_ENDPOINT="http://ours:1").url == "http://ours:1/v1/logs"


def test_the_other_variables_do_not_count_beside_a_file(destination: Callable[..., Destination]) -> None:
    """That is how the SDK does it."""
    found = destination("file_format: '1.0'\n", OTEL_EXPORTER_OTLP_ENDPOINT="http://other:4317")
    assert found == Destination(DEFAULT, "OTEL_CONFIG_FILE names no OTLP exporter")


def test_what_belongs_to_the_exporter(destination: Callable[..., Destination], monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers, certificates, compression; with variables put in by the SDK's own parser. No token is printed."""
    monkeypatch.setenv("TOKEN", "hunter2")
    monkeypatch.setenv("LOGS_HOST", "logs")
    told = (
        "{endpoint: 'https://${LOGS_HOST}:4318/v1/logs', compression: gzip,"
        " headers: [{name: authorization, value: 'Bearer ${TOKEN}'}, {name: tenant, value: shop}],"
        " headers_list: 'tenant=other,more=1',"
        " tls: {ca_file: /ca.pem, cert_file: /client.pem, key_file: /client.key}}"
    )
    found = destination(HTTP.format(section="logger_provider", kind="batch", told=told))
    assert found.url == "https://logs:4318/v1/logs"
    assert found.headers == {"authorization": "Bearer hunter2", "tenant": "shop", "more": "1"}
    assert found.certificate == "/ca.pem"
    assert found.client_certificate == ("/client.pem", "/client.key")
    assert found.gzip
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "file_format: '1.0'\n  nonsense: [",  # no YAML
        "file_format: '9.0'\n",  # of another time
        "- a list\n",
        "file_format: ${NOT_SET}\n",
        "file_format: '1.0'\ntracer_provider: 7\n",
        "a: &a [*a]\n",
        "x: " + "[" * 5000,
    ],
    ids=lambda text: repr(text)[:40],
)
def test_a_file_that_cannot_be_read_is_named(
    text: str, destination: Callable[..., Destination], said: Callable[[], list[logging.LogRecord]]
) -> None:
    """One line; then it goes by the other variables."""
    assert destination(text, OTEL_EXPORTER_OTLP_ENDPOINT="http://other:4317").url == "http://other:4318/v1/logs"
    [warning] = said()
    assert warning.getMessage().startswith("lastspan ignores OTEL_CONFIG_FILE=")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            HTTP.format(section="tracer_provider", kind="batch", told="{endpoint: 'http://x', headers: hunter2}"),
            "ValidationError at tracer_provider → processors → 0 → batch → exporter → otlp_http → headers",
        ),
        ("file_format: '1.0'\nx: *hunter2\n", "ComposerError at line 2"),
        ("file_format: hunter2\n", "ConfigurationError"),
    ],
)
def test_what_stands_in_a_file_is_not_quoted(
    text: str, why: str, destination: Callable[..., Destination], said: Callable[[], list[logging.LogRecord]]
) -> None:
    """It may be a token; the line says where to look."""
    destination(text)
    [warning] = said()
    assert f"({why})" in warning.getMessage()
    assert "hunter2" not in warning.getMessage()


def test_a_file_that_is_not_there(said: Callable[[], list[logging.LogRecord]], tmp_path: Path) -> None:
    assert config_file.read({"OTEL_CONFIG_FILE": str(tmp_path / "none.yaml")}) is None
    assert len(said()) == 1


@pytest.mark.parametrize("value", [None, "", " "])
def test_none_is_named(value: str | None, said: Callable[[], list[logging.LogRecord]]) -> None:
    assert config_file.read({} if value is None else {"OTEL_CONFIG_FILE": value}) is None
    assert said() == []


def test_under_the_wrapper_records_go_where_the_file_says(sink: Sink, tmp_path: Path) -> None:
    """A real SDK, configured by the file alone."""
    path = tmp_path / "otel.yaml"
    path.write_text(
        HTTP.format(section="logger_provider", kind="batch", told="{endpoint: '${WHERE}/v1/logs'}")
        + "tracer_provider: {processors: [{simple: {exporter: {console: }}}]}\n"
        + "resource: {attributes: [{name: service.name, value: of the file}]}\n"
    )
    environ = {"OTEL_CONFIG_FILE": str(path), "OTEL_LASTSPAN_ENDPOINT": "", "WHERE": sink.url}
    with program("one_job", sink=sink, environ=environ) as running:
        job = sink.wait_for_event("lastspan.span.open", job_name="nightly")
        assert job.resource["service.name"] == "of the file"
        running.finish()


def test_disabled_is_off(sink: Sink, tmp_path: Path) -> None:
    """As `OTEL_SDK_DISABLED=true`: nothing is sent, and no provider is set by us either."""
    path = tmp_path / "otel.yaml"
    path.write_text("file_format: '1.0'\ndisabled: true\n")
    with program("one_job", "by hand", sink=sink, environ={"OTEL_CONFIG_FILE": str(path)}) as running:
        running.finish()
    assert sink.requests == []
