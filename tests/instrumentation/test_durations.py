"""Counts and exponential histograms, cumulative since the process began."""

import math

from hypothesis import assume, given
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint
from opentelemetry.sdk.metrics._internal.exponential_histogram.mapping.logarithm_mapping import LogarithmMapping

from lastspan.instrumentation.announce.durations import SCALE, DurationHistogram, DurationKey, Durations

seconds = st.floats(min_value=1e-9, max_value=1e9)


def end(durations: Durations, of: DurationKey, seconds: float) -> None:
    if (sketch := durations.of(of)) is not None:
        sketch.add(seconds)


def key(name: str = "nightly", outcome: str | None = "ok") -> DurationKey:
    return DurationKey(name, "", "python", None, outcome)


def decoded(sketch: DurationHistogram) -> ExponentialHistogramDataPoint:
    return ExponentialHistogramDataPoint.FromString(sketch.encode())


def buckets(point: ExponentialHistogramDataPoint) -> dict[int, int]:
    counts = enumerate(point.positive.bucket_counts, point.positive.offset)
    return {index: count for index, count in counts if count}


@given(seconds)
def test_buckets_are_opentelemetrys(value: float) -> None:
    """The SDK's own mapping puts a duration into the same bucket; on a bound itself rounding may decide."""
    sketch = DurationHistogram()
    sketch.add(value)
    [index] = sketch.buckets
    oracle = LogarithmMapping(SCALE).map_to_index(value)
    position = math.log2(value) * 2**SCALE
    assume(abs(position - round(position)) > 1e-9 or math.frexp(value)[0] == 0.5)
    assert index == oracle


@given(st.integers(-29, 29))
def test_bounds_are_inclusive_above(exponent: int) -> None:
    """A power of two is the last value of its bucket, not the first of the next (OpenTelemetry's data model)."""
    sketch = DurationHistogram()
    sketch.add(2.0**exponent)
    assert list(sketch.buckets) == [exponent * 2**SCALE - 1]


@given(st.lists(st.just(0.0) | seconds, min_size=1, max_size=200))
def test_a_sketch_keeps_what_it_was_told(values: list[float]) -> None:
    """Decoded again: count, sum, extremes, zeros, and each value in its bucket."""
    sketch = DurationHistogram()
    for value in values:
        sketch.add(value)
    point = decoded(sketch)
    assert point.count == len(values)
    assert point.zero_count == values.count(0.0)
    assert point.zero_count + sum(point.positive.bucket_counts) == point.count
    assert math.isclose(point.sum, sum(values))
    assert (point.min, point.max) == (min(values), max(values))
    assert point.scale == SCALE


@given(st.lists(seconds, min_size=1), st.lists(seconds, min_size=1))
def test_sketches_merge_by_adding(one: list[float], other: list[float]) -> None:
    """Buckets of two processes, added, are those of one process that saw both."""
    parts, whole = [DurationHistogram(), DurationHistogram()], DurationHistogram()
    for part, values in zip(parts, (one, other), strict=True):
        for value in values:
            part.add(value)
            whole.add(value)
    merged: dict[int, int] = {}
    for part in parts:
        for index, count in buckets(decoded(part)).items():
            merged[index] = merged.get(index, 0) + count
    assert merged == buckets(decoded(whole))


def test_cumulative_and_told_when_changed() -> None:
    """A row is told when it changed, as the sum since the process began; unchanged it is silent."""
    durations = Durations()
    durations.start(key(outcome=None))
    end(durations, key(), 1.0)
    assert set(durations.take_changed()) == {key(outcome=None), key()}
    assert durations.take_changed() == []
    end(durations, key(), 2.0)
    assert durations.take_changed() == [key()]
    assert durations.ended[key()].count == 2


def test_rows_that_were_not_sent_are_told_again() -> None:
    """A failed export puts them back; nothing is counted twice for it."""
    durations = Durations()
    end(durations, key(), 1.0)
    durations.put_back(durations.take_changed())
    assert durations.take_changed() == [key()]
    assert durations.ended[key()].count == 1


def test_names_without_end() -> None:
    """At most 1000 rows; what finds no room is counted, rows that are known go on."""
    durations = Durations()
    for number in range(3000):
        durations.start(key(f"job-{number}", None))
        end(durations, key(f"job-{number}"), 1.0)
    assert len(durations.started) + len(durations.ended) == 1000
    assert durations.overflowed == 5000
    end(durations, key("job-0"), 1.0)
    assert durations.ended[key("job-0")].count == 2
    assert durations.overflowed == 5000
