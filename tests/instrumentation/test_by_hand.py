"""Without the wrapper: one call brings all that lastspan has for frameworks and libraries, and takes it out again."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.util._importlib_metadata import entry_points
from tests.instrumentation.program import program
from tests.sink import Sink

from lastspan.instrumentation import LastspanInstrumentor
from lastspan.instrumentation.load import _bring


def assert_one_job(sink: Sink, folder: Path) -> None:
    """Announced, ended, counted: each once."""
    job = sink.wait_for_event("lastspan.span.open", job_name="nightly")
    assert job["lastspan.job.system"] == "celery"
    (folder / "go").touch()
    sink.wait_for(lambda record: record.event == "lastspan.span.closed" and record.span_id == job.span_id)
    ended = sink.wait_for(lambda r: r.event == "lastspan.process.durations" and r.get("lastspan.outcome") == "ok")
    assert ended["lastspan.count.ended"] == 1
    assert {record.span_id for record in sink.of("lastspan.span.open") if record["lastspan.span.is_job"]} == {
        job.span_id
    }


@pytest.mark.parametrize(
    ("pool", "how"),
    [("prefork", ("vendor",)), ("solo", ()), ("solo", ("vendor", "taken out and put in again"))],
)
def test_a_celery_worker_that_a_program_starts(pool: str, how: tuple[str, ...], sink: Sink, tmp_path: Path) -> None:
    """With a vendor's provider, or with none: its jobs are announced."""
    with program("workers/by_hand", str(tmp_path), pool, *how, sink=sink, wrapped=False) as running:
        assert_one_job(sink, tmp_path)
        running.finish()
    if "vendor" in how:
        assert sink.records[0].resource["service.name"] == "the vendor's"


def test_under_the_wrapper_and_by_hand_is_once(sink: Sink, tmp_path: Path) -> None:
    """One span, one count; and no line that something was instrumented twice."""
    with program("workers/by_hand", str(tmp_path), "solo", sink=sink) as running:
        assert_one_job(sink, tmp_path)
        output = running.finish()
    assert output.count("already instrumented") == 1  # the program's own call of what the wrapper has called


def test_taken_out(sink: Sink, tmp_path: Path) -> None:
    """Celery runs its jobs, and nothing is sent."""
    (tmp_path / "go").touch()
    with program("workers/by_hand", str(tmp_path), "solo", "taken out", sink=sink, wrapped=False) as running:
        running.finish()
    assert sink.requests == []


@pytest.fixture
def by_hand(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> Iterator[LastspanInstrumentor]:
    monkeypatch.setenv("OTEL_LASTSPAN_ENDPOINT", sink.url)
    made = LastspanInstrumentor()
    yield made
    if made.is_instrumented_by_opentelemetry:
        made.uninstrument()


def instrumented() -> dict[str, bool]:
    found = entry_points(group="opentelemetry_instrumentor")
    return {
        one.name: one.load()().is_instrumented_by_opentelemetry for one in found if one.name.startswith("lastspan_")
    }


def test_every_instrumentor_of_ours_is_brought(by_hand: LastspanInstrumentor) -> None:
    """All that `opentelemetry-instrument` would load."""
    by_hand.instrument()
    assert len(instrumented()) >= 4
    assert set(instrumented().values()) == {True}
    by_hand.uninstrument()
    assert set(instrumented().values()) == {False}


def test_those_that_are_switched_off_stay_off(by_hand: LastspanInstrumentor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wrapper's own setting works by hand too."""
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "requests, lastspan_celery")
    by_hand.instrument()
    assert [name for name, is_on in instrumented().items() if not is_on] == ["lastspan_celery"]


class _Made(BaseInstrumentor):
    def instrumentation_dependencies(self) -> list[str]:
        return ["requests < 1"]

    def _instrument(self, **kwargs: Any) -> None: ...
    def _uninstrument(self, **kwargs: Any) -> None: ...


class WantsAnOldOne(_Made):
    pass


class WantsWhatIsNotThere(_Made):
    def instrumentation_dependencies(self) -> list[str]:
        return ["no-such-library >= 1"]


class Raises(_Made):
    def instrumentation_dependencies(self) -> list[str]:
        return []

    def _instrument(self, **kwargs: Any) -> None:
        raise LookupError("no such function")


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (f"{__name__}:WantsAnOldOne", "lastspan_x is disabled: it requires requests < 1, but requests"),
        (f"{__name__}:Raises", "lastspan_x is disabled: LookupError < _instrument, test_by_hand.py:"),
        (f"{__name__}:NoSuchClass", "lastspan_x is disabled: AttributeError"),
        (f"{__name__}:WantsWhatIsNotThere", ""),
        ("no_such_module:Any", ""),
    ],
)
def test_what_cannot_be_brought_is_named(value: str, line: str, said: Callable[[], list[logging.LogRecord]]) -> None:
    """With the reason; what is not installed needs no line."""
    assert list(_bring([EntryPoint("lastspan_x", value, "opentelemetry_instrumentor")])) == []
    assert [line in record.getMessage() for record in said()] == ([True] if line else [])


def test_the_table_is_the_packages() -> None:
    """What is declared for the wrapper is what is brought by hand: there is one table, the package's entry points."""
    assert json.dumps(sorted(instrumented())) == json.dumps(
        ["lastspan_celery", "lastspan_db_sessions", "lastspan_file_locks", "lastspan_redis_locks"]
    )
