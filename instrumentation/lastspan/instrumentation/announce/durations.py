"""How long jobs and their spans took: counts and exponential histograms, cumulative since the process began.

The histogram is OpenTelemetry's base-2 exponential one at a fixed scale, so that any two merge by adding buckets:
https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Final, NamedTuple

from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint

SCALE: Final = 3
"""Buckets grow by 2^(1/8), 9 %: a duration is known to ±4.5 %."""

_KEYS_MAX: Final = 1000
_BUCKETS_PER_OCTAVE: Final = 2**SCALE


class DurationKey(NamedTuple):
    """What durations are kept by."""

    job_name: str
    queue: str
    system: str
    span_name: str | None
    """None: the job itself."""
    outcome: str | None
    """None: the row that counts starts."""
    peer: str = ""
    """Whom the span calls: an HTTP GET and a Redis GET have one name."""


class DurationHistogram:
    """An exponential histogram of seconds."""

    __slots__ = ("buckets", "count", "maximum", "minimum", "total", "zeros")

    def __init__(self) -> None:
        self.buckets: Counter[int] = Counter()
        self.count = 0
        self.zeros = 0
        self.total = 0.0
        self.minimum = math.inf
        self.maximum = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.count += 1
        self.total += seconds
        if seconds < self.minimum:
            self.minimum = seconds
        if seconds > self.maximum:
            self.maximum = seconds
        if seconds > 0:
            # Bucket i holds (base^i, base^(i+1)], base = 2^(2^-scale).
            self.buckets[math.ceil(math.log2(seconds) * _BUCKETS_PER_OCTAVE) - 1] += 1
        else:
            self.zeros += 1

    def encode(self) -> bytes:
        """Return it as an OTLP `ExponentialHistogramDataPoint`."""
        point = ExponentialHistogramDataPoint(
            count=self.count, sum=self.total, scale=SCALE, zero_count=self.zeros, min=self.minimum, max=self.maximum
        )
        if self.buckets:
            first, last = min(self.buckets), max(self.buckets)
            point.positive.offset = first
            point.positive.bucket_counts.extend(self.buckets[index] for index in range(first, last + 1))
        return point.SerializeToString()


class Durations:
    """Rows by key; at most 1000 of them, the rest counted in `overflowed`."""

    def __init__(self) -> None:
        self.started: Counter[DurationKey] = Counter()
        self.ended: dict[DurationKey, DurationHistogram] = {}
        self.overflowed = 0
        self._changed: set[DurationKey] = set()

    def start(self, key: DurationKey) -> None:
        """Count a start; *key* has no outcome."""
        if self._has_room(key, key in self.started):
            self.started[key] += 1
            self._changed.add(key)

    def of(self, key: DurationKey) -> DurationHistogram | None:
        """Return the sketch of a key with an outcome, to add to; None: there are too many keys."""
        sketch = self.ended.get(key)
        if sketch is None:
            if not self._has_room(key, False):
                return None
            sketch = self.ended[key] = DurationHistogram()
        self._changed.add(key)
        return sketch

    def take_changed(self) -> list[DurationKey]:
        """Return the keys that changed since the last call."""
        changed, self._changed = self._changed, set()
        return list(changed)

    def put_back(self, keys: list[DurationKey]) -> None:
        """These were not sent: they count as changed again."""
        self._changed.update(keys)

    def _has_room(self, key: DurationKey, is_known: bool) -> bool:
        if is_known or len(self.started) + len(self.ended) < _KEYS_MAX:
            return True
        self.overflowed += 1
        return False
