"""Loaded by the real wrapper, into programs of all kinds: which see their job announced, and which stay silent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.instrumentation.program import program
from tests.sink import Received, Sink

pytestmark = pytest.mark.long

CONFIGURATORS = '''
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider


class Vendor:
    """Some vendor's: a provider of its own kind."""

    def configure(self, **_):
        class VendorsProvider(TracerProvider):
            pass

        trace.set_tracer_provider(VendorsProvider(resource=Resource({"service.name": "the vendor's"})))


class Nothing:
    """Configures nothing: as if no distribution were installed."""

    def configure(self, **_):
        pass
'''


@pytest.fixture
def distributions(tmp_path: Path) -> Mapping[str, str]:
    """Two installed distributions, with a configurator each."""
    (tmp_path / "configurators.py").write_text(CONFIGURATORS)
    info = tmp_path / "configurators-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: configurators\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[opentelemetry_configurator]\nvendor = configurators:Vendor\nnothing = configurators:Nothing\n"
    )
    return {"PYTHONPATH": str(tmp_path)}


def is_call(record: Received) -> bool:
    return record.event == "lastspan.span.open" and record["lastspan.span.name"] == "call"


def assert_announced(sink: Sink) -> None:
    """The job and the call inside are told, the call as part of the job, and both only once."""
    job = sink.wait_for_event("lastspan.span.open", job_name="nightly")
    call = sink.wait_for(is_call)
    assert job["lastspan.span.is_job"] is True
    assert call["lastspan.job.span_id"] == job.span_id
    assert call["lastspan.span.parent_id"] == job.span_id
    assert call.trace_id == job.trace_id
    assert call["code.function.name"].endswith("nightly")
    assert call["code.file.path"].endswith("one_job.py")
    assert len({record.span_id for record in sink.of("lastspan.span.open")}) == 2


SEEN = [
    pytest.param({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ""}, id="every official instrumentation"),
    pytest.param({"OTEL_TRACES_SAMPLER": "always_off"}, id="sampler always_off"),
    pytest.param({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}, id="sampler 1 %"),
    pytest.param({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, id="sampler parentbased_always_off"),
    pytest.param({"OTEL_LASTSPAN_RECORD": "all", "OTEL_LOGS_EXPORTER": "none"}, id="no logs exporter"),
    pytest.param({"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "0", "OTEL_ATTRIBUTE_COUNT_LIMIT": "0"}, id="no attributes"),
    pytest.param({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "celery,requests,urllib3"}, id="others disabled"),
]


@pytest.mark.parametrize("environ", SEEN)
def test_under_the_wrapper(environ: Mapping[str, str], sink: Sink) -> None:
    """opentelemetry-distro is installed: its provider makes the spans, whatever its exporters and samplers."""
    with program("one_job", sink=sink, environ=environ) as running:
        assert_announced(sink)
        assert running.finish() == ""


@pytest.mark.parametrize(
    ("configurator", "arguments"),
    [
        ("vendor", ()),
        ("nothing", ()),  # we set a provider before the first job, since nobody did
        ("nothing", ("provider after",)),
        ("nothing", ("provider after, sampling nothing",)),
    ],
)
def test_with_another_configurator(
    configurator: str, arguments: tuple[str, ...], distributions: Mapping[str, str], sink: Sink
) -> None:
    """A vendor's provider; none at all; one that the program itself makes after us."""
    environ = {**distributions, "OTEL_PYTHON_CONFIGURATOR": configurator}
    with program("one_job", *arguments, sink=sink, environ=environ) as running:
        assert_announced(sink)
        if configurator == "vendor":
            assert sink.records[0].resource["service.name"] == "the vendor's"
        running.finish()


@pytest.mark.parametrize(
    "arguments",
    [
        ("provider before", "by hand"),
        ("by hand", "provider after"),
        ("by hand",),
        ("provider before", "by hand", "taken out and put in again"),
        ("provider before",),  # not even by hand: the first job loads it
    ],
    ids=", ".join,
)
def test_without_the_wrapper(arguments: tuple[str, ...], sink: Sink) -> None:
    """A program that sets up OpenTelemetry by itself, in either order."""
    with program("one_job", *arguments, sink=sink, wrapped=False) as running:
        assert_announced(sink)
        assert running.finish() == ""


def test_loaded_twice(sink: Sink) -> None:
    """By the wrapper and by hand: one job span, one watcher, one count."""
    with program("one_job", "by hand", sink=sink) as running:
        assert_announced(sink)
        running.finish()
    assert len({record["lastspan.process.id"] for record in sink.records}) == 1
    assert len(sink.of("lastspan.span.closed")) == 2
    *_, ended = [r for r in sink.of("lastspan.process.durations") if r.get("lastspan.outcome") == "ok"]
    assert ended["lastspan.count.ended"] == 1


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "lastspan"},
        {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"},
        {"OTEL_LASTSPAN_ENABLED": "false"},
    ],
    ids=str,
)
def test_switched_off(environ: Mapping[str, str], sink: Sink) -> None:
    """Nothing is sent, and the program runs as before."""
    with program("one_job", sink=sink, environ=environ) as running:
        assert running.finish() == ""
    assert sink.requests == []


def test_a_setting_is_a_flag_of_the_wrapper(sink: Sink) -> None:
    """`opentelemetry-instrument --lastspan_interval 1`, as its own settings are."""
    flags = ("--lastspan_interval", "1.25", "--lastspan_job_announce_after", "0.05")
    without = {"OTEL_LASTSPAN_INTERVAL": "", "OTEL_LASTSPAN_JOB_ANNOUNCE_AFTER": ""}
    with program("one_job", sink=sink, flags=flags, environ=without) as running:
        job = sink.wait_for_event("lastspan.span.open", job_name="nightly")
        assert job["lastspan.report.interval"] == 1.25
        assert job["lastspan.span.age"] < 1  # the default would have waited for a second
        running.finish()


def test_a_bad_setting_stops_nothing(sink: Sink) -> None:
    """It is named in the log; the default is taken."""
    environ = {"OTEL_LASTSPAN_REFRESH": "often", "OTEL_LASTSPAN_SPANS": "some"}
    with program("one_job", sink=sink, environ=environ) as running:
        assert_announced(sink)
        output = running.finish()
    assert "OTEL_LASTSPAN_REFRESH='often'" in output
    assert "OTEL_LASTSPAN_SPANS='some'" in output


def test_a_process_without_jobs_sends_nothing(sink: Sink) -> None:
    """However long its spans are open: no thread, no request, not at its end either."""
    with program("no_job", sink=sink) as running:
        running.finish()
    assert sink.requests == []


def test_all_spans_if_so_set(sink: Sink) -> None:
    """OTEL_LASTSPAN_SPANS=all: then that span is announced, as no job."""
    with program("no_job", sink=sink, environ={"OTEL_LASTSPAN_SPANS": "all"}) as running:
        record = sink.wait_for_event("lastspan.span.open")
        assert record["lastspan.span.name"] == "server request"
        assert record["lastspan.span.is_job"] is False
        running.finish()


def test_quick_jobs_are_counted_and_not_announced(sink: Sink) -> None:
    """Nothing about a span; at the end how many there were."""
    with program("quick_jobs", sink=sink, environ={"OTEL_LASTSPAN_JOB_ANNOUNCE_AFTER": "60"}) as running:
        running.finish()
    assert sink.of("lastspan.span.open") == sink.of("lastspan.span.closed") == []
    last = {
        (row.get("lastspan.span.name"), row.get("lastspan.outcome")): row.get("lastspan.count.ended")
        or row["lastspan.count.started"]
        for row in sink.of("lastspan.process.durations")
    }
    assert last == {(None, None): 10, (None, "ok"): 10, ("call", "ok"): 10}
