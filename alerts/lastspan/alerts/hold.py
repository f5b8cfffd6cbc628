"""Recording rules that keep what was known of jobs while the collector that knew it is down.

A collector that dies takes its series with it; an alert on them would resolve in the middle of an incident. So alerts
read a recording that carries its own last result on: for series whose collector is not settled (down, or only just
started: it has not heard of everything yet), for `hold` at most. Series that went while it was up are gone at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lastspan.semconv import METRICS
from lastspan.semconv import metrics as m

from .model import RecordingRule
from .settings import AlertSettings

SETTLED: Final = "lastspan:collector:settled"
UNSETTLED: Final = "lastspan:collectors:unsettled"
_JOB: Final = ("job_key",)
_HELD: Final = {m.JOB_STUCK: _JOB, m.STUCK_JOB_INFO: _JOB, m.INCIDENT_JOBS: ("incident",), m.JOBS: None}
"""What is held, by what makes a newer series the same thing; None: all its labels."""


def recordings(settings: AlertSettings) -> Iterator[RecordingRule]:
    """Return them, in the order in which they need each other."""
    up = f'up{{job="{settings.scrape_job}"}}'
    age = f"time() - {m.COLLECTOR_STARTED_TIMESTAMP} > {seconds(settings.learning)}"
    yield RecordingRule(SETTLED, f"{up} == 1 and on (instance) {age}")
    yield RecordingRule(UNSETTLED, f"absent({up}) or count({up} unless on (instance) {SETTLED}) > 0")
    for metric, identity in _HELD.items():
        yield RecordingRule(held(metric), _carried(metric, identity or METRICS[metric].attributes, settings))


def held(metric: str) -> str:
    """Return the name of the recording that holds a metric."""
    return f"lastspan:{metric.removeprefix('lastspan_')}:held"


def _carried(metric: str, identity: tuple[str, ...], settings: AlertSettings) -> str:
    return (
        f"{metric} or ({held(metric)}"
        f" unless on (instance) {SETTLED} unless on ({', '.join(identity)}) {metric}"
        f" and on () {UNSETTLED} and last_over_time({metric}[{settings.hold}]))"
    )


def seconds(duration: str) -> int:
    """Return a duration of Prometheus' in seconds."""
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    total = number = 0
    for letter in duration.replace("ms", ""):
        if letter.isdecimal():
            number = number * 10 + int(letter)
        else:
            total, number = total + number * units[letter], 0
    return total
