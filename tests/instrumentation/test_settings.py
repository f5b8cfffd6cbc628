"""The settings of a worker: a bad value is named in the log, and never stops the host."""

import logging
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastspan.instrumentation.config import environment_variables
from lastspan.instrumentation.config.settings import WorkerSettings, is_enabled

SECONDS = ["ANNOUNCE_AFTER", "JOB_ANNOUNCE_AFTER", "INTERVAL", "REFRESH"]


def test_the_defaults() -> None:
    """5 s, jobs 1 s; a report every 15 s, everything anew every 60 s; all spans of jobs, and only those."""
    assert WorkerSettings.from_environ({}) == WorkerSettings(
        announce_after=5, job_announce_after=1, interval=15, refresh=60, record_all=True, announce_all=False
    )


def test_what_is_set() -> None:
    """Seconds, fractions allowed; choices in any case; space around is ignored."""
    environ = {
        "OTEL_LASTSPAN_ANNOUNCE_AFTER": " 0.5 ",
        "OTEL_LASTSPAN_JOB_ANNOUNCE_AFTER": "0",
        "OTEL_LASTSPAN_INTERVAL": "2",
        "OTEL_LASTSPAN_REFRESH": "1e1",
        "OTEL_LASTSPAN_RECORD": "JOBS",
        "OTEL_LASTSPAN_SPANS": " all",
    }
    assert WorkerSettings.from_environ(environ) == WorkerSettings(
        0.5, 0.0, 2.0, 10.0, record_all=False, announce_all=True
    )


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize(
    "value",
    [
        "soon",
        "15s",  # seconds are plain numbers here
        "-1",
        "nan",
        "inf",
        "1e9",  # longer than a day: a mistake
        "1,5",
    ],
)
def test_bad_seconds(name: str, value: str, said: Callable[[], list[logging.LogRecord]]) -> None:
    """The default is taken, and the log names the setting and the value."""
    settings = WorkerSettings.from_environ({f"OTEL_LASTSPAN_{name}": value})
    assert settings == WorkerSettings()
    [warning] = said()
    assert warning.levelno == logging.WARNING
    assert f"OTEL_LASTSPAN_{name}={value!r}" in warning.getMessage()


@pytest.mark.parametrize("name", ["RECORD", "SPANS"])
def test_bad_choice(name: str, said: Callable[[], list[logging.LogRecord]]) -> None:
    """The default is taken, and the log names the choices."""
    assert WorkerSettings.from_environ({f"OTEL_LASTSPAN_{name}": "everything"}) == WorkerSettings()
    [warning] = said()
    assert "is not one of" in warning.getMessage()


@pytest.mark.parametrize("name", SECONDS)
def test_empty_is_unset(name: str, said: Callable[[], list[logging.LogRecord]]) -> None:
    """An empty variable is no mistake (OpenTelemetry's rule for environment variables)."""
    assert WorkerSettings.from_environ({f"OTEL_LASTSPAN_{name}": " "}) == WorkerSettings()
    assert said() == []


@given(st.dictionaries(st.sampled_from(SECONDS), st.floats(min_value=0, max_value=86_400).map(str)))
def test_the_watcher_never_spins_and_never_sleeps_long(values: dict[str, str]) -> None:
    """Whatever is set, it looks at most twenty times a second and at least twice."""
    settings = WorkerSettings.from_environ({f"OTEL_LASTSPAN_{name}": value for name, value in values.items()})
    assert 0.05 <= settings.tick <= 1.0
    assert settings.interval >= 0.1
    assert settings.refresh >= 0.1


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, True),
        ({"OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_SDK_DISABLED": " TRUE "}, False),
        ({"OTEL_SDK_DISABLED": "1"}, True),  # only `true` is true (OpenTelemetry's rule)
        ({"OTEL_SDK_DISABLED": "false"}, True),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "lastspan"}, False),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "flask, lastspan ,redis"}, False),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"}, False),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "flask"}, True),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "lastspan_celery"}, True),  # that framework alone
        ({"OTEL_LASTSPAN_ENABLED": "false"}, False),
        ({"OTEL_LASTSPAN_ENABLED": "False "}, False),
        ({"OTEL_LASTSPAN_ENABLED": "0"}, False),
        ({"OTEL_LASTSPAN_ENABLED": ""}, True),
        ({"OTEL_LASTSPAN_ENABLED": "true"}, True),
    ],
)
def test_switches(environ: Mapping[str, str], expected: bool) -> None:
    """OpenTelemetry's own switches work on us too."""
    assert is_enabled(environ) is expected


def test_each_setting_is_named_for_the_wrapper() -> None:
    """The module that `opentelemetry-instrument` reads has exactly our names, each equal to its value."""
    named = {name: value for name, value in vars(environment_variables).items() if name.startswith("OTEL_")}
    assert named == {name: name for name in named}
    assert {f"OTEL_LASTSPAN_{name}" for name in [*SECONDS, "ENABLED", "ENDPOINT", "RECORD", "SPANS"]} == set(named)
