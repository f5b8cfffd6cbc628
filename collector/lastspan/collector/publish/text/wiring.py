"""Whether all is wired, from the answer of `/api/v1/status`: a line for each thing that was looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lastspan.semconv.vocabulary import SUPPORTED_FRAMEWORKS

from .printable import Json

_START = (
    "Start workers with `opentelemetry-instrument`, lastspan installed, and OTEL_LASTSPAN_ENDPOINT set to this "
    "collector's OTLP/HTTP port."
)
_BY_HAND = "Without the wrapper: `LastspanInstrumentor().instrument()`, before the worker starts."


class Line(NamedTuple):
    """One thing that was looked at."""

    is_fine: bool
    what: str
    found: str
    advice: str


def wiring(status: Json, url: str) -> list[Line]:
    """Return what was looked at, from the collector to the workers."""
    return list(_wiring(status, url))


def _wiring(status: Json, url: str) -> Iterator[Line]:
    yield Line(True, "collector", f"version {status['version']} at {url}", "")
    slow = status["verdict_age_s"] > 10
    yield Line(
        not slow, "verdicts", f"{status['verdict_age_s']:.0f} s old", "The collector cannot keep up: give it a core."
    )
    yield from _workers(status)
    yield from _without_jobs(status)
    yield from _records(status)
    full = status["open_spans"] >= status["open_spans_limit"]
    spans = f"{status['open_spans']:,} of at most {status['open_spans_limit']:,}"
    yield Line(not full, "open spans", spans, "New spans are refused: raise max_open_spans.")
    for where, count in status["probe_failures"].items():
        yield Line(
            False,
            "probe",
            f"{where}, {count} times",
            "See the collector's log; the README says which database role the probe needs.",
        )


def _workers(status: Json) -> Iterator[Line]:
    services = status["services"]
    if not services:
        advice = f"{_START} A process reports once it runs a job."
        yield Line(False, "workers", "none reports", advice)
    for heard in services:
        name = _name(heard)
        counts = ", ".join(f"{count} {state}" for state, count in heard["processes"].items())
        silent = any(state in ("lost", "frozen") for state in heard["processes"])
        yield Line(
            not silent, "workers", f"{name}: {counts}", "`lastspan jobs --state lost` lists the jobs that they ran."
        )
        if heard["unseen_frameworks"]:
            yield _unseen(name, heard["unseen_frameworks"])
    if status["blind"]:
        yield Line(
            False, "workers", "most are silent at the same time", "Check the network between them and the collector."
        )


def _without_jobs(status: Json) -> Iterator[Line]:
    """What speaks OTLP and tells of no job; a web server may, a worker should not."""
    for one in status["without_jobs"]:
        name = _name(one)
        supported = [framework for framework in one["frameworks"] if framework in SUPPORTED_FRAMEWORKS]
        if unseen := sorted(set(one["frameworks"]) - set(supported)):
            yield _unseen(name, unseen)
        elif supported:
            found = f"{name}: it sends spans of {', '.join(supported)}, but reports no job"
            yield Line(False, "workers", found, f"{_START} {_BY_HAND}")
        elif one["consumes"]:
            found = f"{name}: it sends spans of consumed messages, but reports no job"
            yield Line(False, "workers", found, f"{_START} {_BY_HAND} Mark jobs of plain code with `@job` of lastspan.")
        else:
            yield Line(True, "others", f"{name}: sends OTLP but no jobs", "")


def _unseen(name: str, frameworks: list[str]) -> Line:
    """A framework that was seen, and that lastspan has no module for."""
    found = f"{name}: it uses {', '.join(frameworks)}, whose jobs lastspan does not see"
    return Line(False, "workers", found, "Mark its jobs: `@job` or `with job(...)`, from lastspan.instrumentation.")


def _records(status: Json) -> Iterator[Line]:
    received = sum(count for record, count in status["received"].items() if record != "ignored")
    dropped = ", ".join(f"{count} {reason}" for reason, count in status["dropped"].items() if count)
    if received:  # where there are none, that nobody is heard is a line of its own
        yield Line(True, "records", f"{received:,} received", "")
    if dropped:
        yield Line(
            False,
            "records",
            f"refused: {dropped}",
            "See lastspan_collector_dropped_total; check whether the versions of worker and collector are compatible.",
        )


def _name(service: Json) -> str:
    return " / ".join(part for part in (service["service"], service["environment"]) if part) or "(no service.name)"
